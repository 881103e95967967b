"""The tab that finds data, shows what is there before anything starts, and prepares it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ASASegmentationLib.dialogs import Dialogs
from ASASegmentationLib.engine_job import JobState

from .engine_call import EngineCall
from .logic import TrainingLogic
from .scene_tree import usable_volumes, write_tree

_POLL_MS, _STEPS = 100, 1000
PRETRAIN, FINETUNE = "pretrain", "finetune"
FOLDER, SCENE = "folder", "scene"
_PURPOSES = ((PRETRAIN, "Pre-training: T1 scans without labels"), (FINETUNE, "Fine-tuning: labelled cases"))
_SIZES = (("frame", "Whole brain frame, 160 × 192 × 160"), ("128", "The paper's cube, 128 × 128 × 128"))
_RED, _ROW_PX = (217, 69, 61), 22
_CHECKED = 2  # Qt.Checked, as a number in PythonQt and elsewhere
_HEADINGS = ("Case", "Images", "Voxels, or what is wrong")


class DataTab:
    """Looks at a folder or at volumes of the scene, and prepares a store of them, each in a process of its own.

    `widget` is the loaded DataTab.ui.
    """

    FILE, TITLE = "DataTab.ui", "Data"

    def __init__(self, widget: Any, logic: TrainingLogic, _dialogs: Dialogs) -> None:
        self.ui = slicer.util.childWidgetVariables(widget)
        self.logic = logic
        self._call: EngineCall | None = None
        self._found: list[Mapping[str, Any]] = []
        self._sheet = ""
        self._timer = qt.QTimer()
        self._timer.setInterval(_POLL_MS)
        self._timer.connect("timeout()", self.poll)
        self._fill_choices()
        self._connect()
        self._on_source()
        self._show_found()

    def close(self) -> None:
        """Ends a running preparation; what it has done stays, and it goes on from there the next time."""
        self._timer.stop()
        for event in self._observations:
            slicer.mrmlScene.RemoveObserver(event)
        if self._call is not None:
            self.logic.let_go(self._call)

    @property
    def busy(self) -> bool:
        """Whether a program looks or prepares."""
        return self._call is not None

    def show_datasets(self, datasets: Sequence[Mapping[str, str]]) -> None:
        """What the engine says it can read of labelled data."""
        self.ui.datasetComboBox.clear()
        for dataset in datasets:
            self.ui.datasetComboBox.addItem(dataset["title"], dataset["name"])

    def _fill_choices(self) -> None:
        ui = self.ui
        for box, choices in ((ui.purposeComboBox, _PURPOSES), (ui.sizeComboBox, _SIZES)):
            for value, title in choices:
                box.addItem(_(title), value)
        ui.sourceComboBox.addItem(_("Folder or BIDS tree"), FOLDER)
        ui.sourceComboBox.addItem(_("Volumes of the scene"), SCENE)
        ui.progressBar.setRange(0, _STEPS)
        ui.folderPathLineEdit.setCurrentPath(self.logic.remembered("data/folder"))
        ui.storePathLineEdit.setCurrentPath(self.logic.remembered("data/store"))
        self._list_volumes()

    def _connect(self) -> None:
        ui, mrml = self.ui, slicer.mrmlScene
        for box in (ui.purposeComboBox, ui.sourceComboBox):
            box.connect("currentIndexChanged(int)", self._on_source)
        ui.datasetComboBox.connect("currentIndexChanged(int)", self._forget_found)
        ui.folderPathLineEdit.connect("currentPathChanged(QString)", self._forget_found)
        ui.storePathLineEdit.connect("currentPathChanged(QString)", self._refresh)
        ui.volumesList.connect("itemChanged(QListWidgetItem*)", self._refresh)
        ui.lookButton.connect("clicked()", self.look)
        ui.prepareButton.connect("clicked()", self.toggle)
        ui.sheetButton.connect("clicked()", self._open_sheet)
        events = (mrml.NodeAddedEvent, mrml.NodeRemovedEvent, mrml.EndCloseEvent)
        self._observations = [mrml.AddObserver(event, lambda *_: self._list_volumes()) for event in events]

    # --- what is chosen

    @property
    def purpose(self) -> str:
        return _chosen(self.ui.purposeComboBox)

    @property
    def from_scene(self) -> bool:
        return self.purpose == PRETRAIN and _chosen(self.ui.sourceComboBox) == SCENE

    def _list_volumes(self) -> None:
        box = self.ui.volumesList
        ticked = {item.text() for item in _items(box) if item.checkState() == _CHECKED}
        box.clear()
        for volume in usable_volumes(slicer.mrmlScene):
            item = qt.QListWidgetItem(str(volume.GetName()))
            item.setCheckState(qt.Qt.Checked if volume.GetName() in ticked else qt.Qt.Unchecked)
            box.addItem(item)

    def _volumes(self) -> list[Any]:
        """The ticked volumes of the scene."""
        ticked = [item.checkState() == _CHECKED for item in _items(self.ui.volumesList)]
        volumes = usable_volumes(slicer.mrmlScene)
        return [volume for volume, chosen in zip(volumes, ticked, strict=False) if chosen]

    def _on_source(self, *_args: object) -> None:
        ui, tuning, scene = self.ui, self.purpose == FINETUNE, self.from_scene
        for control, shown in (
            ((ui.datasetLabel, ui.datasetComboBox), tuning),
            ((ui.sourceLabel, ui.sourceComboBox), not tuning),
            ((ui.folderLabel, ui.folderPathLineEdit, ui.lookButton), not scene),
            ((ui.volumesLabel, ui.volumesList), scene),
            ((ui.jobsLabel, ui.jobsSpinBox), not tuning),
        ):
            for one in control:
                one.setVisible(shown)
        self._forget_found()

    # --- looking

    def look(self) -> None:
        """Lists what is there, case by case as it is found."""
        self._forget_found()
        self.logic.remember("data/folder", str(self.ui.folderPathLineEdit.currentPath))
        words = [*self._source_words(), "-o", "unused", "--dry-run", "--json"]
        self._start(EngineCall(self.logic.runner, words, on_event=self._on_found, asked=False), _("Looking…"))

    def _source_words(self) -> list[str]:
        folder = str(self.ui.folderPathLineEdit.currentPath)
        if self.purpose == FINETUNE:
            return ["prepare", FINETUNE, "--data", folder, "--dataset", _chosen(self.ui.datasetComboBox)]
        return ["prepare", PRETRAIN, "--bids", folder]

    def _forget_found(self, *_args: object) -> None:
        self._found = []
        self._show_found()
        self._refresh()

    def _on_found(self, event: Mapping[str, Any]) -> None:
        if event["event"] == "found":
            self._found.append(event)

    def _show_found(self) -> None:
        table, found = self.ui.foundTable, self._found
        table.setColumnCount(len(_HEADINGS))
        table.setHorizontalHeaderLabels([_(heading) for heading in _HEADINGS])
        table.setRowCount(len(found))
        for row, case in enumerate(found):
            images = ", ".join((*case["modalities"], *(["labels"] if case["labels"] else [])))
            wrong = "; ".join(case["problems"])
            for column, text in enumerate((case["name"], images, wrong or case["grid"])):
                item = qt.QTableWidgetItem(str(text))
                item.setToolTip(str(text))
                if wrong and column == len(_HEADINGS) - 1:
                    item.setForeground(qt.QBrush(qt.QColor(*_RED)))
                table.setItem(row, column, item)
            table.setRowHeight(row, _ROW_PX)
        header = table.horizontalHeader()
        for column in range(len(_HEADINGS)):
            last = column == len(_HEADINGS) - 1
            header.setSectionResizeMode(column, qt.QHeaderView.Stretch if last else qt.QHeaderView.ResizeToContents)
        bad = sum(bool(case["problems"]) for case in found)
        said = _("{cases} cases, {bad} with problems.").format(cases=len(found), bad=bad) if found else ""
        self.ui.foundLabel.setText(said)

    # --- preparing

    def toggle(self) -> None:
        """Prepares, or ends what is running."""
        if self._call is not None:
            self._end(_("Stopped; what is done stays. Prepare again to go on."))
            return
        store = Path(str(self.ui.storePathLineEdit.currentPath))
        self.logic.remember("data/store", str(store))
        words, first = self._source_words(), None
        if self.from_scene:
            tree = store.parent / f"{store.name}-scans"
            try:
                tree.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                said = _("{folder} cannot be written to: {why}.").format(folder=tree, why=error.strerror)
                self.ui.statusLabel.setText(said)
                return
            words, first = ["prepare", PRETRAIN, "--bids", str(tree)], write_tree(self._volumes(), tree)
        words += ["-o", str(store), "--size", _chosen(self.ui.sizeComboBox), "--json"]
        words += ["--aligned"] if self.ui.alignedCheckBox.isChecked() else []
        words += ["--stripped"] if self.ui.strippedCheckBox.isChecked() else []
        words += ["--jobs", str(self.ui.jobsSpinBox.value)] if self.purpose == PRETRAIN else []
        self._start(EngineCall(self.logic.runner, words, asked=False, first=first), _("Preparing…"))

    def _start(self, call: EngineCall, said: str) -> None:
        self._call = call
        self.ui.progressBar.setValue(0)
        self.ui.statusLabel.setText(said)
        self._timer.start()
        self._refresh()

    def poll(self) -> None:
        """Takes in what the program said since the last call."""
        call = self._call
        if call is None:
            return
        before = len(self._found)
        call.poll()
        if len(self._found) != before:
            self._show_found()
        if call.progress.fraction > 0:
            self.ui.progressBar.setValue(int(_STEPS * call.progress.fraction))
            self.ui.statusLabel.setText(call.progress.stage)
        if call.state is JobState.FAILED:
            self._end(call.error)
        elif call.state is JobState.DONE:
            self._finish(call)

    def _finish(self, call: EngineCall) -> None:
        done = next((event for event in call.events if event["event"] == "done"), None)
        if done is None:  # it only looked
            self._end("")
            return
        self._sheet = str(done.get("sheet", ""))
        self._end(str(done["said"]))
        self.logic.store_ready(self.purpose, Path(str(self.ui.storePathLineEdit.currentPath)))

    def _end(self, said: str) -> None:
        if self._call is not None:
            self.logic.let_go(self._call)
        self._call = None
        self._timer.stop()
        self.ui.statusLabel.setText(said)
        self._refresh()

    def _refresh(self, *_args: object) -> None:
        """Enables what can be done now, and says why not."""
        ui, running = self.ui, self._call is not None
        reason = self._reason()
        ui.lookButton.setEnabled(not running and bool(str(ui.folderPathLineEdit.currentPath)))
        ui.prepareButton.setText(_("Cancel") if running else _("Prepare"))
        ui.prepareButton.setEnabled(running or not reason)
        ui.prepareButton.setToolTip(reason or _("Align, strip, crop and store what was found."))
        ui.progressBar.setVisible(running)
        ui.sheetButton.setVisible(bool(self._sheet))
        ui.sourceSection.setEnabled(not running)

    def _reason(self) -> str:
        """Why nothing can be prepared, in a sentence; "" when it can."""
        if self.from_scene and not self._volumes():
            return _("Tick the volumes to prepare.")
        if not self.from_scene and not str(self.ui.folderPathLineEdit.currentPath):
            return _("Choose a folder.")
        if not str(self.ui.storePathLineEdit.currentPath):
            return _("Choose a folder for the store.")
        return ""

    def _open_sheet(self) -> None:
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(self._sheet))


def _chosen(box: Any) -> str:
    return str(box.itemData(box.currentIndex))


def _items(box: Any) -> list[Any]:
    return [box.item(row) for row in range(box.count)]
