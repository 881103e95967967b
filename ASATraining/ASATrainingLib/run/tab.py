"""Tab Run: start runs, and stop, kill or resume the current one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from asa.models import list_models
from ASASlicerLib.dialogs import Dialogs
from ASASlicerLib.engine_job import JobState
from ASASlicerLib.signals import Signal
from ASATrainingLib.engine_call import SETTINGS, EngineCall
from ASATrainingLib.logic import TrainingLogic
from ASATrainingLib.run.setting import Setting, nested
from ASATrainingLib.run.settings_form import SettingsForm
from ASATrainingLib.runs.control import ControlError
from ASATrainingLib.runs.run_folder import RunFolder, Status
from ASATrainingLib.wording import device_text, estimate_text

_POLL_MS = 100
PRETRAIN, FINETUNE = "pretrain", "finetune"
PRETRAINING = "pretraining"  # kind of a run, and task of a model made of one
# Common settings. Those with dedicated widgets are not in the table.
FRONT = {
    PRETRAIN: ("method", "mask_ratio", "crop", "epochs", "batch", "micro_batch", "base_lr", "held_out"),
    FINETUNE: ("network", "output", "crop", "optimisation.steps", "optimisation.batch", "optimisation.micro_batch",
               "optimisation.lr", "freeze_encoder"),
}  # fmt: skip
_OWN = ("store", "init")


class RunTab:
    """Edits settings, estimates requirements with the engine, and starts runs through `logic.control`.

    `widget` is the loaded RunTab.ui.
    """

    FILE, TITLE = "RunTab.ui", "Run"

    def __init__(self, widget: Any, logic: TrainingLogic, dialogs: Dialogs) -> None:
        self.ui = slicer.util.childWidgetVariables(widget)
        self.logic = logic
        self._dialogs = dialogs
        self._forms: dict[str, Mapping[str, Any]] = {}
        self._settings: dict[str, Setting] = {}
        self._form = SettingsForm(self.ui.settingsTable, self._on_changed)
        self._call: EngineCall | None = None
        self._devices: EngineCall | None = None
        self._estimate: Mapping[str, Any] | None = None  # for the settings shown
        self._asked: tuple[Any, ...] = ()  # request of the running estimate
        self._taken_by: Mapping[str, int] = {}  # device -> number of running and queued runs
        self._start_after = False  # the running estimate was requested by Start
        self._showing = False
        self._timer = qt.QTimer()
        self._timer.setInterval(_POLL_MS)
        self._timer.connect("timeout()", self.poll)
        for value, title in {PRETRAIN: _("Pre-train"), FINETUNE: _("Fine-tune")}.items():
            self.ui.kindComboBox.addItem(title, value)
        self.ui.deviceComboBox.addItem(_("Automatic"), "auto")
        self._connect()
        self._list_inits()
        self._refresh()

    def close(self) -> None:
        """Cancel running queries; runs continue."""
        self._timer.stop()
        for signal, listener in self._listeners:
            signal.disconnect(listener)
        for call in (self._call, self._devices):
            if call is not None:
                self.logic.release(call)

    def _connect(self) -> None:
        ui, logic = self.ui, self.logic
        ui.kindComboBox.connect("currentIndexChanged(int)", self._on_kind)
        ui.presetComboBox.connect("currentIndexChanged(int)", self._on_preset)
        for box in (ui.initComboBox, ui.deviceComboBox):
            box.connect("currentIndexChanged(int)", self._on_changed)
        for edit in (ui.runStorePathLineEdit, ui.runFolderPathLineEdit):
            edit.connect("currentPathChanged(QString)", self._on_changed)
            edit.connect("validInputChanged(bool)", self._on_changed)  # the only signal for a cleared path
        ui.allCheckBox.connect("toggled(bool)", self._show_rows)
        ui.devicesButton.connect("clicked()", self.refresh_devices)
        ui.estimateButton.connect("clicked()", self.estimate)
        ui.startButton.connect("clicked()", self.start)
        ui.stopButton.connect("clicked()", self._stop)
        ui.killButton.connect("clicked()", self._kill)
        ui.resumeButton.connect("clicked()", self._resume)
        self._listeners: list[tuple[Signal, Callable[..., object]]] = [
            (logic.current_run_changed, self._refresh),
            (logic.run_state_changed, self._on_run_state),
            (logic.runs_changed, self._list_inits),
            (logic.store_ready, self._on_store),
        ]
        for signal, listener in self._listeners:
            signal.connect(listener)

    # --- the forms

    def show_forms(self, forms: Sequence[Mapping[str, Any]]) -> None:
        """Show the settings schema of each kind of run."""
        self._forms = {form["kind"]: form for form in forms}
        self._on_kind()

    @property
    def kind(self) -> str:
        """The selected kind of run: pretrain or finetune."""
        return _chosen(self.ui.kindComboBox)

    @property
    def kind_known(self) -> bool:
        """Whether the settings schema of this kind is known."""
        return self.kind in self._forms

    def _on_kind(self, *_args: object) -> None:
        form = self._forms.get(self.kind)
        for control in (self.ui.initLabel, self.ui.initComboBox):
            control.setVisible(self.kind == FINETUNE)
        if form is None:
            return
        self._settings = {row["key"]: Setting.from_row(row) for row in form["rows"]}
        self._showing = True
        titles = {"starter": _("Starter"), "paper": _("As published")}
        self.ui.presetComboBox.clear()
        for name in form["presets"]:
            self.ui.presetComboBox.addItem(titles.get(name, name), name)
        values = next(iter(form["presets"].values()))
        front = [self._settings[key] for key in FRONT[self.kind] if key in self._settings]
        others = [one for key, one in self._settings.items() if key not in (*FRONT[self.kind], *_OWN)]
        self._form.show([*front, *others], values)
        self._showing = False
        self._show_rows()
        self.ui.runStorePathLineEdit.setCurrentPath(self.logic.remembered(f"run/store/{self.kind}"))
        self._on_changed()

    def _on_preset(self, *_args: object) -> None:
        if not self._showing and self.kind_known:
            self.set_values(self._forms[self.kind]["presets"][_chosen(self.ui.presetComboBox)])

    def set_values(self, values: Mapping[str, Any]) -> None:
        """Set values (by flat keys) in the table and keep the others."""
        self._form.set_values(values)
        self._on_changed()

    def _show_rows(self, *_args: object) -> None:
        self._form.show_only(None if self.ui.allCheckBox.isChecked() else FRONT[self.kind])

    def values(self) -> dict[str, Any]:
        """Return all settings in the engine's format, without invalid ones."""
        found = self._form.values()
        found["store"] = str(self.ui.runStorePathLineEdit.currentPath)
        if self.kind == FINETUNE:
            found["init"] = _chosen(self.ui.initComboBox)
        return nested(found)

    def _list_inits(self) -> None:
        box, chosen = self.ui.initComboBox, _chosen(self.ui.initComboBox)
        self._showing = True
        box.clear()
        box.addItem(_("From scratch (no pre-trained encoder)"), "")
        for run in self.logic.runs:
            if run.kind == PRETRAINING and not run.problem:
                box.addItem(run.name, str(run.path))
        for model in list_models(PRETRAINING):
            box.addItem(_("Model {name}").format(name=model.name), str(model.path))
        box.setCurrentIndex(max(0, box.findData(chosen)))
        self._showing = False

    def _on_store(self, kind: str, store: Path) -> None:
        self.logic.remember(f"run/store/{kind}", str(store))
        self.ui.kindComboBox.setCurrentIndex(self.ui.kindComboBox.findData(kind))
        self.ui.runStorePathLineEdit.setCurrentPath(str(store))

    def _on_changed(self, *_args: object) -> None:
        if not self._showing:
            self._estimate = None
            self.ui.estimateLabel.setText("")
            self._refresh()

    # --- validation

    def faults(self) -> list[str]:
        """Return the reasons why the run cannot be started, as sentences."""
        if not self.kind_known:
            return [_("The settings are still loading.")]
        found = self._form.faults()
        try:
            return [*found, *self._folder_faults()]
        except OSError as error:  # not listable, or an invalid name on this system
            text = _("The folders cannot be read: {reason}.")
            return [*found, text.format(reason=error.strerror or error)]

    def _folder_faults(self) -> list[str]:
        found = []
        store = str(self.ui.runStorePathLineEdit.currentPath)
        if not store or not Path(store).is_dir():
            found.append(_("Choose a store. You can create one in the tab Data."))
        folder = str(self.ui.runFolderPathLineEdit.currentPath)
        if not folder:
            found.append(_("Choose a folder for the run."))
        elif Path(folder).exists() and (not Path(folder).is_dir() or any(Path(folder).iterdir())):
            found.append(_("The run folder already exists and is not empty. Choose a new one."))
        return found

    def _refresh(self, *_args: object) -> None:
        ui, faults, asking = self.ui, self.faults(), self._call is not None
        ui.faultLabel.setText("\n".join(faults[:3]) if self._forms else "")
        ui.faultLabel.setVisible(bool(faults) and bool(self._forms))
        ui.startLabel.setText("" if self._forms else _("Loading the settings…"))
        ui.estimateButton.setEnabled(not faults and not asking)
        ui.startButton.setEnabled(not faults and not asking)
        ui.startButton.setText(_("Queue") if self._taken() else _("Start"))
        why = "\n".join(faults)
        ui.estimateButton.setToolTip(why or _("Run a short benchmark to estimate time and memory."))
        ui.startButton.setToolTip(
            why or _("Start the run in a separate process that continues after Slicer is closed.")
        )
        run = self.logic.current_run
        alive = run is not None and run.status.alive
        why_not = self.logic.control.why_not_resume(run) if run is not None else _("No run is open.")
        ui.stopButton.setEnabled(alive)
        ui.killButton.setEnabled(run is not None and alive and run.state.here)
        ui.resumeButton.setEnabled(not why_not)
        ui.resumeButton.setToolTip(why_not or _("Continue from the last checkpoint."))

    def _on_run_state(self, run: RunFolder) -> None:
        if run.kind == PRETRAINING and self.ui.initComboBox.findData(str(run.path)) < 0:  # a new run
            self._list_inits()
        if self.logic.current_run is not None and run.path == self.logic.current_run.path:
            if run.status is not Status.RUNNING:
                self.ui.controlLabel.setText("")
            self._refresh()

    # --- devices

    def refresh_devices(self) -> None:
        """Query the available devices."""
        if self._devices is None:
            self._devices = EngineCall(self.logic.runner, ["devices", "--json"])
            self._timer.start()

    def _show_devices(self, devices: Sequence[Mapping[str, Any]]) -> None:
        box, chosen = self.ui.deviceComboBox, _chosen(self.ui.deviceComboBox)
        self._taken_by = {device["name"]: len(device["runs"]) for device in devices}
        self._showing = True
        box.clear()
        for row, device in enumerate(devices):
            box.addItem(device_text(device), device["name"])
            box.setItemData(row, device_text(device), qt.Qt.ToolTipRole)  # too long for a narrow panel
        box.setCurrentIndex(max(0, box.findData(chosen)))
        self._showing = False
        self._refresh()

    def _taken(self) -> bool:
        """Return whether the selected device already has a run."""
        return self._taken_by.get(_chosen(self.ui.deviceComboBox), 0) > 0

    # --- estimate

    def estimate(self) -> None:
        """Ask the engine for the requirements of the run."""
        folder, device = str(self.ui.runFolderPathLineEdit.currentPath), _chosen(self.ui.deviceComboBox)
        words = ["estimate", self.kind, SETTINGS, "-o", folder, "--device", device, "--json"]
        self._asked = self._question()
        self._call = EngineCall(self.logic.runner, words, self.values())
        self.ui.estimateLabel.setText(_("Measuring…"))
        self._timer.start()
        self._refresh()

    def _question(self) -> tuple[Any, ...]:
        ui = self.ui
        where = (str(ui.runFolderPathLineEdit.currentPath), _chosen(ui.deviceComboBox))
        return (self.kind, self.values(), *where)

    def poll(self) -> None:
        """Process the engine's replies since the last call."""
        if self._devices is not None:
            self._devices.poll()
            if self._devices.ended:
                call, self._devices = self._devices, None
                self.logic.release(call)
                if call.state is JobState.DONE:
                    self._show_devices(call.result)
        if self._call is not None:
            self._call.poll()
            if self._call.ended:
                self._on_estimate(self._call)
        if self._call is None and self._devices is None:
            self._timer.stop()

    def _on_estimate(self, call: EngineCall) -> None:
        self._call = None
        self.logic.release(call)
        start, self._start_after = self._start_after, False
        if self._asked != self._question():  # changed meanwhile
            self.ui.estimateLabel.setText("")
        elif call.state is JobState.DONE:
            self._estimate = call.result
            self.ui.estimateLabel.setText(estimate_text(call.result))
        else:
            self.ui.estimateLabel.setText(call.error)
            start = False
        self._refresh()
        if start and self._estimate is not None:
            self.start()

    # --- runs

    def start(self) -> None:
        """Start the run after estimating its requirements and confirming warnings."""
        if self._estimate is None:
            self._start_after = True
            self.estimate()
            return
        warnings = "\n".join(self._estimate["warnings"])
        if warnings and not self._dialogs.ask(f"{warnings}\n\n{_('Start the run anyway?')}"):
            return
        folder = Path(str(self.ui.runFolderPathLineEdit.currentPath))
        self.logic.remember(f"run/store/{self.kind}", str(self.ui.runStorePathLineEdit.currentPath))
        if self._do(lambda: self.logic.control.start(self.kind, self.values(), folder, self._estimate["device"])):
            self.logic.open_run(folder)
            self.refresh_devices()
            self._on_changed()

    def _stop(self) -> None:
        run = self.logic.current_run
        if run is not None and self._do(lambda: self.logic.control.stop(run)):
            self.ui.controlLabel.setText(_("Stopping after this step, once a checkpoint is written."))

    def _kill(self) -> None:
        run = self.logic.current_run
        question = _("End the run immediately? Progress since the last checkpoint will be lost.")
        if run is not None and self._dialogs.ask(question):
            self._do(lambda: self.logic.control.kill(run))

    def _resume(self) -> None:
        run = self.logic.current_run
        if run is not None and self._do(lambda: self.logic.control.resume(run)):
            self.logic.refresh(run.path)

    def _do(self, action: Any) -> bool:
        """Run an action and return whether it succeeded; show the error otherwise."""
        try:
            action()
        except ControlError as error:
            self._dialogs.tell(str(error))
            return False
        return True


def _chosen(box: Any) -> str:
    data = box.itemData(box.currentIndex)
    return str(data) if data is not None else ""
