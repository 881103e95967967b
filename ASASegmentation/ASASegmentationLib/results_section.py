"""Results section of the panel: warnings, volumes, display and export of one segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from asa.tasks import TASKS
from ASASegmentationLib.results import export, scene
from ASASlicerLib.dialogs import Dialogs
from ASASlicerLib.table import fill_table, fit_height

# Background, border, text: the same in the light and in the dark theme.
_AMBER, _RED = ("#fff3cd", "#d39e00", "#4a3700"), ("#f8d7da", "#b02a37", "#58151c")
_STYLE = (
    "#warningFrame {{ background-color: {0}; border: 1px solid {1}; border-radius: 4px; }}"
    " #warningFrame QLabel {{ color: {2}; }}"
)


class ResultsSection:
    """`ui` holds the named widgets of ASASegmentation.ui."""

    def __init__(self, ui: Any, dialogs: Dialogs) -> None:
        self._ui = ui
        self._dialogs = dialogs
        self._node: slicer.vtkMRMLSegmentationNode | None = None
        self._overview = b""
        self._shown_table: object = None
        ui.viewComboBox.connect("currentIndexChanged(int)", self._show_view)
        ui.exportButton.connect("clicked()", self._export)

    def show(self, node: slicer.vtkMRMLSegmentationNode | None, overview: bytes, enabled: bool) -> None:
        """Show a segmentation created by ASA; hide the section for any other. `overview` is its image, if available.

        While a job runs the section is not `enabled` and the warnings of the previous result are hidden.
        """
        ui, table = self._ui, scene.volume_table(node) if node is not None else None
        self._node, self._overview = (node if table is not None else None), overview
        ui.resultsSection.setVisible(table is not None)
        ui.resultsSection.setEnabled(enabled)
        self._show_warnings(*(scene.warnings_of(node) if node is not None and enabled else ([], [])))
        if node is None or table is None:
            return
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
            self._shown_table = (headings, rows, colours)

    def _show_warnings(self, doubts: Sequence[str], warnings: Sequence[str]) -> None:
        ui, lines = self._ui, [*doubts, *warnings]
        ui.warningFrame.setVisible(bool(lines))
        ui.warningFrame.setStyleSheet(_STYLE.format(*(_RED if doubts else _AMBER)))
        ui.warningTitle.setText(
            _("Do not use this result unchecked") if doubts else _("Please review before continuing")
        )
        ui.warningText.setText("\n".join(f"• {_sentence(line)}" for line in lines))

    def show_surfaces(self, shown: bool) -> None:
        """Show or hide the surfaces of the segmentation."""
        if self._node is None:
            return
        if shown:
            with self._dialogs.busy():
                scene.show_surfaces(self._node)
        else:
            self._node.GetDisplayNode().SetVisibility3D(False)

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
