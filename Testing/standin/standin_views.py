"""A slice view and a 3-D view drawn off screen by Slicer's own displayable managers, as pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

_SLICE_MANAGERS = ("vtkMRMLSegmentationsDisplayableManager2D",)
_VIEW_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
)


def slice_picture(volume: Any, orientation: str, size: tuple[int, int]) -> np.ndarray:
    """The middle slice of a volume with the segmentations over it: (height, width, 3), 8 bit."""
    window, renderer, _interactor = _window(size)
    logic = slicer.vtkMRMLSliceLogic()
    logic.SetMRMLScene(slicer.mrmlScene)
    logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
    slicer.app.applicationLogic().GetSliceLogics().AddItem(logic)
    node = logic.AddSliceNode(f"Picture{orientation}")
    node.SetOrientation(orientation)
    node.SetDimensions(*size, 1)
    logic.GetSliceCompositeNode().SetBackgroundVolumeID(volume.GetID())
    mapper = vtk.vtkImageMapper()
    mapper.SetColorWindow(255)
    mapper.SetColorLevel(127.5)
    mapper.SetInputConnection(logic.GetImageDataConnection())
    actor = vtk.vtkActor2D()
    actor.SetMapper(mapper)
    actor.GetProperty().SetDisplayLocationToBackground()
    renderer.AddActor2D(actor)
    factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
    _group = _managers(_SLICE_MANAGERS, factory, node, renderer)
    logic.FitSliceToBackground(*size)
    picture = _pixels(window)
    slicer.app.applicationLogic().GetSliceLogics().RemoveItem(logic)
    return picture


def view_picture(size: tuple[int, int], azimuth: float = 140, elevation: float = 15) -> np.ndarray:
    """The 3-D view of the scene, seen from the front, turned by angles in degrees: (height, width, 3), 8 bit."""
    window, renderer, interactor = _window(size)
    interactor.SetInteractorStyle(vtk.vtkInteractorStyleTrackballCamera())
    node = slicer.vtkMRMLViewNode()
    node.SetSingletonTag("Picture")
    node.SetLayoutName("Picture")
    node = slicer.mrmlScene.AddNode(node)
    node.SetBackgroundColor(0.09, 0.10, 0.14)
    node.SetBackgroundColor2(0.09, 0.10, 0.14)
    node.SetBoxVisible(False)
    node.SetAxisLabelsVisible(False)
    camera = slicer.vtkMRMLCameraNode()
    camera.SetLayoutName("Picture")
    slicer.mrmlScene.AddNode(camera)
    factory = slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance()
    _group = _managers(_VIEW_MANAGERS, factory, node, renderer)
    renderer.ResetCamera()
    active = renderer.GetActiveCamera()
    active.Azimuth(azimuth)
    active.Elevation(elevation)
    active.Zoom(1.5)
    renderer.ResetCameraClippingRange()
    return _pixels(window)


def _managers(names: tuple[str, ...], factory: Any, node: Any, renderer: Any) -> Any:
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


def _window(size: tuple[int, int]) -> tuple[Any, Any, Any]:
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
