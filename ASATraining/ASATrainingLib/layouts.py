"""View layouts: the plots of a run, and four linked slice views for inspecting a model.

A view is identified by its name (`singletontag`). Its nodes are created here, so that they exist with or without a main
window; the application uses existing ones.
"""

from __future__ import annotations

from typing import Any

import slicer

PLOTS, FOUR = 8601, 8602  # layout ids; those of Slicer are below 500
# Part of the ids of the nodes, which a saved scene lists with spaces between them.
PLOT_VIEWS = ("ASA_Loss", "ASA_Scores", "ASA_Rate", "ASA_Speed")
SLICE_VIEWS = ("ASA_Original", "ASA_Masked", "ASA_Reconstruction", "ASA_Error")
_COLOURS = ("#7fa1c9", "#6b7fa8", "#5fa878", "#c9825f")


def register(scene: slicer.vtkMRMLScene) -> None:
    """Register the layouts; otherwise a scene saved in one of them shows no view in another session."""
    node = scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    if node is None:
        return
    for layout, items in ((PLOTS, _plot_items()), (FOUR, _slice_items())):
        _describe(node, layout, items)
        if node.GetViewArrangement() == layout:  # already open
            node.SetViewArrangement(layout)


def show_plots(scene: slicer.vtkMRMLScene, charts: list[slicer.vtkMRMLPlotChartNode]) -> None:
    """Show as many charts as there are plot views."""
    for name, chart in zip(PLOT_VIEWS, charts, strict=False):
        view = _view(scene, "vtkMRMLPlotViewNode", name)
        view.SetPlotChartNodeID(chart.GetID())
    _arrange(scene, PLOTS, _plot_items())


def show_four(scene: slicer.vtkMRMLScene) -> None:
    """Show the four slice views, linked and in the same orientation."""
    for name in SLICE_VIEWS:
        slice_view(scene, name)
    _arrange(scene, FOUR, _slice_items())


def slice_view(
    scene: slicer.vtkMRMLScene, name: str
) -> tuple[slicer.vtkMRMLSliceNode, slicer.vtkMRMLSliceCompositeNode]:
    """Return the slice node of a view and its composite node, linked with the others."""
    view = scene.GetSingletonNode(name, "vtkMRMLSliceNode")
    if view is None:
        view = _view(scene, "vtkMRMLSliceNode", name)
        view.SetOrientation("Axial")
    composite = _composite(scene, name)
    composite.SetLinkedControl(True)
    composite.SetHotLinkedControl(True)
    return view, composite


def _composite(scene: slicer.vtkMRMLScene, name: str) -> slicer.vtkMRMLSliceCompositeNode:
    node: slicer.vtkMRMLSliceCompositeNode
    for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", scene):
        if node.GetLayoutName() == name:
            return node
    node = scene.CreateNodeByClass("vtkMRMLSliceCompositeNode")
    node.UnRegister(None)
    node.SetSingletonTag(name)
    node.SetLayoutName(name)
    node = scene.AddNode(node)
    return node


def _view(scene: slicer.vtkMRMLScene, class_name: str, name: str) -> Any:
    node = scene.GetSingletonNode(name, class_name)
    if node is None:
        node = scene.CreateNodeByClass(class_name)
        node.UnRegister(None)
        node.SetSingletonTag(name)
        node.SetLayoutName(name)
        node.SetName(name)
        node = scene.AddNode(node)
    return node


def _plot_items() -> list[str]:
    return [
        _item("vtkMRMLPlotViewNode", name, f'<property name="viewlabel" action="default">{name[4:]}</property>')
        for name in PLOT_VIEWS
    ]


def _slice_items() -> list[str]:
    return [
        _item(
            "vtkMRMLSliceNode",
            name,
            '<property name="orientation" action="default">Axial</property>'
            f'<property name="viewlabel" action="default">{name[4:]}</property>'
            f'<property name="viewcolor" action="default">{colour}</property>',
        )
        for name, colour in zip(SLICE_VIEWS, _COLOURS, strict=True)
    ]


def _item(class_name: str, name: str, properties: str) -> str:
    return f'<item><view class="{class_name}" singletontag="{name}">{properties}</view></item>'


def _arrange(scene: slicer.vtkMRMLScene, layout: int, items: list[str]) -> None:
    """Set the layout; without a layout node there is no window."""
    node = scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    if node is not None:
        _describe(node, layout, items)
        node.SetViewArrangement(layout)


def _describe(node: slicer.vtkMRMLLayoutNode, layout: int, items: list[str]) -> None:
    """Two by two."""
    pairs = (items[start : start + 2] for start in range(0, len(items), 2))
    rows = "".join(f'<item><layout type="horizontal">{"".join(pair)}</layout></item>' for pair in pairs)
    if not node.IsLayoutDescription(layout):
        node.AddLayoutDescription(layout, f'<layout type="vertical" split="true">{rows}</layout>')
