"""Tab Data: list the available cases and prepare a store from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from asa.events import Reported
from asa.tasks import TASKS, Task
from ASASlicerLib.dialogs import Dialogs
from ASASlicerLib.engine_job import JobState
from ASASlicerLib.proposal.propose import usable_volumes
from ASASlicerLib.steps import Steps
from ASATrainingLib.data.scene_cases import TABLE, SceneCase, scene_cases, write_cases
from ASATrainingLib.data.scene_tree import write_tree
from ASATrainingLib.engine_call import EngineCall
from ASATrainingLib.logic import TrainingLogic

_POLL_MS, _STEPS = 100, 1000
_LIST_AFTER_MS = 300  # volumes get their voxels after they are added, and scenes load and close node by node
PRETRAIN, FINETUNE = "pretrain", "finetune"
FOLDER, SCENE = "folder", "scene"
_RED, _ROW_PX = (217, 69, 61), 22
_CHECKED = 2  # Qt.Checked, as a number in PythonQt and elsewhere


class DataTab:
    """Scans a folder or the scene and prepares a store, each in a separate process.

    `widget` is the loaded DataTab.ui.
    """

    FILE, TITLE = "DataTab.ui", "Data"

    def __init__(self, widget: Any, logic: TrainingLogic, _dialogs: Dialogs) -> None:
        self.ui = slicer.util.childWidgetVariables(widget)
        self.logic = logic
        self._call: EngineCall | None = None
        self._datasets: list[Mapping[str, str]] = []
        self._listed: list[Any] = []  # volumes or cases of the scene, one per row
        self._filling = False  # while the data sets are listed
        self._cases: list[Mapping[str, Any]] = []
        self._sheet = ""
        self._timer = qt.QTimer()
        self._timer.setInterval(_POLL_MS)
        self._timer.connect("timeout()", self.poll)
        self._list_timer = qt.QTimer()
        self._list_timer.setSingleShot(True)
        self._list_timer.setInterval(_LIST_AFTER_MS)
        self._list_timer.connect("timeout()", self._list_scene)
        self._fill_choices()
        self._connect()
        self._on_source()
        self._show_cases()

    def close(self) -> None:
        """Cancel a running preparation; finished cases are kept and it can be resumed."""
        self._timer.stop()
        self._list_timer.stop()
        for event in self._observations:
            slicer.mrmlScene.RemoveObserver(event)
        if self._call is not None:
            self.logic.release(self._call)

    @property
    def busy(self) -> bool:
        """Whether a program is running."""
        return self._call is not None

    def show_datasets(self, datasets: Sequence[Mapping[str, str]]) -> None:
        """Show the labelled data sets that the engine can read."""
        self._datasets = list(datasets)
        self._on_source()

    def _list_datasets(self) -> None:
        """List the data sets; for the scene only the tasks, whose label values the labels must use."""
        box, chosen = self.ui.datasetComboBox, _chosen(self.ui.datasetComboBox)
        self._filling = True
        box.clear()
        for dataset in self._datasets:
            if not self.from_scene:
                box.addItem(dataset["title"], dataset["name"])
            elif dataset["name"] in TASKS:
                box.addItem(_(TASKS[dataset["name"]].title), dataset["name"])
        box.setCurrentIndex(max(0, box.findData(chosen)))
        self._filling = False

    def _fill_choices(self) -> None:
        ui = self.ui
        purposes = {
            PRETRAIN: _("Pre-training: T1 scans without labels"),
            FINETUNE: _("Fine-tuning: labelled cases"),
        }
        sizes = {
            "frame": _("Brain frame (160 × 192 × 160)"),
            "128": _("Published cube (128 × 128 × 128)"),
        }
        sources = {FOLDER: _("Folder or BIDS tree"), SCENE: _("Current scene")}
        boxes = (ui.purposeComboBox, ui.sizeComboBox, ui.sourceComboBox)
        for box, choices in zip(boxes, (purposes, sizes, sources), strict=True):
            for value, title in choices.items():
                box.addItem(title, value)
        ui.progressBar.setRange(0, _STEPS)
        ui.folderPathLineEdit.setCurrentPath(self.logic.remembered("data/folder"))
        ui.storePathLineEdit.setCurrentPath(self.logic.remembered("data/store"))

    def _connect(self) -> None:
        ui, mrml = self.ui, slicer.mrmlScene
        for box in (ui.purposeComboBox, ui.sourceComboBox):
            box.connect("currentIndexChanged(int)", self._on_source)
        ui.datasetComboBox.connect("currentIndexChanged(int)", self._on_dataset)
        for signal in ("currentPathChanged(QString)", "validInputChanged(bool)"):  # an empty path is not valid
            ui.folderPathLineEdit.connect(signal, self._clear_cases)
            ui.storePathLineEdit.connect(signal, self._refresh)
        ui.volumesList.connect("itemChanged(QListWidgetItem*)", self._refresh)
        ui.scanButton.connect("clicked()", self.scan_folder)
        ui.prepareButton.connect("clicked()", self.toggle)
        ui.sheetButton.connect("clicked()", self._open_sheet)
        events = (mrml.NodeAddedEvent, mrml.NodeRemovedEvent, mrml.EndCloseEvent)
        self._observations = [mrml.AddObserver(event, lambda *_: self._list_timer.start()) for event in events]

    # --- choices

    @property
    def purpose(self) -> str:
        """The selected purpose: pretrain or finetune."""
        return _chosen(self.ui.purposeComboBox)

    @property
    def from_scene(self) -> bool:
        """Whether the cases come from the scene."""
        return _chosen(self.ui.sourceComboBox) == SCENE

    @property
    def _task(self) -> Task | None:
        """The task of the labelled cases in the scene."""
        return TASKS.get(_chosen(self.ui.datasetComboBox))

    def _list_scene(self) -> None:
        """List the usable items of the scene and keep the selection. Unusable items show the reason."""
        if not self.from_scene:
            return
        box, task = self.ui.volumesList, self._task
        ticked = {_node_id(one) for one in self._ticked()}
        if self.purpose == PRETRAIN:
            self._listed = list(usable_volumes(slicer.mrmlScene))
        else:
            self._listed = list(scene_cases(slicer.mrmlScene, task)) if task is not None else []
        box.clear()
        for one in self._listed:
            item = qt.QListWidgetItem(_row_text(one))
            item.setToolTip(_row_text(one))
            usable = not getattr(one, "problem", "")
            item.setCheckState(qt.Qt.Checked if usable and _node_id(one) in ticked else qt.Qt.Unchecked)
            if not usable:
                item.setFlags(qt.Qt.ItemIsEnabled)
                item.setForeground(qt.QBrush(qt.QColor(*_RED)))
            box.addItem(item)
        self._refresh()

    def _ticked(self) -> list[Any]:
        """Return the selected volumes or cases that still exist."""
        ticked = [item.checkState() == _CHECKED for item in _items(self.ui.volumesList)]
        chosen = [one for one, on in zip(self._listed, ticked, strict=False) if on]
        return [one for one in chosen if slicer.mrmlScene.GetNodeByID(_node_id(one)) is not None]

    def _on_source(self, *_args: object) -> None:
        ui, tuning, scene = self.ui, self.purpose == FINETUNE, self.from_scene
        for control, shown in (
            ((ui.datasetLabel, ui.datasetComboBox), tuning),
            ((ui.folderLabel, ui.folderPathLineEdit, ui.scanButton, ui.foundTable, ui.foundLabel), not scene),
            ((ui.volumesLabel, ui.volumesList), scene),
            ((ui.jobsLabel, ui.jobsSpinBox), not tuning),
        ):
            for one in control:
                one.setVisible(shown)
        ui.datasetLabel.setText(_("Task:") if scene else _("&Data set:"))
        ui.volumesLabel.setText(_("Cases:") if tuning else _("Volumes:"))
        self._list_datasets()
        self._list_scene()
        self._clear_cases()

    def _on_dataset(self, *_args: object) -> None:
        if not self._filling:
            self._list_scene()
            self._clear_cases()

    # --- scanning

    def scan_folder(self) -> None:
        """List the cases in the folder as they are found."""
        self._clear_cases()
        self.logic.remember("data/folder", str(self.ui.folderPathLineEdit.currentPath))
        words = [*self._source_words(), "--dry-run", "--json"]
        self._start(EngineCall(self.logic.runner, words, on_event=self._on_case, expects_result=False), _("Scanning…"))

    def _source_words(self) -> list[str]:
        folder = str(self.ui.folderPathLineEdit.currentPath)
        if self.purpose == FINETUNE:
            return ["prepare", FINETUNE, "--data", folder, "--dataset", _chosen(self.ui.datasetComboBox)]
        return ["prepare", PRETRAIN, "--bids", folder]

    def _clear_cases(self, *_args: object) -> None:
        self._cases = []
        self._show_cases()
        self._refresh()

    def _on_case(self, event: Reported) -> None:
        if event.name == "found":
            self._cases.append(event.values)

    def _show_cases(self) -> None:
        table, found = self.ui.foundTable, self._cases
        headings = [_("Case"), _("Images"), _("Voxels or problem")]
        table.setColumnCount(len(headings))
        table.setHorizontalHeaderLabels(headings)
        table.setRowCount(len(found))
        for row, case in enumerate(found):
            images = ", ".join((*case["modalities"], *(["labels"] if case["labels"] else [])))
            wrong = "; ".join(case["problems"])
            for column, text in enumerate((case["name"], images, wrong or case["grid"])):
                item = qt.QTableWidgetItem(str(text))
                item.setToolTip(str(text))
                if wrong and column == len(headings) - 1:
                    item.setForeground(qt.QBrush(qt.QColor(*_RED)))
                table.setItem(row, column, item)
            table.setRowHeight(row, _ROW_PX)
        header = table.horizontalHeader()
        for column in range(len(headings)):
            last = column == len(headings) - 1
            header.setSectionResizeMode(column, qt.QHeaderView.Stretch if last else qt.QHeaderView.ResizeToContents)
        bad = sum(bool(case["problems"]) for case in found)
        text = _("{cases} cases, {bad} with problems.").format(cases=len(found), bad=bad) if found else ""
        self.ui.foundLabel.setText(text)

    # --- preparing

    def toggle(self) -> None:
        """Start preparing, or cancel the running program."""
        if self._call is not None:
            self._end(_("Stopped. Finished cases are kept; click Prepare to resume."))
            return
        store = Path(str(self.ui.storePathLineEdit.currentPath))
        self.logic.remember("data/store", str(store))
        words, first = self._source_words(), None
        if self.from_scene:
            try:
                words, first = self._from_scene(store.parent / f"{store.name}-scans")
            except OSError as error:
                text = _("{folder} cannot be written to: {why}.").format(folder=store.parent, why=error.strerror)
                self.ui.statusLabel.setText(text)
                return
        words += ["-o", str(store), "--size", _chosen(self.ui.sizeComboBox), "--json"]
        words += ["--aligned"] if self.ui.alignedCheckBox.isChecked() else []
        words += ["--stripped"] if self.ui.strippedCheckBox.isChecked() else []
        words += ["--jobs", str(self.ui.jobsSpinBox.value)] if self.purpose == PRETRAIN else []
        self._start(EngineCall(self.logic.runner, words, expects_result=False, preparation=first), _("Preparing…"))

    def _from_scene(self, tree: Path) -> tuple[list[str], Steps[None]]:
        """Return the engine arguments and the preparation step that writes the selected items. Raises OSError."""
        tree.mkdir(parents=True, exist_ok=True)
        if self.purpose == PRETRAIN:
            return ["prepare", PRETRAIN, "--bids", str(tree)], write_tree(self._ticked(), tree)
        assert self._task is not None
        words = ["prepare", FINETUNE, "--data", str(tree / TABLE), "--dataset", self._task.name]
        return words, write_cases(self._ticked(), self._task, tree)

    def _start(self, call: EngineCall, text: str) -> None:
        self._call = call
        self.ui.progressBar.setValue(0)
        self.ui.statusLabel.setText(text)
        self._timer.start()
        self._refresh()

    def poll(self) -> None:
        """Process the output since the last call."""
        call = self._call
        if call is None:
            return
        before = len(self._cases)
        call.poll()
        if len(self._cases) != before:
            self._show_cases()
        if call.progress.fraction > 0:
            self.ui.progressBar.setValue(int(_STEPS * call.progress.fraction))
            self.ui.statusLabel.setText(call.progress.stage)
        if call.state is JobState.FAILED:
            self._end(call.error)
        elif call.state is JobState.DONE:
            self._finish(call)

    def _finish(self, call: EngineCall) -> None:
        done = next((event.values for event in call.events if event.name == "done"), None)
        if done is None:  # it was only a scan
            self._end("")
            return
        self._sheet = str(done.get("sheet", ""))
        self._end(str(done["said"]))
        self.logic.store_ready(self.purpose, Path(str(self.ui.storePathLineEdit.currentPath)))

    def _end(self, text: str) -> None:
        if self._call is not None:
            self.logic.release(self._call)
        self._call = None
        self._timer.stop()
        self.ui.statusLabel.setText(text)
        self._refresh()

    def _refresh(self, *_args: object) -> None:
        """Update which actions are available, and why not."""
        ui, running = self.ui, self._call is not None
        reason = self._reason()
        ui.scanButton.setEnabled(not running and bool(str(ui.folderPathLineEdit.currentPath)))
        ui.prepareButton.setText(_("Cancel") if running else _("Prepare"))
        ui.prepareButton.setEnabled(running or not reason)
        ui.prepareButton.setToolTip(reason or _("Align, skull-strip, crop and store the cases."))
        ui.progressBar.setVisible(running)
        ui.sheetButton.setVisible(bool(self._sheet))
        ui.sourceSection.setEnabled(not running)

    def _reason(self) -> str:
        """Return why preparing cannot start, as a sentence, or "" if it can."""
        if self.from_scene and not self._ticked():
            return (
                _("Select the volumes to prepare.") if self.purpose == PRETRAIN else _("Select the cases to prepare.")
            )
        if not self.from_scene and not str(self.ui.folderPathLineEdit.currentPath):
            return _("Choose a folder.")
        if not str(self.ui.storePathLineEdit.currentPath):
            return _("Choose a folder for the store.")
        return ""

    def _open_sheet(self) -> None:
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(self._sheet))


def _chosen(box: Any) -> str:
    return str(box.itemData(box.currentIndex))


def _node_id(one: Any) -> str:
    """Return the node id of a volume, or of the labels of a case."""
    return str((one.labels if isinstance(one, SceneCase) else one).GetID())


def _row_text(one: Any) -> str:
    """Return the list text of a volume or a case."""
    if not isinstance(one, SceneCase):
        return str(one.GetName())
    images = ", ".join(f"{key} {volume.GetName()}" for key, volume in one.images.items())
    return one.problem or f"{one.labels.GetName()}: {images}"


def _items(box: Any) -> list[Any]:
    return [box.item(row) for row in range(box.count)]
