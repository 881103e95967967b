"""Section of the panel that compares the chosen volumes with those of an earlier visit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ASASegmentationLib.parameters import Parameters
from ASASegmentationLib.results import record, scene
from ASASegmentationLib.results_section import AMBER, RED
from ASASegmentationLib.visits import overlay
from ASASegmentationLib.visits.logic import VisitsLogic
from ASASegmentationLib.visits.overlay import Shown
from ASASlicerLib.proposal.propose import usable_volumes
from ASASlicerLib.signals import Signal
from ASASlicerLib.table import fill_table, fit_height, fold_columns

_UI_FILE = Path(__file__).parents[2] / "Resources" / "UI" / "Visits.ui"
_ROWS = 4
_POLL_MS = 50
_STEPS = 1000
_STYLE = "QLabel {{ background-color: {0}; border: 1px solid {1}; color: {2}; border-radius: 4px; padding: 4px; }}"
_VISIBLE = 6  # of the list of lesions, which scrolls


class VisitsSection:
    """Stands below the results once there is a volume besides those chosen.

    `shown` is the comparison in the scene, if any. `above` is the widget that the section follows; `changed` tells of
    the start and end of a job.

    `provide` installs what is missing and returns why it cannot, as a sentence, or "".
    """

    def __init__(self, above: Any, logic: VisitsLogic, provide: Callable[[], str], log: Callable[[str], None]) -> None:
        self.logic, self.changed = logic, Signal()
        self._provide = provide
        self.widget = slicer.util.loadUI(str(_UI_FILE))
        self.ui = slicer.util.childWidgetVariables(self.widget)
        around = above.parentWidget().layout()
        around.insertWidget(around.indexOf(above) + 1, self.widget)
        self._earlier = [getattr(self.ui, f"earlier{row}Selector") for row in range(_ROWS)]
        self._parameters: Parameters | None = None
        self._blocked = False
        self._failure = ""
        self.shown: Shown | None = None
        self._listed: list[Any] = []  # centres of the lesions in the table
        self._running = False
        self._timer = qt.QTimer()
        self._timer.setInterval(_POLL_MS)
        self._timer.connect("timeout()", logic.poll)
        ui = self.ui
        ui.visitsSection.collapsed = True
        ui.compareProgressBar.setRange(0, _STEPS)
        for selector in (ui.earlierResultSelector, *self._earlier):
            selector.setMRMLScene(slicer.mrmlScene)
        for selector in self._earlier:
            selector.connect("currentNodeChanged(vtkMRMLNode*)", self._on_chosen)
        ui.earlierResultSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._take_result)
        ui.compareButton.connect("clicked()", self.toggle)
        ui.fadeSlider.connect("valueChanged(int)", self._fade)
        ui.lesionsTable.connect("cellClicked(int,int)", self._go_to)
        for table in (ui.changesTable, ui.lesionsTable):
            # its first column takes the room that is left, and so tells of each change of the width
            table.horizontalHeader().connect("sectionResized(int,int,int)", self._fold)
        self._listeners: list[tuple[Signal, Callable[..., object]]] = [
            (logic.changed, self._on_changed),
            (logic.progressed, self._on_progressed),
            (logic.logged, log),
            (logic.finished, self._on_finished),
            (logic.failed, self._on_failed),
            (logic.cancelled, self._on_cancelled),
        ]
        for signal, listener in self._listeners:
            signal.connect(listener)
        self._show_tables()

    def close(self) -> None:
        """End a running job and let go of the scene."""
        self._timer.stop()
        for signal, listener in self._listeners:
            signal.disconnect(listener)
        for selector in (self.ui.earlierResultSelector, *self._earlier):
            selector.setMRMLScene(None)
        self.logic.close()

    def show(self, parameters: Parameters, blocked: bool) -> None:
        """Follow the task and the volumes of the later visit; while `blocked`, a segmentation is running."""
        self._parameters, self._blocked = parameters, blocked
        if self.shown is not None and slicer.mrmlScene.GetNodeByID(self.shown.segmentation_id) is None:
            self.shown = None  # the user removed it, or closed the scene
            self._show_tables()
        self._refresh()

    def on_scene_closing(self) -> None:
        """Cancel what would arrive in the next scene."""
        self.shown, self._failure = None, ""
        self.logic.drop()
        self._show_tables()

    def earlier(self) -> dict[str, slicer.vtkMRMLScalarVolumeNode]:
        """Return modality key -> volume of the earlier visit, of the modalities that the later one has."""
        if self._parameters is None:
            return {}
        used = self._parameters.volumes()
        rows = zip(self._parameters.modalities, self._earlier, strict=False)
        chosen = {modality.key: selector.currentNode() for modality, selector in rows if modality.key in used}
        return {key: volume for key, volume in chosen.items() if volume is not None}

    def toggle(self) -> None:
        """Start the comparison, or cancel it."""
        if self.logic.running:
            self.logic.cancel()
            return
        assert self._parameters is not None
        if reason := self._provide():
            self._on_failed(reason)
            return
        self._failure = ""
        self.logic.start(self._parameters, self.earlier())

    # --- state

    def _refresh(self) -> None:
        ui, parameters = self.ui, self._parameters
        if parameters is None:
            return
        running, used = self.logic.running, parameters.volumes()
        others = {volume.GetID() for volume in usable_volumes(slicer.mrmlScene)}
        others -= {volume.GetID() for volume in used.values()}
        ui.visitsSection.setVisible(bool(others) or running or self.shown is not None)
        for row, selector in enumerate(self._earlier):
            caption = getattr(ui, f"earlier{row}Label")
            there = row < len(parameters.modalities) and parameters.modalities[row].key in used
            caption.setVisible(there)
            selector.setVisible(there)
            selector.setEnabled(not running)
            if there:
                caption.setText(_("Earlier {modality}:").format(modality=_(parameters.modalities[row].title)))
        ui.earlierResultSelector.setEnabled(not running)
        reason = self.logic.problem(parameters, self.earlier()) if not running else ""
        if self._blocked:
            reason = _("A segmentation is running.")
        ui.compareButton.setText(_("Cancel") if running else _("Compare"))
        ui.compareButton.setEnabled(running or not reason)
        ui.compareButton.setToolTip(reason or _("Compare both visits; takes about as long as two segmentations."))
        ui.compareProgressBar.setVisible(running)
        ui.compareStatusLabel.setStyleSheet("" if running or self._failure or reason else self._frame())
        if running:
            stage, fraction = self.logic.progress
            ui.compareProgressBar.setValue(int(_STEPS * fraction))
            ui.compareStatusLabel.setText(_stage(stage))
        else:
            ui.compareStatusLabel.setText(self._failure or reason or self._summary())
        self._timer.start() if self.logic.busy else self._timer.stop()

    def _summary(self) -> str:
        if self.shown is None:
            return _("Ready. Both visits should come from the same scanner and protocol.")
        found = self.shown.comparison
        lines = [_("Do not use this comparison unchecked:")] if found.doubts else []
        return "\n".join([*lines, *(f"• {text}" for text in (*found.doubts, *found.warnings))])

    def _frame(self) -> str:
        """Return the style of what must be read before the comparison is used; "" where there is nothing."""
        found = self.shown.comparison if self.shown is not None else None
        if found is None or not (found.doubts or found.warnings):
            return ""
        return _STYLE.format(*(RED if found.doubts else AMBER))

    def _on_changed(self) -> None:
        self._refresh()
        if self._running != self.logic.running:
            self._running = self.logic.running
            self.changed()

    def _on_progressed(self, _progress: object) -> None:
        self._refresh()

    def _on_chosen(self, *_args: object) -> None:
        self._failure = ""
        self._refresh()

    def _take_result(self, *_args: object) -> None:
        """Choose the volumes that an earlier result was made from."""
        node = self.ui.earlierResultSelector.currentNode()
        if node is None or self._parameters is None:
            return
        images = record.images_of(node)
        scan = scene.scan_of(node)
        for number, (modality, selector) in enumerate(zip(self._parameters.modalities, self._earlier, strict=False)):
            volume = images.get(modality.key) or (scan if number == 0 and not images else None)
            selector.setCurrentNode(volume)
        self._on_chosen()

    def _on_finished(self, shown: Shown) -> None:
        self.shown = shown
        self.ui.fadeSlider.setValue(0)
        later, first = slicer.mrmlScene.GetNodeByID(shown.later_id), shown.comparison.lesions[:1]
        scene.present(later, None)
        overlay.fade(slicer.mrmlScene, shown, 0.0)
        if first:
            overlay.go_to(slicer.mrmlScene, shown, first[0]["centre"])
        self._show_tables()
        self._refresh()

    def _on_failed(self, message: str) -> None:
        self._failure = message
        self._refresh()

    def _on_cancelled(self) -> None:
        self._failure = _("Cancelled; the scene is unchanged.")
        self._refresh()

    # --- results

    def _show_tables(self) -> None:
        ui, found = self.ui, self.shown.comparison if self.shown is not None else None
        lesions = found.lesions if found is not None else ()
        for control in (ui.changesTable, ui.fadeLabel, ui.fadeSlider, ui.fadeEndLabel):
            control.setVisible(found is not None)
        for control in (ui.lesionsLabel, ui.lesionsTable):
            control.setVisible(bool(lesions))
        if found is None:
            return
        words, states = overlay.verdicts(), overlay.states()
        headings = [_("Structure"), _("%"), _("Verdict"), _("mL then"), _("mL now")]
        _fill(
            ui.changesTable,
            headings,
            [
                [
                    row["title"],
                    _number(row["change_percent"], "+.1f"),
                    words.get(row["verdict"], row["verdict"]),
                    _number(row["first_ml"], ".1f"),
                    _number(row["second_ml"], ".1f"),
                ]
                for row in found.changes
            ],
        )
        counts = {state: sum(row["state"] == state for row in lesions) for state in states}
        shown = [f"{count} {states[state].lower()}" for state, count in counts.items() if count]
        ui.lesionsLabel.setText(_("Lesions: {counts}").format(counts=", ".join(shown)))
        changed = sorted(lesions, key=lambda row: row["state"] == "stable")
        self._listed = [row["centre"] for row in changed]
        colours = {key: segment.GetColor() for key, segment in found.segments.items()}
        _fill(
            ui.lesionsTable,
            [_("Lesion"), _("mL then"), _("mL now")],
            [
                [
                    states.get(row["state"], row["state"]),
                    _number(row["first_ml"], ".2f"),
                    _number(row["second_ml"], ".2f"),
                ]
                for row in changed
            ],
            [colours.get(row["state"]) for row in changed],
        )

    def _fold(self, column: int, *_sizes: int) -> None:
        if column == 0 and self.shown is not None:
            fold_columns(self.ui.changesTable)
            fold_columns(self.ui.lesionsTable)

    def _fade(self, value: int) -> None:
        if self.shown is not None:
            overlay.fade(slicer.mrmlScene, self.shown, value / 100)

    def _go_to(self, row: int, _column: int) -> None:
        if self.shown is not None and row < len(self._listed):
            overlay.go_to(slicer.mrmlScene, self.shown, self._listed[row])


def _fill(table: Any, headings: list[str], rows: list[list[str]], colours: list[Any] | None = None) -> None:
    fill_table(table, headings, rows, colours)
    fit_height(table, min(len(rows), _VISIBLE))
    fold_columns(table)


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _stage(stage: str) -> str:
    """Return the stage of a comparison in words."""
    visit, colon, _what = stage.partition(": ")
    if colon and visit == "visit 1":
        return _("Segmenting the earlier visit…")
    if colon:
        return _("Segmenting the later visit…")
    known = {
        "preparing": _("Preparing…"),
        "reading": _("Reading both visits…"),
        "registering": _("Registering both visits…"),
        "writing": _("Comparing…"),
        "adding": _("Adding the result to the scene…"),
    }
    return known.get(stage, stage)
