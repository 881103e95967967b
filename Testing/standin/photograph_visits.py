"""Photographs the comparison of two visits: the panel before and after it, and the change over the later scan.

    python Testing/standin/photograph_visits.py FLAIR_EARLIER FLAIR_LATER [FOLDER]

FOLDER defaults to Resources/Screenshots. Takes as long as a comparison with the lesion model.
"""

from __future__ import annotations

import sys
from pathlib import Path

import driving
import slicer
from photograph import Photographer, views


def main(earlier: Path, later: Path, folder: Path) -> None:
    """Takes all pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    module = driving.open_module("ASASegmentation")
    panel = module.widgetRepresentation().self().panel
    ui, camera, widget = panel.visits.ui, Photographer(module, folder), module.widgetRepresentation()
    panel.ui.taskComboBox.setCurrentIndex(panel.ui.taskComboBox.findData("wmh"))
    volumes = {name: slicer.util.loadVolume(str(path)) for name, path in (("first", earlier), ("second", later))}
    for name, volume in volumes.items():
        volume.SetName(f"FLAIR_{name}")
    ui.visitsSection.collapsed = False
    for row in range(2):
        flair = str(getattr(panel.ui, f"modalityLabel{row}").text).startswith("FLAIR")
        getattr(panel.ui, f"modalitySelector{row}").setCurrentNode(volumes["second"] if flair else None)
        getattr(ui, f"earlier{row}Selector").setCurrentNode(volumes["first"] if flair else None)
    driving.wait_for(lambda: ui.compareButton.enabled, 20)
    camera.take("panel_10_visits")
    ui.compareButton.click()
    busy = driving.wait_for(lambda: not panel.visits.logic.running, 7200)
    driving.report("two visits", busy)
    for _round in range(2):  # as high as it is in a scrolled panel
        slicer.app.processEvents()
        widget.resize(widget.width, max(widget.height, widget.heightForWidth(widget.width)))
    camera.take("panel_11_change")
    shown = panel.visits.shown
    if shown is None:
        raise SystemExit(f"no comparison: {ui.compareStatusLabel.text}\n{panel.ui.logText.plainText}")
    at = shown.comparison.lesions[0]["centre"] if shown.comparison.lesions else None
    views(slicer.mrmlScene.GetNodeByID(shown.later_id), at).save(folder / "views_change.png", optimize=True)
    module.close()


if __name__ == "__main__":
    main(
        Path(sys.argv[1]),
        Path(sys.argv[2]),
        Path(sys.argv[3]) if len(sys.argv) > 3 else driving.REPOSITORY / "Resources/Screenshots",
    )
