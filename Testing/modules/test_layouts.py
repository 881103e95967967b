"""Layouts and the placing of points, as the application's own layout logic and interaction node take them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import slicer

from ASASlicerLib.steps import finish
from ASATrainingLib import layouts
from ASATrainingLib.inspect.points import Points
from ASATrainingLib.watch.plots import Plots


@pytest.fixture
def scene() -> Iterator[Any]:
    slicer.mrmlScene.Clear(0)
    yield slicer.mrmlScene
    slicer.mrmlScene.Clear(0)


@pytest.fixture
def logic(scene: Any) -> Iterator[Any]:
    """What arranges the views of the application; its views are the nodes that it would make widgets for."""
    found = slicer.vtkMRMLLayoutLogic()
    found.SetMRMLScene(scene)
    yield found
    found.SetMRMLScene(None)


def views(logic: Any) -> list[str]:
    collection = logic.GetViewNodes()
    return [collection.GetItemAsObject(i).GetLayoutName() for i in range(collection.GetNumberOfItems())]


def test_four_slice_views(scene: Any, logic: Any) -> None:
    layouts.show_four(scene)
    node = scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    assert node.GetViewArrangement() == layouts.FOUR
    assert views(logic) == list(layouts.SLICE_VIEWS)
    nodes = [layouts.slice_view(scene, name)[0] for name in layouts.SLICE_VIEWS]
    assert {view.GetOrientation() for view in nodes} == {"Axial"}
    assert [view.GetLayoutLabel() for view in nodes] == ["Original", "Masked", "Reconstruction", "Error"]
    assert len({view.GetLayoutColor() for view in nodes}) == 4
    assert not any(" " in view.GetID() for view in nodes)  # else what refers to it is lost with the scene
    count = scene.GetNumberOfNodes()
    layouts.show_four(scene)
    assert scene.GetNumberOfNodes() == count


def test_plot_views(scene: Any, logic: Any) -> None:
    charts = [scene.AddNewNodeByClass("vtkMRMLPlotChartNode", f"chart {n}") for n in range(5)]
    finish(layouts.show_plots(scene, charts))
    assert scene.GetFirstNodeByClass("vtkMRMLLayoutNode").GetViewArrangement() == layouts.PLOTS
    assert views(logic) == list(layouts.PLOT_VIEWS)
    shown = [scene.GetSingletonNode(name, "vtkMRMLPlotViewNode").GetPlotChartNode() for name in layouts.PLOT_VIEWS]
    assert shown == charts[:4]
    assert Plots(scene).nodes() == {}  # other charts are left alone


@pytest.mark.parametrize("layout", [layouts.PLOTS, layouts.FOUR])
@pytest.mark.parametrize("opened", ["before", "after"])
def test_a_scene_that_was_saved_in_an_arrangement_has_its_views_in_another_session(layout: int, opened: str) -> None:
    scene, logic = slicer.vtkMRMLScene(), slicer.vtkMRMLLayoutLogic()
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    logic.SetMRMLScene(scene)
    if opened == "after":
        layouts.register(scene)
    logic.GetLayoutNode().SetViewArrangement(layout)
    if opened == "before":
        assert views(logic) == []
        layouts.register(scene)
    assert views(logic) == list(layouts.PLOT_VIEWS if layout == layouts.PLOTS else layouts.SLICE_VIEWS)
    logic.SetMRMLScene(None)


def test_placing_points(scene: Any) -> None:
    interaction = scene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
    points = Points(scene, "patches", (1, 0, 0))
    points.start_placing(again=True)
    assert interaction.GetCurrentInteractionMode() == interaction.Place
    assert interaction.GetPlaceModePersistence()
    selection = scene.GetNodeByID("vtkMRMLSelectionNodeSingleton")
    assert selection.GetActivePlaceNodeID() == points.node.GetID()
    assert points.placing
    points.node.AddControlPointWorld([1.0, 2.0, 3.0])
    points.node.AddControlPointWorld([4.0, 5.0, 6.0])
    np.testing.assert_allclose(points.take(), [[1, 2, 3], [4, 5, 6]])
    assert points.take() == []
    points.stop_placing()
    assert not points.placing
    points.node.AddControlPointWorld([1.0, 2.0, 3.0])
    points.node.AddControlPointWorld([4.0, 5.0, 6.0])
    np.testing.assert_allclose(points.newest(), [4, 5, 6])
    assert points.node.GetNumberOfControlPoints() == 1
    points.remove()
    assert points.node is None and points.newest() is None
