"""Add results to the scene: the segmentation next to its scan, its volume table and probability maps."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from asa.tasks import Task
from ASASegmentationLib.results.result import ExtraVolume, Result
from ASASegmentationLib.segments import edits
from ASASegmentationLib.segments.surface_job import reveal
from ASASlicerLib.hierarchy import place_beside
from ASASlicerLib.steps import Steps

TASK_ATTRIBUTE = "ASA.task"
_DOUBTS_ATTRIBUTE, _WARNINGS_ATTRIBUTE = "ASA.doubts", "ASA.warnings"
_ROWS_ATTRIBUTE = "ASA.rows"
_TABLE_REFERENCE = "ASA.volumes"


def new_segmentation(
    scene: slicer.vtkMRMLScene, result: Result, volume: slicer.vtkMRMLVolumeNode | None, name: str
) -> Steps[slicer.vtkMRMLSegmentationNode]:
    """Create a segmentation node on the grid, under the transform and in the study of its scan.

    The node is added to the scene once it is complete. `volume` is None if the scan has since been removed.
    """
    node: slicer.vtkMRMLSegmentationNode = scene.CreateNodeByClass("vtkMRMLSegmentationNode")
    node.UnRegister(None)
    yield from edits.add(node, result.segments)
    node.SetName(scene.GenerateUniqueName(name))
    node.SetAttribute(TASK_ATTRIBUTE, result.task.name)
    scene.AddNode(node)
    node.CreateDefaultDisplayNodes()
    yield True
    if volume is not None:
        attach(node, volume)
    show(node, result.task)
    if edits.has_surfaces(node):
        yield from reveal(node)
    return node


def attach(node: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLVolumeNode) -> None:
    """Place a segmentation under the transform and next to its scan, and reference the scan."""
    node.SetNodeReferenceID(slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole(), volume.GetID())
    node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    place_beside(node, volume)


def show(node: slicer.vtkMRMLSegmentationNode, task: Task, nested: bool = True) -> None:
    """Show outlines with a light fill; for nested tasks either the regions or the separate labels."""
    display = node.GetDisplayNode()
    modified = display.StartModify()  # every change of it updates all views
    display.SetVisibility(True)
    display.SetOpacity2DFill(0.15)
    display.SetOpacity2DOutline(1.0)
    display.SetVisibility3D(edits.has_surfaces(node))
    regions = {region.name for region in task.regions}
    labels = {label.name for label in task.labels} | {r.name for r in task.regions if len(r.values) == 1}
    around = {x.name for x in task.labels if not x.in_brain} if any(x.in_brain for x in task.labels) else set()
    wanted = (regions if nested else labels) if task.nested else labels
    for key in node.GetSegmentation().GetSegmentIDs():
        if key in regions | labels:
            display.SetSegmentVisibility(key, key in wanted)
            # Structures around the brain would hide it.
            display.SetSegmentVisibility3D(key, key not in around)
            # Transparent outer regions keep the inner ones visible in 3-D.
            outer = task.nested and nested and key in regions and key != task.regions[-1].name
            display.SetSegmentOpacity3D(key, 0.35 if outer else 1.0)
    display.EndModify(modified)


def shows_nested(node: slicer.vtkMRMLSegmentationNode, task: Task) -> bool:
    """Return whether a segmentation hides the separate labels of a task with nested regions."""
    display, segmentation = node.GetDisplayNode(), node.GetSegmentation()
    separate = {label.name for label in task.labels} - {region.name for region in task.regions}
    there = [key for key in separate if segmentation.GetSegment(key) is not None]
    return display is None or not any(display.GetSegmentVisibility(key) for key in there)


def present(volume: slicer.vtkMRMLVolumeNode, focus: Sequence[float] | None) -> None:
    """Show a scan in the slice views, unless it is shown already, and the head in the 3-D views.

    `focus` is a point in RAS mm that the slices are moved to. A layout without any slice view is exchanged.
    """
    if slicer.app.layoutManager() is not None:
        layout = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
        slices = slicer.util.getNodesByClass("vtkMRMLSliceNode")
        if layout is not None and not any(view.IsViewVisibleInLayout() for view in slices):
            layout.SetViewArrangement(layout.SlicerLayoutFourUpView)
        views = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
        if {view.GetBackgroundVolumeID() for view in views} != {volume.GetID()}:
            slicer.util.setSliceViewerLayers(background=volume, fit=True)
        slicer.util.resetThreeDViews()
    if focus is not None:
        slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *focus)


def lesion_centre(node: slicer.vtkMRMLSegmentationNode, task: Task) -> Steps[tuple[float, float, float] | None]:
    """Return a point, in RAS mm, in the slices that show most of a lesion; None for tasks that label the brain."""
    if any(label.in_brain for label in task.labels):
        return None
    key = task.regions[0].name if task.nested else task.labels[0].name
    segment = node.GetSegmentation().GetSegment(key)
    if segment is None:
        return None
    found = yield from edits.voxels(segment)
    if found.mask.size == 0:
        return None
    axes = ((1, 2), (0, 2), (0, 1))
    index = [int(np.argmax(found.mask.sum(axis=others))) for others in axes]
    world = [0.0, 0.0, 0.0]
    node.TransformPointToWorld([float(x) for x in (found.ijk_to_ras @ [*index, 1.0])[:3]], world)
    return world[0], world[1], world[2]


def scan_of(node: slicer.vtkMRMLSegmentationNode) -> slicer.vtkMRMLScalarVolumeNode | None:
    """Return the scan that a segmentation was made of; None if it is not in the scene."""
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    scan: slicer.vtkMRMLScalarVolumeNode | None = node.GetNodeReference(role)
    return scan


def remember(node: slicer.vtkMRMLSegmentationNode) -> Callable[[], None]:
    """Return a function that restores the current volume table, warnings and task of a segmentation."""
    names = (TASK_ATTRIBUTE, _DOUBTS_ATTRIBUTE, _WARNINGS_ATTRIBUTE, _ROWS_ATTRIBUTE)
    attributes = {name: node.GetAttribute(name) for name in names}
    table = volume_table(node)
    values = vtk.vtkTable()
    if table is not None:
        values.DeepCopy(table.GetTable())

    def restore() -> None:
        for name, value in attributes.items():
            node.SetAttribute(name, value)
        now = volume_table(node)
        if table is None and now is not None and now.GetScene() is not None:
            now.GetScene().RemoveNode(now)
        elif now is not None:
            now.SetAndObserveTable(values)

    return restore


def hide_others(node: slicer.vtkMRMLSegmentationNode) -> list[slicer.vtkMRMLSegmentationNode]:
    """Hide the other visible segmentations that ASA created on the same scan, and return them."""
    scan = scan_of(node)
    if scan is None:
        return []
    same = [one for one in segmentations(node.GetScene()) if one is not node and scan_of(one) is scan]
    shown = [one for one in same if one.GetDisplayNode() is not None and one.GetDisplayNode().GetVisibility()]
    for other in shown:
        other.GetDisplayNode().SetVisibility(False)
    return shown


def segmentations(scene: slicer.vtkMRMLScene) -> list[slicer.vtkMRMLSegmentationNode]:
    """Return the segmentations with a result of ASA, oldest first."""
    found = slicer.util.getNodesByClass("vtkMRMLSegmentationNode", scene)
    return [node for node in found if task_name(node) and volume_table(node) is not None]


def task_name(node: slicer.vtkMRMLSegmentationNode) -> str:
    """Return the task of a segmentation, or "" if ASA did not create it."""
    return node.GetAttribute(TASK_ATTRIBUTE) or ""


def set_warnings(node: slicer.vtkMRMLSegmentationNode, doubts: Iterable[str], warnings: Iterable[str]) -> None:
    """Store the doubts and warnings of a result with its segmentation."""
    node.SetAttribute(_DOUBTS_ATTRIBUTE, "\n".join(doubts))
    node.SetAttribute(_WARNINGS_ATTRIBUTE, "\n".join(warnings))


def warnings_of(node: slicer.vtkMRMLSegmentationNode) -> tuple[list[str], list[str]]:
    """Return the doubts and warnings stored by `set_warnings`."""
    texts = [node.GetAttribute(name) or "" for name in (_DOUBTS_ATTRIBUTE, _WARNINGS_ATTRIBUTE)]
    doubts, warnings = ([line for line in text.split("\n") if line] for text in texts)
    return doubts, warnings


def _columns() -> dict[str, str]:
    """Return measurement key -> heading; short, because the panel is narrow."""
    return {
        "title": _("Structure"),
        "volume_ml": _("mL"),
        "percent_of_brain": _("% brain"),
        "left_ml": _("L mL"),
        "right_ml": _("R mL"),
        "asymmetry_percent": _("L−R %"),
    }


def set_rows(node: slicer.vtkMRMLSegmentationNode, rows: Iterable[Mapping[str, Any]]) -> None:
    """Store the rows of volumes.json, as the engine measured them, with their segmentation."""
    node.SetAttribute(_ROWS_ATTRIBUTE, json.dumps(list(rows)))


def rows_of(node: slicer.vtkMRMLSegmentationNode) -> list[Mapping[str, Any]]:
    """Return the rows stored by `set_rows`; none in a scene of an older version."""
    try:
        rows = json.loads(node.GetAttribute(_ROWS_ATTRIBUTE) or "[]")
    except ValueError:
        return []
    needed = {"name", "kind", "values", *_columns()}
    return [row for row in rows if isinstance(row, dict) and needed <= set(row)] if isinstance(rows, list) else []


def set_volume_table(node: slicer.vtkMRMLSegmentationNode, rows: Iterable[Mapping[str, Any]]) -> None:
    """Store the volume table in a table node that belongs to the segmentation."""
    table_node = volume_table(node)
    if table_node is None:
        table_node = node.GetScene().AddNewNodeByClass("vtkMRMLTableNode", f"{node.GetName()} volumes")
        node.SetNodeReferenceID(_TABLE_REFERENCE, table_node.GetID())
    rows = list(rows)
    table = vtk.vtkTable()
    for key, title in _columns().items():
        column: Any = vtk.vtkStringArray() if key == "title" else vtk.vtkDoubleArray()
        column.SetName(title)
        for row in rows:
            value = row[key]
            column.InsertNextValue(value if key == "title" else float("nan") if value is None else float(value))
        table.AddColumn(column)
    table_node.SetAndObserveTable(table)


def volume_table(node: slicer.vtkMRMLSegmentationNode) -> slicer.vtkMRMLTableNode | None:
    """Return the table node of a segmentation."""
    table: slicer.vtkMRMLTableNode | None = node.GetNodeReference(_TABLE_REFERENCE)
    return table


def table_cells(table_node: slicer.vtkMRMLTableNode) -> tuple[list[str], list[list[str]]]:
    """Return headings and rows of a table as shown and exported: one decimal, empty for missing values."""
    table = table_node.GetTable()
    headings = [table.GetColumnName(i) for i in range(table.GetNumberOfColumns())]
    rows = [
        [_cell(table.GetColumn(column).GetValue(row)) for column in range(len(headings))]
        for row in range(table.GetNumberOfRows())
    ]
    return headings, rows


def colours(node: slicer.vtkMRMLSegmentationNode) -> dict[str, tuple[float, float, float]]:
    """Return segment name -> colour (red, green, blue in 0..1)."""
    segmentation = node.GetSegmentation()
    segments = [segmentation.GetSegment(key) for key in segmentation.GetSegmentIDs()]
    return {segment.GetName(): segment.GetColor() for segment in segments}


def _cell(value: str | float) -> str:
    if isinstance(value, str):
        return value
    return "" if np.isnan(value) else f"{round(value, 1) + 0.0:.1f}"  # no -0.0


def add_extra_volume(
    scene: slicer.vtkMRMLScene, extra: ExtraVolume, volume: slicer.vtkMRMLVolumeNode | None, name: str
) -> slicer.vtkMRMLScalarVolumeNode:
    """Add a scalar volume with a posterior or uncertainty map next to its scan."""
    node: slicer.vtkMRMLScalarVolumeNode
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", scene.GenerateUniqueName(name))
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(extra.ijk_to_ras.ravel())
    node.SetIJKToRASMatrix(matrix)
    node.CreateDefaultDisplayNodes()  # before there are voxels, otherwise the automatic window is slow
    node.GetDisplayNode().SetAutoWindowLevel(False)
    node.SetAndObserveImageData(extra.image)
    node.GetDisplayNode().SetWindowLevelMinMax(0.0, 1.0)
    if volume is not None:
        node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
        place_beside(node, volume)
    return node
