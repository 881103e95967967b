"""View layouts: the plots of a run, and four linked slice views for inspecting a model.

A view is identified by its name (`singletontag`). Its nodes are created here, so that they exist with or without a main
window; the application uses existing ones.
"""

from __future__ import annotations

from typing import Any

import slicer

from ASASlicerLib.steps import Steps

PLOTS, FOUR = 8601, 8602  # layout ids; those of Slicer are below 500
# Part of the ids of the nodes, which a saved scene lists with spaces between them.
PLOT_VIEWS = ("ASA_Loss", "ASA_Scores", "ASA_Rate", "ASA_Speed")
SLICE_VIEWS = ("ASA_Original", "ASA_Masked", "ASA_Reconstruction", "ASA_Error")
_COLOURS = ("#7fa1c9", "#6b7fa8", "#5fa878", "#c9825f")
_BEFORE = "ASA.layout"  # attribute of the layout node: the user's layout
_MOST_POLLS = 40


def register(scene: slicer.vtkMRMLScene) -> None:
    """Register the layouts; otherwise a scene saved in one of them shows no view in another session."""
    node = scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    if node is None:
        return
    for layout, items in ((PLOTS, _plot_items()), (FOUR, _slice_items())):
        _describe(node, layout, items)
        if node.GetViewArrangement() == layout:  # already open
            node.SetViewArrangement(layout)


def show_plots(scene: slicer.vtkMRMLScene, charts: list[slicer.vtkMRMLPlotChartNode]) -> Steps[bool]:
    """Show as many charts as there are plot views, one after the other: drawing all together blocks the window."""
    wanted = list(zip(PLOT_VIEWS, charts, strict=False))
    for name, chart in wanted:
        view = _view(scene, "vtkMRMLPlotViewNode", name)
        view.SetLayoutLabel(_title(name))
        if view.GetPlotChartNodeID() != chart.GetID():
            view.SetPlotChartNodeID(None)
    _arrange(scene, PLOTS, _plot_items())
    for name, chart in wanted:
        yield False  # the views are drawn in between
        if chart.GetScene() is not None:  # removed meanwhile
            _view(scene, "vtkMRMLPlotViewNode", name).SetPlotChartNodeID(chart.GetID())
    return True


def show_four(scene: slicer.vtkMRMLScene) -> None:
    """Show the four slice views, linked and in the same orientation."""
    for name in SLICE_VIEWS:
        slice_view(scene, name)
    link(scene, linked=True)
    _arrange(scene, FOUR, _slice_items())


def give_back(scene: slicer.vtkMRMLScene, layout: int) -> bool:
    """Return to the user's layout if `layout` is shown; return whether it was."""
    node = scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    before = node.GetAttribute(_BEFORE) if node is not None else None
    if not before or node.GetViewArrangement() != layout:
        return False
    node.SetViewArrangement(int(before))
    return True


def link(scene: slicer.vtkMRMLScene, *, linked: bool) -> None:
    """Link the four slice views, or unlink them.

    While some are linked, Slicer hands each change of one to the others: unlink all before their contents change.
    """
    for name in SLICE_VIEWS:
        composite = slice_view(scene, name)[1]
        composite.SetLinkedControl(linked)
        composite.SetHotLinkedControl(linked)


class FourViews:
    """The four slice views while their tab is in front; they are fitted to their volumes once they have their sizes."""

    def __init__(self, scene: slicer.vtkMRMLScene) -> None:
        self._scene = scene
        self._given_back = False
        self._polls_left = 0
        self._sizes: list[tuple[int, int, int]] = []

    def show(self) -> None:
        """Show the views, and fit them as soon as the application has laid them out."""
        show_four(self._scene)
        self._polls_left, self._sizes = _MOST_POLLS, []

    def leave(self) -> None:
        """Give the user's layout back."""
        self._given_back = give_back(self._scene, FOUR)

    def enter(self) -> None:
        """Show the views again if they were shown when the tab was left."""
        if self._given_back:
            self._given_back = False
            show_four(self._scene)

    def poll(self) -> None:
        """Fit the views if their sizes are those of the last call. Call it regularly."""
        if self._polls_left == 0:
            return
        self._polls_left -= 1
        views = [slice_view(self._scene, name)[0] for name in SLICE_VIEWS]
        logics = [slicer.app.applicationLogic().GetSliceLogic(view) for view in views]
        sizes = [view.GetDimensions() for view in views]
        if sizes == self._sizes and None not in logics:
            self._polls_left = 0
            for logic in logics:
                logic.FitSliceToAll()
        self._sizes = sizes


def slice_view(
    scene: slicer.vtkMRMLScene, name: str
) -> tuple[slicer.vtkMRMLSliceNode, slicer.vtkMRMLSliceCompositeNode]:
    """Return the slice node of a view and its composite node."""
    view = scene.GetSingletonNode(name, "vtkMRMLSliceNode")
    if view is None:
        view = _view(scene, "vtkMRMLSliceNode", name)
        view.SetOrientation("Axial")
        # the application takes these from the layout only for nodes that it creates itself
        view.SetLayoutLabel(_title(name))
        view.SetLayoutColor(*_rgb(_COLOURS[SLICE_VIEWS.index(name)]))
    return view, _composite(scene, name)


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
        _item("vtkMRMLPlotViewNode", name, f'<property name="viewlabel" action="default">{_title(name)}</property>')
        for name in PLOT_VIEWS
    ]


def _slice_items() -> list[str]:
    return [
        _item(
            "vtkMRMLSliceNode",
            name,
            '<property name="orientation" action="default">Axial</property>'
            f'<property name="viewlabel" action="default">{_title(name)}</property>'
            f'<property name="viewcolor" action="default">{colour}</property>',
        )
        for name, colour in zip(SLICE_VIEWS, _COLOURS, strict=True)
    ]


def _title(name: str) -> str:
    return name.removeprefix("ASA_")


def _rgb(colour: str) -> tuple[float, float, float]:
    """#ff0000 -> (1.0, 0.0, 0.0)."""
    red, green, blue = (int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5))
    return red, green, blue


def _item(class_name: str, name: str, properties: str) -> str:
    return f'<item><view class="{class_name}" singletontag="{name}">{properties}</view></item>'


def _arrange(scene: slicer.vtkMRMLScene, layout: int, items: list[str]) -> None:
    """Set the layout; without a layout node there is no window."""
    node = scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    if node is not None:
        _describe(node, layout, items)
        if node.GetViewArrangement() not in (PLOTS, FOUR):
            node.SetAttribute(_BEFORE, str(node.GetViewArrangement()))
        node.SetViewArrangement(layout)


def _describe(node: slicer.vtkMRMLLayoutNode, layout: int, items: list[str]) -> None:
    """Two by two."""
    pairs = (items[start : start + 2] for start in range(0, len(items), 2))
    rows = "".join(f'<item><layout type="horizontal">{"".join(pair)}</layout></item>' for pair in pairs)
    if not node.IsLayoutDescription(layout):
        node.AddLayoutDescription(layout, f'<layout type="vertical" split="true">{rows}</layout>')
