"""Slice views, a 3-D view and plots drawn off screen from the scene's nodes, as pictures.

Slices and 3-D are drawn by Slicer's own logic and displayable managers; plots, whose view is a Qt widget of Slicer's,
by VTK's chart from the same nodes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import qt
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

SLICE_MANAGERS = ("vtkMRMLSegmentationsDisplayableManager2D", "vtkMRMLMarkupsDisplayableManager")
VIEW_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLOrientationMarkerDisplayableManager",
)


class SliceViews:
    """The slice views of the current layout, as far as their controllers and their sizes change the scene.

    As in Slicer, a view gets its logic and its size only when Qt works after a change of the layout, and the opacity
    slider in its bar follows its composite node: a slider that moves is taken for the user's, who is linked with the
    other views.
    """

    SIZE = (400, 300)

    def __init__(self) -> None:
        self._application = slicer.app.applicationLogic()
        self._layout = slicer.vtkMRMLLayoutLogic()
        self._layout.SetMRMLScene(slicer.mrmlScene)
        self._logics: dict[str, Any] = {}
        self._sliders: dict[str, float] = {}
        self._observed: list[tuple[Any, int]] = []
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(0)
        self._timer.connect("timeout()", self._lay_out)
        self._observe(self._layout.GetLayoutNode(), lambda *_: self._timer.start())

    def close(self) -> None:
        """Removes the views."""
        self._timer.stop()
        for node, tag in self._observed:
            node.RemoveObserver(tag)
        for logic in self._logics.values():
            self._application.GetSliceLogics().RemoveItem(logic)
            logic.SetMRMLScene(None)
        self._layout.SetMRMLScene(None)

    @property
    def laid_out(self) -> set[str]:
        """The names of the views that have a logic and a size."""
        return set(self._logics)

    def _observe(self, node: Any, callback: Any) -> None:
        self._observed.append((node, node.AddObserver("ModifiedEvent", callback)))

    def _lay_out(self) -> None:
        nodes = self._layout.GetViewNodes()
        for node in (nodes.GetItemAsObject(number) for number in range(nodes.GetNumberOfItems())):
            if not node.IsA("vtkMRMLSliceNode"):
                continue
            name = node.GetLayoutName()
            if name not in self._logics:
                self._logics[name] = logic = slicer.vtkMRMLSliceLogic()
                logic.SetMRMLApplicationLogic(self._application)
                logic.SetMRMLScene(slicer.mrmlScene)
                logic.SetSliceNode(node)
                self._application.GetSliceLogics().AddItem(logic)
                self._observe(logic.GetSliceCompositeNode(), lambda *_, name=name: self._move_slider(name))
                self._move_slider(name)
            node.SetDimensions(*self.SIZE, 1)

    def _move_slider(self, name: str) -> None:
        logic = self._logics[name]
        opacity = logic.GetSliceCompositeNode().GetForegroundOpacity()
        if self._sliders.get(name) == opacity:
            return
        self._sliders[name] = opacity
        logic.StartSliceCompositeNodeInteraction(slicer.vtkMRMLSliceCompositeNode.ForegroundOpacityFlag)
        logic.GetSliceCompositeNode().SetForegroundOpacity(opacity)
        logic.EndSliceCompositeNodeInteraction()


def slice_picture(
    volume: Any, orientation: str, size: tuple[int, int], composite: Any = None, at: Any = None
) -> np.ndarray:
    """A slice of a volume with segmentations and points over it: (height, width, 3), 8 bit.

    `composite` is the slice composite node of a view that shows more than the volume. `at`: a point in RAS mm that the
    slice goes through; None takes the middle.
    """
    window, renderer, _interactor = off_screen_window(size)
    logic = slicer.vtkMRMLSliceLogic()
    logic.SetMRMLScene(slicer.mrmlScene)
    logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
    slicer.app.applicationLogic().GetSliceLogics().AddItem(logic)
    node = logic.AddSliceNode(f"Picture{orientation}")
    node.SetOrientation(orientation)
    node.SetDimensions(*size, 1)
    shown = logic.GetSliceCompositeNode()
    shown.SetBackgroundVolumeID(volume.GetID())
    if composite is not None:
        shown.SetBackgroundVolumeID(composite.GetBackgroundVolumeID())
        shown.SetForegroundVolumeID(composite.GetForegroundVolumeID())
        shown.SetForegroundOpacity(composite.GetForegroundOpacity())
        shown.SetLabelVolumeID(composite.GetLabelVolumeID())
        shown.SetLabelOpacity(composite.GetLabelOpacity())
    mapper = vtk.vtkImageMapper()
    mapper.SetColorWindow(255)
    mapper.SetColorLevel(127.5)
    mapper.SetInputConnection(logic.GetImageDataConnection())
    actor = vtk.vtkActor2D()
    actor.SetMapper(mapper)
    actor.GetProperty().SetDisplayLocationToBackground()
    renderer.AddActor2D(actor)
    factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
    _group = managers(SLICE_MANAGERS, factory, node, renderer)
    logic.FitSliceToBackground(*size)
    if at is not None:
        node.JumpSliceByOffsetting(*map(float, at))
    _name_edges(renderer, node)
    picture = _pixels(window)
    slicer.app.applicationLogic().GetSliceLogics().RemoveItem(logic)
    for used in (shown, node):  # the next picture is not fitted as this one was
        slicer.mrmlScene.RemoveNode(used)
    return picture


def view_picture(size: tuple[int, int], direction: tuple[float, float, float] = (-0.8, 0.75, 0.4)) -> np.ndarray:
    """The 3-D view of the scene from a direction (right, anterior, superior): (height, width, 3), 8 bit."""
    window, renderer, interactor = off_screen_window(size)
    interactor.SetInteractorStyle(vtk.vtkInteractorStyleTrackballCamera())
    node = slicer.vtkMRMLViewNode()
    node.SetSingletonTag("Picture")
    node.SetLayoutName("Picture")
    node = slicer.mrmlScene.AddNode(node)
    node.SetBackgroundColor(0.09, 0.10, 0.14)
    node.SetBackgroundColor2(0.09, 0.10, 0.14)
    node.SetBoxVisible(False)
    node.SetAxisLabelsVisible(False)
    node.SetUseDepthPeeling(True)
    node.SetShadowsVisibility(True)
    node.SetOrientationMarkerType(slicer.vtkMRMLAbstractViewNode.OrientationMarkerTypeCube)
    camera = slicer.vtkMRMLCameraNode()
    camera.SetLayoutName("Picture")
    slicer.mrmlScene.AddNode(camera)
    factory = slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance()
    _group = managers(VIEW_MANAGERS, factory, node, renderer)
    renderer.ResetCamera()
    active = renderer.GetActiveCamera()
    focus, distance = np.array(active.GetFocalPoint()), active.GetDistance()
    active.SetPosition(*(focus + distance * np.array(direction) / np.linalg.norm(direction)))
    active.SetViewUp(0, 0, 1)
    renderer.ResetCamera()
    active.Zoom(1.35)
    renderer.ResetCameraClippingRange()
    return _pixels(window)


def plot_picture(chart: Any, size: tuple[int, int], dark: bool = False) -> np.ndarray:
    """A plot chart node: (height, width, 3), 8 bit."""
    ink, paper = ((0.85, 0.85, 0.85), (0.13, 0.13, 0.14)) if dark else ((0.15, 0.15, 0.15), (1.0, 1.0, 1.0))
    view = vtk.vtkContextView()
    view.GetRenderWindow().SetOffScreenRendering(1)
    view.GetRenderWindow().SetMultiSamples(8)
    view.GetRenderWindow().SetSize(*size)
    view.GetRenderer().SetBackground(*paper)
    drawn = vtk.vtkChartXY()
    view.GetScene().AddItem(drawn)
    drawn.SetTitle(chart.GetTitle())
    drawn.GetTitleProperties().SetColor(*ink)
    drawn.GetTitleProperties().SetFontSize(16)
    for place, title in ((vtk.vtkAxis.BOTTOM, chart.GetXAxisTitle()), (vtk.vtkAxis.LEFT, chart.GetYAxisTitle())):
        axis = drawn.GetAxis(place)
        axis.SetTitle(title)
        bottom = place == vtk.vtkAxis.BOTTOM
        if not (chart.GetXAxisRangeAuto() if bottom else chart.GetYAxisRangeAuto()):
            axis.SetBehavior(vtk.vtkAxis.FIXED)
            axis.SetUnscaledRange(*(chart.GetXAxisRange() if bottom else chart.GetYAxisRange()))
        axis.GetPen().SetColorF(*ink)
        axis.GetGridPen().SetColorF(*(0.5 * (a + b) for a, b in zip(ink, paper, strict=True)), 0.35)
        for text in (axis.GetTitleProperties(), axis.GetLabelProperties()):
            text.SetColor(*ink)
            text.SetFontSize(12)
            text.SetBold(False)
    for number in range(chart.GetNumberOfPlotSeriesNodes()):
        series = chart.GetNthPlotSeriesNode(number)
        line = drawn.AddPlot(vtk.vtkChart.LINE)
        line.SetInputData(series.GetTableNode().GetTable(), series.GetXColumnName(), series.GetYColumnName())
        line.SetLabel(series.GetName())
        line.SetColorF(*series.GetColor())
        line.SetWidth(series.GetLineWidth())
        if series.GetMarkerStyle() != series.MarkerStyleNone:
            line.SetMarkerStyle(vtk.vtkPlotPoints.CIRCLE)
            line.SetMarkerSize(series.GetMarkerSize())
    drawn.SetShowLegend(chart.GetLegendVisibility())
    drawn.GetLegend().GetLabelProperties().SetColor(*ink)
    drawn.GetLegend().GetBrush().SetColorF(*paper, 0.7)
    return _pixels(view.GetRenderWindow())


def managers(names: tuple[str, ...], factory: Any, node: Any, renderer: Any) -> Any:
    """A group of displayable managers; whoever draws must keep it."""
    group = slicer.vtkMRMLDisplayableManagerGroup()
    group.SetRenderer(renderer)
    for name in names:
        if not factory.IsDisplayableManagerRegistered(name):
            factory.RegisterDisplayableManager(name)
        manager = slicer.vtkMRMLDisplayableManagerGroup.InstantiateDisplayableManager(name)
        manager.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        group.AddDisplayableManager(manager)
    group.SetMRMLDisplayableNode(node)
    return group


def _name_edges(renderer: Any, node: Any) -> None:
    """Writes to each edge of a slice view which side of the patient lies there."""
    matrix = node.GetSliceToRAS()
    for axis, places in ((0, ((0.02, 0.5), (0.98, 0.5))), (1, ((0.5, 0.02), (0.5, 0.98)))):
        direction = [matrix.GetElement(row, axis) for row in range(3)]
        row = int(np.argmax(np.abs(direction)))
        letters = "LPI"[row] + "RAS"[row]
        for place, letter in zip(places, letters if direction[row] > 0 else letters[::-1], strict=True):
            actor = vtk.vtkTextActor()
            actor.SetInput(letter)
            actor.GetPositionCoordinate().SetCoordinateSystemToNormalizedViewport()
            actor.SetPosition(*place)
            style = actor.GetTextProperty()
            style.SetFontSize(18)
            style.SetColor(1.0, 1.0, 1.0)
            low = place is places[0]
            style.SetJustification((0 if low else 2) if axis == 0 else 1)  # left, right; or centred
            style.SetVerticalJustification(1 if axis == 0 else (0 if low else 2))  # centred; or bottom, top
            renderer.AddActor2D(actor)


def off_screen_window(size: tuple[int, int]) -> tuple[Any, Any, Any]:
    window = vtk.vtkRenderWindow()
    window.SetOffScreenRendering(1)
    window.SetMultiSamples(8)
    window.SetSize(*size)
    renderer = vtk.vtkRenderer()
    window.AddRenderer(renderer)
    interactor = vtk.vtkRenderWindowInteractor()
    interactor.SetRenderWindow(window)
    return window, renderer, interactor


def _pixels(window: Any) -> np.ndarray:
    window.Render()
    reader = vtk.vtkWindowToImageFilter()
    reader.SetInput(window)
    reader.ReadFrontBufferOff()
    reader.Update()
    image = reader.GetOutput()
    width, height, _ = image.GetDimensions()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[::-1, :, :3]
