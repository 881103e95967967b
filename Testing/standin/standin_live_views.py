"""Three slice views and a 3-D view that follow the scene, drawn off screen when Qt works, as Slicer's own are.

They cost the GUI thread what Slicer's displayable managers cost, and tell how often the views were drawn. How long
drawing takes here says little of a computer with a graphics card, so it is counted apart.
"""

from __future__ import annotations

import time
from typing import Any

import qt
import slicer
import vtk
from standin_views import SLICE_MANAGERS, VIEW_MANAGERS, managers, off_screen_window

_PLANES = ("Axial", "Sagittal", "Coronal")
_SIZE = (300, 300)


class LiveViews:
    """The views of the conventional layout, showing `volume`."""

    def __init__(self, volume: Any) -> None:
        self.drawn = 0  # how often any view was drawn
        self.drawing_s = 0.0  # processor time of drawing so far
        self._parts: list[Any] = []  # what must live as long as the views
        self._nodes: list[Any] = []
        self._logics: list[Any] = []
        self._dirty: set[int] = set()
        self._windows: list[Any] = []
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(0)
        self._timer.connect("timeout()", self._draw)
        for plane in _PLANES:
            self._add_slice_view(plane, volume)
        self._add_view()

    def close(self) -> None:
        """Removes the views."""
        self._timer.stop()
        for logic in self._logics:
            slicer.app.applicationLogic().GetSliceLogics().RemoveItem(logic)
        self._parts.clear()
        for node in self._nodes:
            slicer.mrmlScene.RemoveNode(node)

    def _add_slice_view(self, plane: str, volume: Any) -> None:
        window, renderer, _interactor = parts = off_screen_window(_SIZE)
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLScene(slicer.mrmlScene)
        logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        slicer.app.applicationLogic().GetSliceLogics().AddItem(logic)
        node = logic.AddSliceNode(f"Live{plane}")
        node.SetOrientation(plane)
        node.SetDimensions(*_SIZE, 1)
        logic.GetSliceCompositeNode().SetBackgroundVolumeID(volume.GetID())
        logic.FitSliceToBackground(*_SIZE)
        self._logics.append(logic)
        self._nodes += [node, logic.GetSliceCompositeNode()]
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        self._follow(window, managers(SLICE_MANAGERS, factory, node, renderer))
        self._parts.append(parts)

    def _add_view(self) -> None:
        window, renderer, interactor = parts = off_screen_window(_SIZE)
        interactor.SetInteractorStyle(vtk.vtkInteractorStyleTrackballCamera())
        node = slicer.vtkMRMLViewNode()
        node.SetSingletonTag("Live")
        node.SetLayoutName("Live")
        node = slicer.mrmlScene.AddNode(node)
        camera = slicer.vtkMRMLCameraNode()
        camera.SetLayoutName("Live")
        self._nodes += [node, slicer.mrmlScene.AddNode(camera)]
        factory = slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance()
        self._follow(window, managers(VIEW_MANAGERS, factory, node, renderer))
        self._parts.append(parts)

    def _follow(self, window: Any, group: Any) -> None:
        number = len(self._windows)
        self._windows.append(window)
        self._parts.append(group)
        group.AddObserver(vtk.vtkCommand.UpdateEvent, lambda *_: self._request(number))

    def _request(self, number: int) -> None:
        self._dirty.add(number)
        self._timer.start()

    def _draw(self) -> None:
        if slicer.app.isRenderPaused():
            self._timer.start()
            return
        dirty, self._dirty = self._dirty, set()
        started = time.thread_time()
        for number in dirty:
            self._windows[number].Render()
        self.drawn += len(dirty)
        self.drawing_s += time.thread_time() - started
