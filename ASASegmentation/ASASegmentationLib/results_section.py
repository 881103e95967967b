"""Results section of the panel: warnings, volumes, display and export of one segmentation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from asa.tasks import TASKS
from ASASegmentationLib.correct_section import CorrectSection
from ASASegmentationLib.results import export, scene
from ASASegmentationLib.segments.edits import users_own
from ASASegmentationLib.segments.retained_rows import retained_rows
from ASASegmentationLib.segments.surface_job import SurfaceMaker
from ASASlicerLib.dialogs import Dialogs
from ASASlicerLib.signals import Signal
from ASASlicerLib.steps import Steps, advance
from ASASlicerLib.table import fill_table, fit_height, fold_columns

# Background, border, text: the same in the light and in the dark theme.
AMBER, RED = ("#fff3cd", "#d39e00", "#4a3700"), ("#f8d7da", "#b02a37", "#58151c")
_STYLE = (
    "#warningFrame {{ background-color: {0}; border: 1px solid {1}; border-radius: 4px; }}"
    " #warningFrame QLabel {{ color: {2}; }}"
)
_MEASURE_AFTER_MS = 500  # a stroke of the Segment Editor changes a segmentation many times


class ResultsSection:
    """`ui` holds the named widgets of ASASegmentation.ui. The table follows the user's edits."""

    def __init__(self, ui: Any, dialogs: Dialogs, surfaces: SurfaceMaker) -> None:
        self._ui = ui
        self._surfaces = surfaces
        self._dialogs = dialogs
        self.correct = CorrectSection(ui)
        self._node: slicer.vtkMRMLSegmentationNode | None = None
        self._overview = b""
        self._shown_table: object = None
        self._enabled = False
        self._observations: list[tuple[slicer.vtkMRMLSegmentationNode, int]] = []
        self._measuring: Steps[bool] | None = None
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.connect("timeout()", self._measure)
        for value, title in {"nested": _("Nested regions"), "separate": _("Separate parts")}.items():
            ui.viewComboBox.addItem(title, value)
        self._listeners: list[tuple[Signal, Callable[..., object]]] = [
            (surfaces.changed, self._show_surface_state),
            (surfaces.failed, self._on_surfaces_failed),
        ]
        for signal, listener in self._listeners:
            signal.connect(listener)
        self._show_surface_state()
        ui.viewComboBox.connect("currentIndexChanged(int)", self._show_view)
        ui.exportButton.connect("clicked()", self._export)
        # its first column takes the room that is left, and so tells of each change of the width
        ui.volumesTable.horizontalHeader().connect("sectionResized(int,int,int)", self._fold)

    def close(self) -> None:
        """Stop following the segmentation."""
        self._timer.stop()
        for signal, listener in self._listeners:
            signal.disconnect(listener)
        self._observe(None)
        self.correct.close()

    def show(self, node: slicer.vtkMRMLSegmentationNode | None, overview: bytes, enabled: bool) -> None:
        """Show a segmentation created by ASA; hide the section for any other. `overview` is its image, if available.

        While a job runs the section is not `enabled` and the warnings of the previous result are hidden.
        """
        ui, table = self._ui, scene.volume_table(node) if node is not None else None
        self._overview, self._enabled = overview, enabled
        self._observe(node if table is not None else None)
        self.correct.show(node if table is not None else None, enabled)
        ui.resultsSection.setVisible(table is not None)
        ui.resultsSection.setEnabled(enabled)
        self._show_warnings(*(scene.warnings_of(node) if node is not None and enabled else ([], [])))
        if node is None or table is None:
            return
        ui.resultsSection.setToolTip(node.GetName())
        task = TASKS.get(scene.task_name(node))
        for control in (ui.viewLabel, ui.viewComboBox):
            control.setVisible(task is not None and task.nested)
        if task is not None and task.nested:
            ui.viewComboBox.blockSignals(True)  # reflect the display without changing it
            ui.viewComboBox.setCurrentIndex(0 if scene.shows_nested(node, task) else 1)
            ui.viewComboBox.blockSignals(False)
        headings, rows = scene.table_cells(table)
        colours = scene.colours(node)
        if (headings, rows, colours) != self._shown_table:
            fill_table(ui.volumesTable, headings, rows, [colours.get(row[0]) for row in rows])
            fit_height(ui.volumesTable, len(rows))
            fold_columns(ui.volumesTable)
            self._shown_table = (headings, rows, colours)

    def _fold(self, column: int, *_sizes: int) -> None:
        if column == 0 and self._shown_table is not None:
            fold_columns(self._ui.volumesTable)

    # --- edits

    def _observe(self, node: slicer.vtkMRMLSegmentationNode | None) -> None:
        if node is self._node:
            return
        for observed, tag in self._observations:
            observed.RemoveObserver(tag)
        self._node, self._observations, self._measuring = node, [], None
        if node is not None:
            kinds = slicer.vtkSegmentation
            events = (kinds.SourceRepresentationModified, kinds.SegmentAdded, kinds.SegmentRemoved)
            tags = [node.AddObserver(event, lambda *_: self._measure_later()) for event in events]
            self._observations = [(node, tag) for tag in tags]
            self._measure_later()  # it may have been edited while another one was shown

    def _measure_later(self) -> None:
        self._measuring = None
        self._timer.setInterval(_MEASURE_AFTER_MS)
        self._timer.start()

    def _measure(self) -> None:
        """Measure edited segments again, a few at a time."""
        if self._node is None or not slicer.mrmlScene.IsNodePresent(self._node):
            return
        if not self._enabled:  # a job may be replacing its segments
            self._measure_later()
            return
        self._measuring = self._measuring or self._remeasure(self._node)
        if advance(self._measuring) is None:
            self._timer.setInterval(0)
            self._timer.start()
            return
        self._measuring = None
        self.show(self._node, self._overview, self._enabled)

    def _remeasure(self, node: slicer.vtkMRMLSegmentationNode) -> Steps[bool]:
        rows, task = scene.rows_of(node), TASKS.get(scene.task_name(node))
        if rows and task is not None:
            changed = yield from users_own(node, sorted({row["name"] for row in rows}))
            scene.set_volume_table(node, retained_rows(rows, task, changed))
        return True

    def _show_warnings(self, doubts: Sequence[str], warnings: Sequence[str]) -> None:
        ui, lines = self._ui, [*doubts, *warnings]
        ui.warningFrame.setVisible(bool(lines))
        ui.warningFrame.setStyleSheet(_STYLE.format(*(RED if doubts else AMBER)))
        ui.warningTitle.setText(
            _("Do not use this result unchecked") if doubts else _("Please review before continuing")
        )
        ui.warningText.setText("\n".join(f"• {_sentence(line)}" for line in lines))

    def show_surfaces(self, shown: bool) -> None:
        """Show the surfaces of the segmentation, which creates missing ones in the background, or hide them."""
        if self._node is None:
            return
        if shown:
            self._surfaces.start(self._node)
        else:
            self._surfaces.cancel()
            self._node.GetDisplayNode().SetVisibility3D(False)

    def _show_surface_state(self) -> None:
        running = self._surfaces.running
        self._ui.surfacesLabel.setVisible(running)
        self._ui.surfacesLabel.setText(_("Creating surfaces…"))

    def _on_surfaces_failed(self, reason: str) -> None:
        self._ui.surfacesLabel.setVisible(True)
        self._ui.surfacesLabel.setText(reason)

    def _show_view(self, *_args: object) -> None:
        if self._node is not None and (task := TASKS.get(scene.task_name(self._node))) is not None:
            scene.show(self._node, task, self._ui.viewComboBox.currentIndex == 0)

    def _export(self) -> None:
        if self._node is None:
            return
        path = self._dialogs.choose_file(f"{self._node.GetName()}.seg.nrrd")
        if not path:
            return
        try:
            export.export(self._node, Path(path), self._overview)
        except export.ExportError as error:
            self._dialogs.tell(str(error))


def _sentence(text: str) -> str:
    """Return the text with a capital and a full stop."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
