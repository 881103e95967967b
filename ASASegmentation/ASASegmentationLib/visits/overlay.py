"""Add what changed between two visits to the scene: both images, the change as segments, and its table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util.numpy_support import vtk_to_numpy

from ASASegmentationLib.results import scene
from ASASegmentationLib.segments.build import add_built_segments
from ASASegmentationLib.visits.job import Comparison
from ASASlicerLib.proposal.propose import DERIVED_ATTRIBUTE
from ASASlicerLib.steps import Steps

_EVERY = 37  # of the voxels one, to find the window: a prime, so that no plane is taken again and again


@dataclass(frozen=True)
class Shown:
    """The nodes of a comparison; by their ids, because the user may remove them.

    `comparison` holds the tables that the panel shows.
    """

    earlier_id: str
    later_id: str
    segmentation_id: str
    comparison: Comparison


def add(
    mrml: slicer.vtkMRMLScene, comparison: Comparison, volume: slicer.vtkMRMLVolumeNode | None, name: str
) -> Steps[Shown]:
    """Add a comparison next to the later scan, and hide the other segmentations of this scan.

    Args:
        mrml: the scene.
        comparison: what was found.
        volume: the later scan; None if it has since been removed.
        name: of the later scan.
    """
    titles = (_("{scan} earlier visit"), _("{scan} later visit"))
    nodes = []
    for title, image in zip(titles, comparison.images, strict=True):
        nodes.append(scene.add_extra_volume(mrml, image, volume, title.format(scan=name)))
        nodes[-1].SetAttribute(DERIVED_ATTRIBUTE, "comparison")  # no scan to segment
        yield True
    low, high = _window(nodes[1])
    for node in nodes:
        node.GetDisplayNode().SetWindowLevelMinMax(low, high)
    node = mrml.CreateNodeByClass("vtkMRMLSegmentationNode")
    node.UnRegister(None)
    add_built_segments(node, comparison.segments)
    node.SetName(mrml.GenerateUniqueName(_("{scan} change").format(scan=name)))
    mrml.AddNode(node)
    node.CreateDefaultDisplayNodes()
    yield True
    scene.attach(node, nodes[1])
    display = node.GetDisplayNode()
    modified = display.StartModify()
    display.SetOpacity2DFill(0.3)
    display.SetOpacity2DOutline(1.0)
    display.SetVisibility3D(False)
    display.EndModify(modified)
    for other in scene.segmentations(mrml):
        if volume is not None and scene.scan_of(other) is volume and other.GetDisplayNode() is not None:
            other.GetDisplayNode().SetVisibility(False)
    _add_table(mrml, comparison.changes, f"{node.GetName()} table")
    return Shown(nodes[0].GetID(), nodes[1].GetID(), node.GetID(), comparison)


def fade(mrml: slicer.vtkMRMLScene, shown: Shown, part: float) -> None:
    """Show both images in the slice views: 0 the later visit, 1 the earlier one."""
    earlier, later = mrml.GetNodeByID(shown.earlier_id), mrml.GetNodeByID(shown.later_id)
    if earlier is None or later is None:
        return
    for view in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", mrml):
        view.SetBackgroundVolumeID(later.GetID())
        view.SetForegroundVolumeID(earlier.GetID())
        view.SetForegroundOpacity(part)


def go_to(mrml: slicer.vtkMRMLScene, shown: Shown, centre: Sequence[float]) -> None:
    """Move the slice views to a point, in RAS mm of the later scan before its transforms."""
    node, world = mrml.GetNodeByID(shown.segmentation_id), [0.0, 0.0, 0.0]
    if node is not None:
        node.TransformPointToWorld([float(value) for value in centre], world)
        slicer.vtkMRMLSliceNode.JumpAllSlices(mrml, *world)


def verdicts() -> dict[str, str]:
    """Return the engine's word for a change -> in words."""
    return {
        "increase": _("increase"),
        "decrease": _("decrease"),
        "within noise": _("within noise"),
        "noise unknown": _("unknown"),
    }


def states() -> dict[str, str]:
    """Return the engine's name of each lesion change -> the term shown to the user."""
    return {
        "new": _("New"),
        "enlarging": _("Enlarging"),
        "stable": _("Stable"),
        "shrinking": _("Shrinking"),
        "gone": _("Gone"),
    }


def _window(node: slicer.vtkMRMLScalarVolumeNode) -> tuple[float, float]:
    values = vtk_to_numpy(node.GetImageData().GetPointData().GetScalars())[::_EVERY]
    inside = values[values > values.min()] if values.size else values
    if not inside.size:
        return 0.0, 1.0
    low, high = np.percentile(inside, (2, 99.5))
    return float(low), float(high)


def _add_table(mrml: slicer.vtkMRMLScene, rows: Sequence[Mapping[str, Any]], name: str) -> None:
    """Add the changes of volumes as a table node, which is saved with the scene."""
    table = vtk.vtkTable()
    columns = {
        "title": _("Structure"),
        "first_ml": _("Earlier mL"),
        "second_ml": _("Later mL"),
        "change_percent": _("Change %"),
        "noise_percent": _("Noise %"),
        "verdict": _("Verdict"),
    }
    for key, heading in columns.items():
        column: Any = vtk.vtkStringArray() if key in ("title", "verdict") else vtk.vtkDoubleArray()
        column.SetName(heading)
        for row in rows:
            value = verdicts().get(row[key], row[key]) if key == "verdict" else row[key]
            column.InsertNextValue(float("nan") if value is None else value)
        table.AddColumn(column)
    mrml.AddNewNodeByClass("vtkMRMLTableNode", name).SetAndObserveTable(table)
