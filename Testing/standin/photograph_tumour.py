"""Photographs the tumour task: the panel with a result that must not be used unseen, and the views with its segments.

    python Testing/standin/photograph_tumour.py CASE [FOLDER]

CASE is a folder of a BraTS challenge, which is to be credited; FOLDER defaults to Resources/Screenshots. Takes
as long as a segmentation.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import driving
import numpy as np
import slicer
from photograph import Photographer, views

_MODALITIES = ("t1", "t1ce", "t2", "flair")


def middle(node: Any, segment: str, volume: Any) -> list[float]:
    """A point in RAS mm in the slices in which most of a segment lies."""
    from ASASlicerLib.volumes import ijk_to_ras

    mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, segment, volume) != 0
    others = ((1, 2), (0, 2), (0, 1))
    index = [int(np.argmax(mask.sum(axis=axes))) for axes in others]
    return [float(value) for value in (ijk_to_ras(volume) @ [*index[::-1], 1.0])[:3]]


def main(case: Path, folder: Path) -> None:
    """Takes all pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    module = driving.open_module("ASASegmentation")
    panel = module.widgetRepresentation().self().panel
    camera = Photographer(module, folder)
    panel.ui.taskComboBox.setCurrentIndex(panel.ui.taskComboBox.findData("tumour"))
    for modality in _MODALITIES:
        (path,) = case.glob(f"*_{modality}.nii*")
        slicer.util.loadVolume(str(path)).SetName(f"case_{modality}")
    driving.wait_for(lambda: panel.ui.segmentButton.enabled, 20)
    panel.ui.segmentButton.click()
    driving.wait_for(lambda: not panel.logic.running, 1800)
    camera.take("panel_8_tumour")
    node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    volume = slicer.mrmlScene.GetFirstNodeByName("case_t1ce")
    at = middle(node, "TC", volume)
    views(volume, at).save(folder / "views_tumour.png", optimize=True)
    panel.ui.viewComboBox.setCurrentIndex(1)
    views(volume, at).save(folder / "views_tumour_separate.png", optimize=True)
    module.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else driving.REPOSITORY / "Resources/Screenshots")
