"""Mouse tools for patches: which to hide, and whose attention to show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from ASASlicerLib import volumes
from ASASlicerLib.steps import finish
from ASATrainingLib.inspect.inspection import Inspection
from ASATrainingLib.inspect.patches import Patches
from ASATrainingLib.inspect.points import Points
from ASATrainingLib.inspect.scene import InspectionScene

_CHOSEN, _PARTNER, _DRAWN = (0.1, 0.9, 1.0), (1.0, 0.35, 0.9), (0.95, 0.85, 0.2)


class PatchTools:
    """The controls drawButton, clearButton, blockComboBox, headComboBox, patchButton and patchLabel of `ui`.

    `drawn` is called after the hidden patches were changed by a click, `attended` when there is attention to be seen.
    """

    def __init__(
        self, ui: Any, shown: InspectionScene, drawn: Callable[[], object], attended: Callable[[], object]
    ) -> None:
        self.ui = ui
        self.chosen = Points(slicer.mrmlScene, _("chosen patch"), _CHOSEN)
        self.partner = Points(slicer.mrmlScene, _("mirror partner"), _PARTNER)
        self.clicked = Points(slicer.mrmlScene, _("patches to hide"), _DRAWN)
        self._shown, self._drawn, self._attended = shown, drawn, attended
        self._inspection: Inspection | None = None
        self._volume_id = ""  # that the inspection is about
        self._patch: int | None = None
        self._hidden: np.ndarray | None = None  # of the label map as it was at the time `_hidden_at`
        self._hidden_at = 0
        self._filling = False
        ui.drawButton.connect("toggled(bool)", self._on_draw)
        ui.clearButton.connect("clicked()", self.hide_nothing)
        ui.patchButton.connect("toggled(bool)", self._on_choose)
        for box in (ui.blockComboBox, ui.headComboBox):
            box.connect("currentIndexChanged(int)", self._on_attention_changed)
        self._fill_attention(0, 0)

    def take(self, inspection: Inspection | None, volume: slicer.vtkMRMLVolumeNode | None) -> None:
        """Use another inspection, None after the scene was closed."""
        self._inspection, self._volume_id = inspection, volume.GetID() if volume is not None else ""
        attention = inspection.attention if inspection is not None else None
        self._fill_attention(*((attention.blocks, attention.heads) if attention is not None else (0, 0)))
        self._hidden = inspection.hidden if inspection is not None else None
        self._hidden_at = self._changed() if inspection is not None else 0
        if inspection is None or (self._patch is not None and self._patch >= len(inspection.patches)):
            self._patch = None
        self.show_attention()

    def patches(self, volume: slicer.vtkMRMLVolumeNode | None) -> Patches | None:
        """Return the patches in a volume, None if the inspection is of another volume."""
        there = volume is not None and volume.GetID() == self._volume_id and self._shown.node("hidden") is not None
        return self._inspection.patches if there and self._inspection is not None else None

    def label_map(self, volume: slicer.vtkMRMLVolumeNode) -> np.ndarray:
        """Return the mask to hide on the grid of a volume (K, J, I); other tools may have edited it."""
        hidden = self._shown.node("hidden")
        if hidden is None or self.patches(volume) is None:
            return np.zeros(volumes.array_of(volume).shape, np.uint8)
        return slicer.util.arrayFromVolume(hidden)

    def hidden(self, volume: slicer.vtkMRMLVolumeNode | None) -> np.ndarray | None:
        """Return the hidden patches as (N,) bool, None while unknown."""
        patches = self.patches(volume)
        if volume is None or patches is None:
            return None
        changed = self._changed()
        if self._hidden is None or changed != self._hidden_at:
            self._hidden, self._hidden_at = finish(patches.marked(self.label_map(volume))), changed
        return self._hidden.copy()

    def poll(self, volume: slicer.vtkMRMLVolumeNode | None, drawing: bool) -> None:
        """Process clicks since the last call; clicks to hide patches count while `drawing`."""
        patches = self.patches(volume)
        if volume is None or patches is None:
            return
        to_volume = np.linalg.inv(volumes.to_world(volume))
        for ras in self.clicked.take():
            patch = patches.at((to_volume @ [*ras, 1.0])[:3])
            if patch is not None and drawing:
                self._toggle(patch)
        newest = self.chosen.newest()
        patch = patches.at((to_volume @ [*newest, 1.0])[:3]) if newest is not None else None
        if patch != self._patch:
            self._patch = patch
            self.show_attention()
        for button, points in ((self.ui.drawButton, self.clicked), (self.ui.patchButton, self.chosen)):
            if button.isChecked() and not points.placing:  # ended in the view
                button.setChecked(False)

    def _changed(self) -> int:
        """Return the modification time of the label map."""
        hidden = self._shown.node("hidden")
        return int(hidden.GetImageData().GetMTime()) if hidden is not None else 0

    # --- hiding

    def hide_nothing(self) -> None:
        """Show all patches."""
        if self._inspection is not None:
            self._set_hidden(np.zeros(len(self._inspection.patches), bool))

    def _toggle(self, patch: int) -> None:
        hidden = self.hidden(self._volume())
        if hidden is not None:
            hidden[patch] = not hidden[patch]
            self._set_hidden(hidden)

    def _set_hidden(self, hidden: np.ndarray) -> None:
        inspection, volume = self._inspection, self._volume()
        if inspection is not None and volume is not None:
            self._shown.paint("hidden", hidden, inspection, volume)
            self._hidden, self._hidden_at = hidden, self._changed()
            self._drawn()

    def _volume(self) -> slicer.vtkMRMLVolumeNode | None:
        return slicer.mrmlScene.GetNodeByID(self._volume_id) if self._volume_id else None

    # --- placing

    def _on_draw(self, on: bool) -> None:
        self._place(self.clicked, on, self.ui.patchButton, again=True)

    def _on_choose(self, on: bool) -> None:
        self._place(self.chosen, on, self.ui.drawButton, again=False)

    def _place(self, points: Points, on: bool, other: Any, *, again: bool) -> None:
        if on:
            other.setChecked(False)
            points.start_placing(again=again)
        else:
            points.stop_placing()

    # --- attention

    def _fill_attention(self, blocks: int, heads: int) -> None:
        """Fill the choices of block and head; the first choice is the mean."""
        self._filling = True
        for box, count, each in ((self.ui.blockComboBox, blocks, _("block")), (self.ui.headComboBox, heads, _("head"))):
            if box.count != count + 1:
                box.clear()
                box.addItem(_("all {each}s").format(each=each), -1)
                for number in range(count):
                    box.addItem(f"{each} {number + 1}", number)
        self._filling = False

    def _on_attention_changed(self, _index: int) -> None:
        if not self._filling:
            self.show_attention()

    def show_attention(self) -> None:
        """Show the attention of the selected patch in the scene."""
        inspection, patch, volume = self._inspection, self._patch, self._volume()
        if inspection is None or volume is None:
            self.ui.patchLabel.setText("")
            return
        if inspection.attention is None or patch is None:
            why = (
                _("Choose a patch to see what it attends to.") if inspection.attention else _("No attention available.")
            )
            self.ui.patchLabel.setText(why)
            return
        block, head = (int(box.itemData(box.currentIndex)) for box in (self.ui.blockComboBox, self.ui.headComboBox))
        values = inspection.attention.of(patch, block if block >= 0 else None, head if head >= 0 else None)
        self._shown.paint("attention", values, inspection, volume)
        mirror = inspection.patches.mirror(patch)
        centre = volumes.to_world(volume) @ [*inspection.patches.centre(mirror), 1.0]
        self.partner.put(centre[:3], _("mirror"))
        self.ui.patchLabel.setText(_sentence(inspection.patches, values, patch, mirror))
        self._attended()


def _sentence(patches: Patches, values: np.ndarray, patch: int, mirror: int) -> str:
    text = _("Patch {place} attends {own} to itself and {other} to its mirror partner {partner}").format(
        place=patches.place(patch),
        own=f"{100 * values[patch]:.1f} %",
        other=f"{100 * values[mirror]:.1f} %",
        partner=patches.place(mirror),
    )
    return text + (_(", which carries the same position code (SPE).") if patches.symmetric else ".")
