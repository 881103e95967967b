"""Show inspections in the scene: volumes on the scan's grid, colours, and views."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from ASASlicerLib.hierarchy import place_beside
from ASASlicerLib.proposal.propose import DERIVED_ATTRIBUTE
from ASATrainingLib.inspect.inspection import Inspection
from ASATrainingLib.layouts import SLICE_VIEWS, link, slice_view

_COLOURS = "ASA.colours"
_PARTS = ("image", "hidden", "reconstruction", "error", "importance", "attention")
# Dark violet, red, orange, pale yellow: monotonic brightness, readable in greyscale.
_HEAT = ((0.0, 0.12, 0.03, 0.30), (0.25, 0.46, 0.09, 0.43), (0.5, 0.80, 0.25, 0.30), (0.75, 0.97, 0.55, 0.08), (1.0, 0.99, 0.97, 0.66))  # fmt: skip  # noqa: E501
_HIDDEN = (0.33, 0.40, 0.58)
ERROR_SD = 2.0  # upper end of the error's colours, in standard deviations of the input; the same for all checkpoints
OVERLAYS = ("importance", "attention", "error")


class InspectionScene:
    """Maintains one volume node per part of an inspection, and the contents of the four views.

    The nodes are reused for the next inspection and recognised in saved scenes.
    """

    def __init__(self, scene: slicer.vtkMRMLScene) -> None:
        self._scene = scene

    def node(self, name: str) -> slicer.vtkMRMLVolumeNode | None:
        """Return the volume of a part: image, hidden, reconstruction, error, importance or attention."""
        found = slicer.util.getNodesByClass("vtkMRMLVolumeNode", self._scene)
        return next((node for node in found if node.GetAttribute(DERIVED_ATTRIBUTE) == name), None)

    def show(self, inspection: Inspection, volume: slicer.vtkMRMLVolumeNode) -> Iterator[None]:
        """Add an inspection to the scene, next to its scan and under its transforms.

        The GUI stays responsive between steps.
        """
        for name, array in inspection.volumes.items():
            self.set(name, array, inspection.ijk_to_ras, volume)
            yield
        image, importance = (_above_zero(inspection.volumes[name]) for name in ("image", "importance"))
        high = float(np.percentile(image, 99.5)) if image.size else 1.0
        for name in ("image", "reconstruction"):
            self._window(name, (0.0, high))
        low, high = (float(importance.min()), float(importance.max())) if importance.size else (0.0, 0.0)
        self._window("importance", (low, max(high, low + 1e-6)))
        self._window("error", (0.0, ERROR_SD))

    def set(
        self, name: str, array: np.ndarray, ijk_to_ras: np.ndarray, volume: slicer.vtkMRMLVolumeNode
    ) -> slicer.vtkMRMLVolumeNode:
        """Set the voxels (K, J, I) and the position of one part."""
        node = self.node(name) or self._make(name)
        matrix = vtk.vtkMatrix4x4()
        matrix.DeepCopy(ijk_to_ras.ravel())
        modified = node.StartModify()
        node.SetName(f"{volume.GetName()} {_title(name)}")
        node.SetIJKToRASMatrix(matrix)
        node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
        slicer.util.updateVolumeFromArray(node, array.astype(np.uint8) if name == "hidden" else array)
        node.EndModify(modified)
        place_beside(node, volume)
        return node

    def paint(self, name: str, values: np.ndarray, inspection: Inspection, volume: slicer.vtkMRMLVolumeNode) -> None:
        """Set the voxels of one part, `hidden` or `attention`, from values of all patches (N,)."""
        node = self.node(name)
        shape = inspection.patches.numbers.shape
        if node is None or slicer.util.arrayFromVolume(node).shape != shape:
            node = self.set(name, np.zeros(shape, np.float32), inspection.ijk_to_ras, volume)
        inspection.patches.fill(slicer.util.arrayFromVolume(node), values)
        slicer.util.arrayFromVolumeModified(node)
        if name == "attention":
            self._window(name, (0.0, max(float(values.max()), 1e-6)))

    def arrange(self, volume: slicer.vtkMRMLVolumeNode, overlay: str, overlay_opacity: float, blend: float) -> None:
        """Show the scan with an overlay ("" for none), the masked input, the reconstruction blended (0..1) over the
        input, and the error over the input.
        """
        ids = {name: node.GetID() for name in _PARTS if (node := self.node(name)) is not None}
        image = ids.get("image")
        shown = (
            (volume.GetID(), ids.get(overlay), overlay_opacity, None),
            (image, None, 0.0, ids.get("hidden")),
            (image, ids.get("reconstruction"), blend, None),
            (image, ids.get("error"), 0.85, None),
        )
        link(self._scene, linked=False)  # otherwise all would show the same volumes, with the same opacity
        for name, (background, foreground, opacity, label) in zip(SLICE_VIEWS, shown, strict=True):
            composite = slice_view(self._scene, name)[1]
            modified = composite.StartModify()
            composite.SetBackgroundVolumeID(background)
            composite.SetForegroundVolumeID(foreground)
            composite.SetForegroundOpacity(opacity)
            composite.SetLabelVolumeID(label)
            composite.SetLabelOpacity(1.0)
            composite.EndModify(modified)
        link(self._scene, linked=True)

    def remove(self) -> None:
        """Remove all nodes from the scene."""
        for name in _PARTS:
            if (node := self.node(name)) is not None:
                self._scene.RemoveNode(node)

    def _make(self, name: str) -> slicer.vtkMRMLVolumeNode:
        label = name == "hidden"
        node: slicer.vtkMRMLVolumeNode
        node = self._scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode" if label else "vtkMRMLScalarVolumeNode")
        node.SetAttribute(DERIVED_ATTRIBUTE, name)
        node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        if label:
            display.SetAndObserveColorNodeID(self._colours("hidden", {0: (0, 0, 0, 0), 1: (*_HIDDEN, 1)}).GetID())
            return node
        display.SetAutoWindowLevel(False)
        if name in OVERLAYS:
            display.SetAndObserveColorNodeID(self._colours("heat", _ramp()).GetID())
            display.SetAutoThreshold(False)
            display.SetApplyThreshold(True)  # zero is transparent
            display.SetThreshold(1e-6, 1e9)
        return node

    def _window(self, name: str, limits: tuple[float, float]) -> None:
        node = self.node(name)
        if node is not None:
            node.GetDisplayNode().SetWindowLevelMinMax(*limits)

    def _colours(
        self, name: str, colours: Mapping[int, tuple[float, float, float, float]]
    ) -> slicer.vtkMRMLColorTableNode:
        node: slicer.vtkMRMLColorTableNode
        for node in slicer.util.getNodesByClass("vtkMRMLColorTableNode", self._scene):
            if node.GetAttribute(_COLOURS) == name:
                return node
        node = self._scene.CreateNodeByClass("vtkMRMLColorTableNode")
        node.UnRegister(None)
        node.SetTypeToUser()
        node.SetNumberOfColors(len(colours))
        for number, colour in colours.items():
            node.SetColor(number, str(number), *colour)
        node.SetName(f"ASA {name}")
        node.SetAttribute(_COLOURS, name)
        node = self._scene.AddNode(node)
        return node


def _title(name: str) -> str:
    """Return the name suffix of a part."""
    return {
        "image": _("network input"),
        "hidden": _("hidden patches"),
        "reconstruction": _("reconstruction"),
        "error": _("reconstruction error"),
        "importance": _("importance (VHOG)"),
        "attention": _("attention"),
    }[name]


def _ramp() -> dict[int, tuple[float, float, float, float]]:
    places, *channels = zip(*_HEAT, strict=True)
    levels = np.linspace(0, 1, 256)
    red, green, blue = (np.interp(levels, places, channel) for channel in channels)
    return {i: (float(red[i]), float(green[i]), float(blue[i]), 1.0) for i in range(256)}


def _above_zero(array: np.ndarray) -> np.ndarray:
    """Return the positive values of every third voxel along each axis."""
    sample = array[::3, ::3, ::3]
    return sample[sample > 0]
