"""Clicks in the views through Slicer's markups: the same tool and keys in every kind of view.

Nothing is observed: the caller polls, which works in all versions and does not interfere with an active placement.
"""

from __future__ import annotations

import numpy as np
import slicer

_SELECTION, _INTERACTION = "vtkMRMLSelectionNodeSingleton", "vtkMRMLInteractionNodeSingleton"
_CLASS = "vtkMRMLMarkupsFiducialNode"
_ATTRIBUTE = "ASA.points"


class Points:
    """A point list of the scene with a purpose. `name` identifies the list, `colour` is in 0..1."""

    def __init__(self, scene: slicer.vtkMRMLScene, name: str, colour: tuple[float, float, float]) -> None:
        self._scene, self._name, self._colour = scene, name, colour

    @property
    def node(self) -> slicer.vtkMRMLMarkupsFiducialNode | None:
        """The point list, None before its first use and after the scene was closed."""
        found = slicer.util.getNodesByClass(_CLASS, self._scene)
        return next((node for node in found if node.GetAttribute(_ATTRIBUTE) == self._name), None)

    def make(self) -> slicer.vtkMRMLMarkupsFiducialNode:
        """Return the point list, creating it if needed."""
        node = self.node
        if node is None:
            node = self._scene.AddNewNodeByClass(_CLASS, self._name)
            node.SetAttribute(_ATTRIBUTE, self._name)
            node.SetControlPointLabelFormat("%N")
            node.CreateDefaultDisplayNodes()
            display = node.GetDisplayNode()
            display.SetSelectedColor(*self._colour)
            display.SetColor(*self._colour)
            display.SetTextScale(3.0)
            display.SetGlyphScale(2.5)
            display.SetSliceProjection(True)  # also where a slice passes beside the point
        return node

    def take(self) -> list[np.ndarray]:
        """Return and remove the clicks since the last call, in world mm."""
        node = self.node
        taken: list[np.ndarray] = []
        if node is None:
            return taken
        for number in reversed(range(node.GetNumberOfControlPoints())):
            if node.GetNthControlPointPositionStatus(number) == node.PositionDefined:
                taken.append(_position(node, number))
                node.RemoveNthControlPoint(number)
        return taken[::-1]

    def newest(self) -> np.ndarray | None:
        """Return the newest point in world mm and remove older ones."""
        node = self.node
        if node is None:
            return None
        numbers = [
            number
            for number in range(node.GetNumberOfControlPoints())
            if node.GetNthControlPointPositionStatus(number) == node.PositionDefined
        ]
        for number in reversed(numbers[:-1]):
            node.RemoveNthControlPoint(number)
        return _position(node, numbers[-1] - len(numbers) + 1) if numbers else None

    def put(self, ras: np.ndarray, label: str) -> None:
        """Replace all points by this one, locked."""
        node = self.make()
        modified = node.StartModify()
        node.RemoveAllControlPoints()
        node.AddControlPointWorld(vtk_vector(ras), label)
        node.SetLocked(True)
        node.EndModify(modified)

    def remove(self) -> None:
        """Remove the list from the scene."""
        if (node := self.node) is not None:
            self._scene.RemoveNode(node)

    def start_placing(self, *, again: bool) -> None:
        """Start placing points by click: one, or repeatedly (`again`) until `stop_placing`."""
        node = self.make()
        selection, interaction = (self._scene.GetNodeByID(name) for name in (_SELECTION, _INTERACTION))
        if selection is None or interaction is None:  # an application without views
            return
        selection.SetReferenceActivePlaceNodeClassName(_CLASS)
        selection.SetActivePlaceNodeID(node.GetID())
        interaction.SetPlaceModePersistence(again)
        interaction.SetCurrentInteractionMode(interaction.Place)

    def stop_placing(self) -> None:
        """Stop placing points."""
        interaction = self._scene.GetNodeByID(_INTERACTION)
        if interaction is not None:
            interaction.SetCurrentInteractionMode(interaction.ViewTransform)

    @property
    def placing(self) -> bool:
        """Whether clicks place points; the user may have ended it by right-click. True without views."""
        interaction = self._scene.GetNodeByID(_INTERACTION)
        return interaction is None or interaction.GetCurrentInteractionMode() == interaction.Place


def vtk_vector(ras: np.ndarray) -> list[float]:
    """Return a list of three floats for VTK."""
    return [float(value) for value in ras]


def _position(node: slicer.vtkMRMLMarkupsFiducialNode, number: int) -> np.ndarray:
    position = [0.0, 0.0, 0.0]
    node.GetNthControlPointPositionWorld(number, position)
    return np.array(position)
