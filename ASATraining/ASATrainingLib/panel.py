"""Training panel: run selection and tabs.

A tab is a .ui file and a class:

    class WatchTab:
        FILE, TITLE = "WatchTab.ui", "Watch"

        def __init__(self, widget, logic, dialogs): ...   # widget: what slicer.util.loadUI made of FILE
        def close(self): ...                              # releases timers, observers and signals
        def enter(self): ...                              # optional: the tab comes to the front
        def leave(self): ...                              # optional: another tab or module does

A new tab is listed in `_tabs` below with its title. Contract for tabs:

- `logic` is the `TrainingLogic`. `logic.current_run` is the selected `RunFolder`, or None; it is an immutable snapshot,
  so read it again after a signal. `logic.runs` are all known runs, `logic.runner` starts engine programs.
- Signals are plain Python callables (ASASlicerLib.signals.Signal): `logic.current_run_changed()` when another
  run is selected, `logic.run_state_changed(run)` when state.json of a known run changes or its process ends,
  `logic.runs_changed()` when the list changes. They are emitted on the GUI thread. Disconnect in `close`.
- A tab shows `logic.current_run` at the end of its constructor: no signal is emitted for the initial state.
- The panel calls `logic.poll` once a second. A tab that needs more uses its own timer, and does nothing in it while
  its widget is not visible (`widget.visible` is a property: test `widget.isVisible()`).
- `dialogs` is ASASlicerLib.dialogs.Dialogs; scripted in tests.
- The panel stores the selected run in the parameter node. A tab that stores more uses `logic.parameter_node()` with
  keys that begin with its name.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ASASlicerLib import dependencies
from ASASlicerLib.dialogs import Dialogs
from ASASlicerLib.engine_job import JobState
from ASASlicerLib.signals import Signal
from ASATrainingLib.data.tab import DataTab
from ASATrainingLib.engine_call import EngineCall
from ASATrainingLib.inspect.tab import InspectTab
from ASATrainingLib.logic import TrainingLogic
from ASATrainingLib.publish.tab import PublishTab
from ASATrainingLib.run.tab import RunTab
from ASATrainingLib.runs.run_folder import RunFolder
from ASATrainingLib.watch.tab import WatchTab
from ASATrainingLib.wording import run_title, status_text

_POLL_MS = 1000
_RUN = "ASA.training.run"


def _tabs() -> dict[Any, str]:
    """Return the tab classes and their titles, in the order shown."""
    return {
        DataTab: _("Data"),
        RunTab: _("Run"),
        WatchTab: _("Watch"),
        InspectTab: _("Inspect"),  # short, for all five to fit a narrow dock
        PublishTab: _("Publish"),
    }


class Panel:
    """Shows the list of runs and the tabs.

    `widget` is the loaded ASATraining.ui, `forms` the folder of the tabs' .ui files. `plan` lists missing Python
    packages, `installer` installs them.
    """

    def __init__(
        self,
        widget: Any,
        logic: TrainingLogic,
        dialogs: Dialogs,
        forms: Path,
        installer: dependencies.Installer,
        plan: Callable[[Path | None], dependencies.Plan],
    ) -> None:
        self.ui = slicer.util.childWidgetVariables(widget)
        self.logic = logic
        self._dialogs = dialogs
        self._installer = installer
        self._plan = plan
        self._settings: EngineCall | None = None  # reads the settings schema from the engine
        self._showing = False  # while the widgets are set from the logic
        self._connect()
        self._restore()
        self.show_runs()
        self.tabs: dict[str, Any] = {}
        for tab, title in _tabs().items():
            form = slicer.util.loadUI(str(forms / tab.FILE))
            self.ui.tabWidget.addTab(form, title)
            self.tabs[tab.TITLE] = tab(form, logic, dialogs)
        self._shown_tab: Any = None  # None while another module is open
        self.ui.tabWidget.connect("currentChanged(int)", lambda _index: self.enter())
        self._timer = qt.QTimer()
        self._timer.setInterval(_POLL_MS)
        self._timer.connect("timeout()", self._poll)
        self._timer.start()
        self._show_packages()

    def close(self) -> None:
        """Release the scene and the tabs; runs continue."""
        self._timer.stop()
        self.leave()
        if self._settings is not None:
            self.logic.release(self._settings)
        for tab in self.tabs.values():
            tab.close()
        self.logic.close()
        for signal, listener in self._listeners:
            signal.disconnect(listener)
        for event in self._observations:
            slicer.mrmlScene.RemoveObserver(event)

    def enter(self) -> None:
        """Notify the tabs which of them is in front: some have their own view layout."""
        shown = list(self.tabs.values())[self.ui.tabWidget.currentIndex]
        if shown is not self._shown_tab:
            self.leave()
            self._shown_tab = shown
            if hasattr(shown, "enter"):
                shown.enter()

    def leave(self) -> None:
        """Give the user's view layout back."""
        shown, self._shown_tab = self._shown_tab, None
        if hasattr(shown, "leave"):
            shown.leave()

    def _connect(self) -> None:
        ui, logic, mrml = self.ui, self.logic, slicer.mrmlScene
        ui.runComboBox.connect("currentIndexChanged(int)", self._on_run_chosen)
        ui.openRunButton.connect("clicked()", self._open)
        ui.forgetRunButton.connect("clicked()", self._forget)
        ui.packagesButton.connect("clicked()", self._install)
        self._listeners: list[tuple[Signal, Callable[..., object]]] = [
            (logic.runs_changed, self.show_runs),
            (logic.current_run_changed, self._on_current_changed),
            (logic.run_state_changed, lambda _run: self.show_runs()),
        ]
        for signal, listener in self._listeners:
            signal.connect(listener)
        replaced = (mrml.EndCloseEvent, mrml.EndImportEvent, mrml.EndRestoreEvent)
        self._observations = [mrml.AddObserver(event, lambda *_: self._restore()) for event in replaced]

    # --- the engine

    def ask_engine(self) -> None:
        """Read settings and devices from the engine in a separate process, once the required packages are installed."""
        if self._settings is None and not self._plan(None).packages:
            self._settings = EngineCall(self.logic.runner, ["settings", "--json"])
            self.tabs[RunTab.TITLE].refresh_devices()

    def _poll(self) -> None:
        self.logic.poll()
        if self._settings is None:
            return
        self._settings.poll()
        if not self._settings.ended:
            return
        call, self._settings = self._settings, None
        self.logic.release(call)
        if call.state is JobState.DONE:
            self.tabs[RunTab.TITLE].show_forms(call.result)
            self.tabs[DataTab.TITLE].show_datasets([one for form in call.result for one in form["datasets"]])
        else:
            self.ui.packagesLabel.setText(call.error)
            self.ui.packagesButton.setText(_("Try again"))
            for control in (self.ui.packagesLabel, self.ui.packagesButton):
                control.setVisible(True)

    def _show_packages(self) -> None:
        missing = self._plan(None).packages
        names = ", ".join(package.requirement for package in missing)
        text = _("Training needs Python packages that are not installed: {names}.").format(names=names)
        self.ui.packagesLabel.setText(text)
        self.ui.packagesButton.setText(_("Install packages…"))
        for control in (self.ui.packagesLabel, self.ui.packagesButton):
            control.setVisible(bool(missing))

    def _install(self) -> None:
        reason = dependencies.provide(self._plan(None), self._dialogs, self._installer)
        self._show_packages()
        if reason:
            self.ui.packagesLabel.setText(reason)
        self.tabs[WatchTab.TITLE].show_board_button()
        self.ask_engine()

    # --- run selection

    def _restore(self) -> None:
        """Select the run stored in the scene, otherwise the previous one or the newest."""
        remembered = self.logic.parameter_node().GetParameter(_RUN)
        known = {str(run.path): run for run in self.logic.runs}
        if remembered in known:
            self.logic.set_current(known[remembered].path)
        elif remembered and Path(remembered).is_dir():
            self.logic.open_run(Path(remembered))
        elif self.logic.current_run is None and known:
            self.logic.set_current(next(iter(known.values())).path)
        self._remember()

    def _remember(self) -> None:
        run = self.logic.current_run
        self.logic.parameter_node().SetParameter(_RUN, str(run.path) if run is not None else "")

    def show_runs(self) -> None:
        """Fill the list of runs and show the status of the selected one."""
        self._showing = True
        box, current = self.ui.runComboBox, self.logic.current_run
        box.clear()
        for run in self.logic.runs:
            box.addItem(run_title(run), str(run.path))
        box.setCurrentIndex(box.findData(str(current.path)) if current is not None else -1)
        box.setEnabled(bool(self.logic.runs))
        self._showing = False
        self.ui.forgetRunButton.setEnabled(current is not None)
        self._show_status(current)

    def _show_status(self, run: RunFolder | None) -> None:
        self.ui.runStatusLabel.setText(status_text(run) if run is not None else _("No run is open."))
        self.ui.runComboBox.setToolTip(str(run.path) if run is not None else _("The run shown in the tabs."))

    def _on_run_chosen(self, index: int) -> None:
        if not self._showing and index >= 0:
            self.logic.set_current(Path(str(self.ui.runComboBox.itemData(index))))

    def _on_current_changed(self) -> None:
        self._remember()
        self.show_runs()

    def _open(self) -> None:
        folder = self._dialogs.choose_folder(_("Open a run folder"))
        if not folder:
            return
        run = self.logic.open_run(Path(folder))
        if run.problem:
            self._dialogs.tell(run.problem)

    def _forget(self) -> None:
        run = self.logic.current_run
        if run is not None:
            self.logic.forget_run(run.path)
