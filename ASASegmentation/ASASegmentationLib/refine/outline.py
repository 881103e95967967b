"""The line of a stroke, or of the brush, over a slice view."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import slicer
import vtk

from ASASegmentationLib.refine.strokes import Point

ADDS, REMOVES = (0.3, 1.0, 0.4), (1.0, 0.35, 0.3)


class Outline:
    """A polyline through places in RAS mm; `actor` belongs into the renderer of the view."""

    def __init__(self) -> None:
        self._data = vtk.vtkPolyData()
        mapper = vtk.vtkPolyDataMapper2D()
        mapper.SetInputData(self._data)
        self.actor = vtk.vtkActor2D()
        self.actor.SetMapper(mapper)
        self.actor.GetProperty().SetLineWidth(2)

    def show(self, places: Sequence[Point], colour: Sequence[float], node: slicer.vtkMRMLSliceNode) -> None:
        """Draw a line, or nothing through fewer than two places."""
        inverse = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(node.GetXYToRAS(), inverse)
        points, lines = vtk.vtkPoints(), vtk.vtkCellArray()
        for place in places:
            x, y, *_rest = inverse.MultiplyPoint((*place, 1.0))
            points.InsertNextPoint(x, y, 0.0)
        if len(places) > 1:
            lines.InsertNextCell(len(places))
            for number in range(len(places)):
                lines.InsertCellPoint(number)
        self._data.SetPoints(points)
        self._data.SetLines(lines)
        self._data.Modified()
        self.actor.GetProperty().SetColor(*colour)


def place_of(interactor: Any, node: slicer.vtkMRMLSliceNode) -> Point:
    """Return where the mouse is in a slice view, in RAS mm."""
    x, y = interactor.GetEventPosition()
    right, anterior, superior, _one = node.GetXYToRAS().MultiplyPoint((x, y, 0.0, 1.0))
    return right, anterior, superior


def direction_of(node: slicer.vtkMRMLSliceNode, column: int) -> Point:
    """Return a unit vector of a slice view: 0 to its right, 2 out of it."""
    matrix = node.GetSliceToRAS()
    right, anterior, superior = (matrix.GetElement(row, column) for row in range(3))
    return right, anterior, superior
