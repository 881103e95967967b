"""Scene helpers for tests, and waiting for the application."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import slicer
import vtk

_PATIENCE_S = 20.0


def wait_for(condition: Callable[[], object]) -> None:
    """Process events until a condition holds. Raises AssertionError on timeout."""
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        slicer.app.processEvents()
        time.sleep(0.005)
        if time.monotonic() > deadline:
            raise AssertionError("The condition was not met in time.")


def import_scene() -> None:
    """Import a scene file with a single node."""
    other = slicer.vtkMRMLScene()
    other.AddNewNodeByClass("vtkMRMLModelNode", "added")
    with tempfile.TemporaryDirectory() as folder:
        for scene in (other, slicer.mrmlScene):
            scene.SetURL(str(Path(folder) / "other.mrml"))
        other.Commit()
        slicer.mrmlScene.Import()


def parameter_node(name: str = "ASATest") -> slicer.vtkMRMLScriptedModuleNode:
    """Return the parameter node of a module, as ScriptedLoadableModuleLogic.getParameterNode does."""
    node = slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLScriptedModuleNode")
    if node is None:
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)
        node.SetSingletonTag(name)
        node.SetModuleName(name)
        node = slicer.mrmlScene.AddNode(node)
    return node


def bent_transform() -> vtk.vtkThinPlateSplineTransform:
    """Return a non-linear transform."""
    here, there = vtk.vtkPoints(), vtk.vtkPoints()
    for x in (0, 50):
        for y in (0, 50):
            for z in (0, 50):
                here.InsertNextPoint(x, y, z)
                there.InsertNextPoint(x + 0.01 * y * z, y, z)
    transform = vtk.vtkThinPlateSplineTransform()
    transform.SetBasisToR()
    transform.SetSourceLandmarks(here)
    transform.SetTargetLandmarks(there)
    return transform
