"""Tab Watch: curves, latest metrics, remaining time and errors of a run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from asa.runs.layout import CONSOLE, EVENTS, LOG
from ASASlicerLib.dialogs import Dialogs
from ASASlicerLib.process import LAUNCHER_MESSAGE
from ASASlicerLib.steps import Steps, advance
from ASASlicerLib.table import fill_table
from ASATrainingLib import layouts
from ASATrainingLib.logic import TrainingLogic
from ASATrainingLib.runs.run_folder import RunFolder, Status
from ASATrainingLib.watch.curves import charts, regions
from ASATrainingLib.watch.events import Curves, EventReader
from ASATrainingLib.watch.plots import Plots
from ASATrainingLib.watch.tensorboard import TensorBoard
from ASATrainingLib.wording import duration

_POLL_MS, _CATCH_UP_MS = 500, 0
_READ_S = 0.02  # time budget per call in the GUI thread
_DRAW_EVERY_S = 0.5
_TAIL = 1 << 15  # bytes of a log shown
_BAD = (Status.FAILED, Status.DIED)
_PLOT_ORDER = ("loss", "scores", "lr", "speed", "remaining")


def open_in_browser(address: str) -> None:
    """Open an address in the default browser."""
    qt.QDesktopServices.openUrl(qt.QUrl(address))


class WatchTab:
    """Follows `logic.current_run` through its files while it is visible.

    `widget` is the loaded WatchTab.ui; `open_address` opens TensorBoard in the browser.
    """

    FILE, TITLE = "WatchTab.ui", "Watch"

    def __init__(
        self,
        widget: Any,
        logic: TrainingLogic,
        _dialogs: Dialogs,
        open_address: Callable[[str], None] = open_in_browser,
    ) -> None:
        self.ui = slicer.util.childWidgetVariables(widget)
        self.logic = logic
        self.plots = Plots(slicer.mrmlScene)
        self._widget = widget
        self._board = TensorBoard(logic.runner, open_address, self._say)
        self._board_note = ""
        self._left = False  # while showing the plots
        self._plotting: Steps[bool] | None = None  # charts being put into their views
        self._run: RunFolder | None = None
        self._reader: EventReader | None = None
        self._curves = Curves()
        self._dirty = False  # whether there are undrawn changes
        self._drawn = 0.0
        self._log: tuple[tuple[int, float], ...] = ()  # sizes and times of the logs shown
        self._timer = qt.QTimer()
        self._timer.setInterval(_POLL_MS)
        self._timer.connect("timeout()", self.poll)
        self.ui.plotsButton.connect("clicked()", self.show_plots)
        self.ui.tensorboardButton.connect("clicked()", self._open_board)
        self._board_tip = str(self.ui.tensorboardButton.toolTip)
        logic.current_run_changed.connect(self._attach)
        logic.run_state_changed.connect(self._on_state)
        self._attach()
        self._timer.start()

    def close(self) -> None:
        """Stop following the run; its charts stay in the scene."""
        self._timer.stop()
        self._board.stop()
        self.logic.current_run_changed.disconnect(self._attach)
        self.logic.run_state_changed.disconnect(self._on_state)

    # --- run selection

    def _attach(self) -> None:
        run = self.logic.current_run
        if run is not None and self._run is not None and run.path == self._run.path:
            return
        self._run = run
        self._curves, self._log, self._board_note = Curves(), (), ""
        usable = run is not None and not run.problem
        self._reader = EventReader(run.path / EVENTS) if run is not None and usable else None
        self._dirty, self._drawn = True, 0.0
        for control in (self.ui.plotsButton, self.ui.logText, self.ui.numbersTable):
            control.setEnabled(usable)
        self.show_board_button()
        self.ui.logText.setPlainText("")
        self._timer.setInterval(_CATCH_UP_MS)
        self._show_progress()

    def show_board_button(self) -> None:
        """Update the TensorBoard button; the package may have been installed since."""
        button, there = self.ui.tensorboardButton, TensorBoard.installed()
        button.setEnabled(there and self._run is not None and not self._run.problem)
        button.setToolTip(self._board_tip if there else _("The Python package tensorboard is not installed."))

    def _on_state(self, run: RunFolder) -> None:
        if self._run is not None and run.path == self._run.path:
            self._run = run
            self._log = ()
            self._show_progress()

    # --- following the run

    def poll(self) -> None:
        """Read more events and draw changes."""
        if self._plotting is not None:
            self._plotting = None if advance(self._plotting) else self._plotting
            self._timer.setInterval(_CATCH_UP_MS)
            return
        if not self._widget.isVisible():
            self._timer.setInterval(_POLL_MS)
            return
        self._board.poll()
        if self._reader is None:
            self._timer.setInterval(_POLL_MS)
            self._draw()
            return
        events, more = self._reader.read(_READ_S)
        if self._reader.restarted:
            self._curves = Curves()
        self._curves.extend(events)
        self._dirty = self._dirty or bool(events) or self._reader.restarted
        self._timer.setInterval(_CATCH_UP_MS if more else _POLL_MS)
        if not more or time.monotonic() - self._drawn > _DRAW_EVERY_S:
            self._draw()
        if not more:
            self._show_log()

    def _draw(self) -> None:
        if not self._dirty:
            return
        self._dirty, self._drawn = False, time.monotonic()
        name = self._run.name if self._run is not None else ""
        self.plots.show(name, charts(self._curves))
        fill_table(self.ui.numbersTable, [_("Metric"), _("Latest"), _("Best")], self._numbers())
        self._show_progress()

    def show_plots(self) -> None:
        """Show plot views with the charts of the run, the most important first."""
        nodes = self.plots.nodes()
        charts = [nodes[key] for key in _PLOT_ORDER if key in nodes]
        self._plotting = layouts.show_plots(slicer.mrmlScene, charts)
        advance(self._plotting)  # the layout at once, the charts one by one
        self._timer.setInterval(_CATCH_UP_MS)

    def leave(self) -> None:
        """Give the user's layout back."""
        self._plotting = None
        self._left = layouts.give_back(slicer.mrmlScene, layouts.PLOTS)

    def enter(self) -> None:
        """Show the plots again if the tab was left while it showed them."""
        if self._left:
            self._left = False
            self.show_plots()

    # --- texts

    def _numbers(self) -> Sequence[Sequence[str]]:
        """Return the table rows: metric, latest and best value."""
        rows = [
            ("step", "loss", _("Loss, training"), "{:.4g}", min),
            ("validation", "loss", _("Loss, held out"), "{:.4g}", min),
            *(
                ("validation", f"dice {region}", _("Dice, {region}").format(region=region), "{:.3f}", max)
                for region in regions(self._curves)
            ),
            ("validation", "mse", _("MSE of hidden patches, held out"), "{:.4g}", min),
            ("step", "lr", _("Learning rate"), "{:.3g}", None),
            ("step", "samples_per_second", _("Samples per second"), "{:.3g}", None),
            ("step", "memory_gib", _("Memory, GiB"), "{:.2f}", None),
        ]
        found = []
        for kind, key, title, form, best in rows:
            if (series := self._curves.series.get((kind, key))) is not None:
                values = series.arrays()[1]
                found.append((title, form.format(series.last), form.format(best(values)) if best is not None else ""))
        return found

    def _show_progress(self) -> None:
        ui, run = self.ui, self._run
        steps = run.state.steps if run is not None else 0
        step = max(self._curves.step, run.state.step if run is not None else 0)
        ui.progressBar.setVisible(steps > 0)
        if steps > 0:
            ui.progressBar.setRange(0, steps)
            ui.progressBar.setValue(min(step, steps))
        ui.progressLabel.setText(self._progress_text(step, steps))
        error = self._error()
        ui.errorLabel.setText(error)
        ui.errorLabel.setVisible(bool(error))

    def _progress_text(self, step: int, steps: int) -> str:
        run = self._run
        if run is None:
            return _("Choose a run above, or open a run folder.")
        if run.problem:
            return ""
        lines = (
            [_("Step {step} of {steps}.") if steps else _("Step {step}.")] if step else [_("No step completed yet.")]
        )
        remaining = self._curves.series.get(("step", "remaining_s"))
        if run.status is Status.RUNNING and remaining is not None:
            lines.append(_("{time} left.").format(time=duration(remaining.last)))
        if self._reader is not None and self._reader.noise:
            lines.append(_("{count} damaged lines of {file} were skipped."))
        lines.append(self._board_note)
        count = self._reader.noise if self._reader is not None else 0
        return " ".join(filter(None, lines)).format(step=step, steps=steps, count=count, file=EVENTS)

    def _error(self) -> str:
        """Return the error of the run, as a sentence, or ""."""
        run = self._run
        if run is None or run.status not in _BAD:
            return run.problem if run is not None else ""
        if self._curves.end.get("outcome") == "failed" and self._curves.end.get("reason"):
            return str(self._curves.end["reason"])
        lines = [
            line for line in _tail(run.path / CONSOLE).splitlines() if line.strip() and LAUNCHER_MESSAGE not in line
        ]
        words = lines[-1] if lines else ""
        if run.status is Status.DIED:
            why = _(
                "The process ended unexpectedly, for example because memory ran out or the computer "
                "restarted. Resume it."
            )
            return f"{why}\n{words}".strip()
        return words or _("The run failed. See the log for details.")

    def _show_log(self) -> None:
        """The end of log.txt, and of a run that failed also what else its process lines."""
        assert self._run is not None
        files = [self._run.path / LOG, *([self._run.path / CONSOLE] if self._run.status in _BAD else [])]
        stamps = tuple(_stamp(path) for path in files)
        if stamps == self._log:
            return
        self._log = stamps
        parts = [_tail(path) for path in files]
        self.ui.logText.setPlainText("\n".join(filter(None, parts)))
        bar = self.ui.logText.verticalScrollBar()
        bar.setValue(bar.maximum)
        self._show_progress()

    # --- TensorBoard

    def _open_board(self) -> None:
        if self._run is not None:
            self._board.show(self._run.path)

    def _say(self, sentence: str) -> None:
        self._board_note = sentence
        self._show_progress()


def _stamp(path: Path) -> tuple[int, float]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0.0
    return found.st_size, found.st_mtime


def _tail(path: Path) -> str:
    """Return the last lines of a file, or ""."""
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(max(0, size - _TAIL))
            text = stream.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    return text if size <= _TAIL else text.partition("\n")[2]
