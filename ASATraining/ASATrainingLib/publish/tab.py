"""Tab Publish: create a model from a run, available immediately in ASASegmentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from asa.models import CARD, ModelFolder, broken_models, list_models, user_models
from asa.tasks import TASKS
from ASASlicerLib.dialogs import Dialogs
from ASASlicerLib.engine_job import JobState
from ASATrainingLib.engine_call import EngineCall
from ASATrainingLib.logic import TrainingLogic
from ASATrainingLib.runs.run_folder import RunFolder

_POLL_MS = 100
_SEGMENTATION = "ASASegmentation"


class PublishTab:
    """Publishes `logic.current_run` in a separate process. `widget` is the loaded PublishTab.ui."""

    FILE, TITLE = "PublishTab.ui", "Publish"

    def __init__(self, widget: Any, logic: TrainingLogic, dialogs: Dialogs) -> None:
        self.ui = slicer.util.childWidgetVariables(widget)
        self.logic = logic
        self._dialogs = dialogs
        self._call: EngineCall | None = None
        self._models: list[ModelFolder] = []
        self._names: set[str] = set()  # of all models, also of those that segment nothing
        self._published = ""  # the name that was published last
        self._timer = qt.QTimer()
        self._timer.setInterval(_POLL_MS)
        self._timer.connect("timeout()", self.poll)
        ui = self.ui
        ui.notesText.setMaximumHeight(90)
        ui.nameLineEdit.connect("textChanged(QString)", self._refresh)
        ui.publishButton.connect("clicked()", self.publish)
        ui.cardButton.connect("clicked()", self._show_card)
        ui.folderButton.connect("clicked()", self._open_folder)
        ui.modelsTable.setSelectionMode(qt.QAbstractItemView.SingleSelection)
        ui.modelsTable.setSelectionBehavior(qt.QAbstractItemView.SelectRows)
        ui.modelsTable.connect("itemSelectionChanged()", self._refresh)
        logic.current_run_changed.connect(self._on_run)
        logic.run_state_changed.connect(self._on_state)
        self.list_models()
        self._on_run()

    def close(self) -> None:
        """Disconnect from the logic; an incomplete model is never left behind."""
        self._timer.stop()
        self.logic.current_run_changed.disconnect(self._on_run)
        self.logic.run_state_changed.disconnect(self._on_state)
        if self._call is not None:
            self.logic.release(self._call)

    # --- the run

    def _on_run(self) -> None:
        run = self.logic.current_run
        if run is not None:
            name = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in run.name)
            self.ui.nameLineEdit.setText(name.lstrip("._-"))
        self._published = ""
        self.ui.statusLabel.setText("")
        self._refresh()

    def _on_state(self, _run: RunFolder) -> None:
        self._refresh()

    def reason(self) -> str:
        """Return why publishing cannot start, as a sentence, or "" if it can."""
        run = self.logic.current_run
        if run is None:
            return _("Open a fine-tuning run first.")
        if run.problem:
            return run.problem
        if not run.abilities.segments:
            return _("The network of this run cannot segment. Fine-tune from it, then publish that run.")
        if not run.checkpoints():
            return _("The run has no checkpoint yet.")
        name = str(self.ui.nameLineEdit.text)
        if not name:
            return _("Give the model a name.")
        if name in self._names:
            return _("A model with this name already exists. Choose another name.")
        return ""

    def _refresh(self, *_args: object) -> None:
        ui, run, reason = self.ui, self.logic.current_run, self.reason()
        going_on = run is not None and run.status.alive and not reason
        text = _("The run is still active; the model will use its best weights so far.") if going_on else reason
        if run is not None and self._published and str(ui.nameLineEdit.text) == self._published:
            text = ""  # the status says where it is
        elif not text and run is not None:
            text = _("The model will use the best checkpoint of {run}.").format(run=run.name)
        ui.runLabel.setText(text)
        ui.publishButton.setEnabled(not reason and self._call is None)
        ui.publishButton.setToolTip(reason or _("Write a model folder with its card, available immediately."))
        ui.cardButton.setEnabled(self._selected() is not None)

    # --- publishing

    def publish(self) -> None:
        """Create the model."""
        run = self.logic.current_run
        if run is None:
            return
        words = ["export", str(run.path), "--name", str(self.ui.nameLineEdit.text)]
        notes = str(self.ui.notesText.plainText).strip()
        words += ["--notes", notes] if notes else []
        self._call = EngineCall(self.logic.runner, words, expects_result=False)
        self.ui.statusLabel.setText(_("Publishing…"))
        self._timer.start()
        self._refresh()

    def poll(self) -> None:
        """Process the output since the last call."""
        call = self._call
        if call is None:
            return
        call.poll()
        if call.ended:
            self._call = None
            self._timer.stop()
            self.logic.release(call)
            self._on_end(call)

    def _on_end(self, call: EngineCall) -> None:
        if call.state is JobState.DONE:
            name = str(self.ui.nameLineEdit.text)
            self.list_models()
            where = next((str(model.path) for model in self._models if model.name == name), str(user_models()))
            self._published = name
            text = _("Published in {folder}. To use it, choose it under Model in ASA Brain Segmentation.")
            self.ui.statusLabel.setText(text.format(folder=where))
            self._tell_segmentation()
            self.logic.models_changed()
        else:
            self.ui.statusLabel.setText(call.error)
        self._refresh()

    def _tell_segmentation(self) -> None:
        """Modify the parameter node of the segmentation panel, so that it lists the models again."""
        node = slicer.mrmlScene.GetSingletonNode(_SEGMENTATION, "vtkMRMLScriptedModuleNode")
        if node is not None:
            node.Modified()

    # --- models

    def list_models(self) -> None:
        """List all segmentation models, then the broken ones."""
        models = list_models()
        self._names = {model.name for model in models}
        self._models = [model for model in models if model.task in TASKS]
        broken = broken_models()
        table = self.ui.modelsTable
        headings = [_("Name"), _("Task"), _("Inputs"), _("Mean Dice")]
        table.setColumnCount(len(headings))
        table.setHorizontalHeaderLabels(headings)
        table.setRowCount(len(self._models) + len(broken))
        rows = [(m.path, m.name, m.task, ", ".join(m.modalities), _scores(m)) for m in self._models]
        rows += [(folder.path, folder.path.name, _("Broken"), folder.problem, "") for folder in broken]
        for row, (path, *texts) in enumerate(rows):
            for column, text in enumerate(texts):
                item = qt.QTableWidgetItem(str(text))
                item.setToolTip(str(path) if column == 0 else str(text))
                table.setItem(row, column, item)
        header = table.horizontalHeader()
        for column in range(len(headings)):
            last = column == len(headings) - 1
            header.setSectionResizeMode(column, qt.QHeaderView.Stretch if last else qt.QHeaderView.ResizeToContents)

    def _selected(self) -> ModelFolder | None:
        items = self.ui.modelsTable.selectedItems()
        return self._models[items[0].row()] if items and items[0].row() < len(self._models) else None

    def _show_card(self) -> None:
        model = self._selected()
        if model is not None and (model.path / CARD).is_file():
            self._dialogs.show_text(model.name, (model.path / CARD).read_text(encoding="utf-8"))

    def _open_folder(self) -> None:
        folder = user_models()
        if folder is None:
            self._dialogs.tell(_("This account has no home folder, so it has no folder for models."))
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self._dialogs.tell(_("{folder} could not be created: {why}.").format(folder=folder, why=error.strerror))
            return
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(folder)))


def _scores(model: ModelFolder) -> str:
    """Return the scores on the first evaluation data set."""
    first: Mapping[str, float] = next(iter(model.description.scores.values()), {})
    return ", ".join(f"{name} {dice:.2f}" for name, dice in first.items())
