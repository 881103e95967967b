"""Open a result in Slicer's Segment Editor, where it is corrected."""

from __future__ import annotations

import slicer


def open_in_editor(node: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLVolumeNode | None) -> None:
    """Switch to the module Segment Editor with a segmentation and its scan, if that is in the scene."""
    slicer.util.selectModule("SegmentEditor")
    editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
    editor.setSegmentationNode(node)
    if volume is not None:
        editor.setSourceVolumeNode(volume)
