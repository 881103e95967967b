"""Changes of the engine -> segments of the scene and a preview of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util.numpy_support import numpy_to_vtk

from ASASegmentationLib.refine.subject import Subject
from ASASegmentationLib.segments.build import BINARY_LABELMAP
from ASASegmentationLib.segments.edits import has_surfaces
from ASASegmentationLib.segments.surfaces import CLOSED_SURFACE
from ASASlicerLib.steps import Steps
from ASASlicerLib.volumes import ijk_to_ras

UNCHANGED = 255  # as the engine writes it
_PREVIEW = "ASA.preview"
_GAINED, _LOST = (0.25, 0.9, 0.35), (0.95, 0.25, 0.25)


@dataclass(frozen=True)
class Patch:
    """What one mark changes.

    Attributes:
        segment: id of the segment that was marked.
        labels: (I, J, K) new labels, `UNCHANGED` where there is none.
        low: (i, j, k) of its first voxel in the reference.
    """

    segment: str
    labels: np.ndarray
    low: tuple[int, int, int]

    @classmethod
    def read(cls, segment: str, values: Mapping[str, Any]) -> Patch:
        """Read a patch of the engine's answer.

        Raises:
            OSError, ValueError, LookupError: it cannot be read.
        """
        i, j, k = (int(one) for one in values["low"])
        return cls(segment, np.load(Path(values["file"]), allow_pickle=False), (i, j, k))

    @property
    def changes(self) -> int:
        """How many voxels change."""
        return int(np.count_nonzero(self.labels != UNCHANGED))

    def member(self, values: Iterable[int]) -> np.ndarray:
        """Return where the new labels belong to a segment with these label values."""
        found: np.ndarray = np.isin(self.labels, list(values))
        return found


def apply(patch: Patch, subject: Subject) -> Steps[None]:
    """Change the segments; what is removed first, so that segments that share an image never overlap."""
    changed = patch.labels != UNCHANGED
    if not changed.any():
        return
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    segmentation = subject.node.GetSegmentation()
    values = {key: one for key, one in subject.values.items() if segmentation.GetSegment(key) is not None}
    for adds, mode in ((False, logic.MODE_MERGE_MIN), (True, logic.MODE_MERGE_MASK)):
        for key, own in values.items():
            moved = changed & (patch.member(own) == adds)
            if not moved.any():
                continue
            image = _image(moved if adds else ~moved, patch.low, subject)
            logic.SetBinaryLabelmapToSegment(image, subject.node, key, mode, image.GetExtent())
            yield True


def drop_surfaces(subject: Subject) -> bool:
    """Remove the surfaces, which Slicer would make again for each mark, in seconds; return whether there were any."""
    if not has_surfaces(subject.node):
        return False
    subject.node.GetSegmentation().RemoveRepresentation(CLOSED_SURFACE)
    return True


def _image(mask: np.ndarray, low: tuple[int, int, int], subject: Subject) -> slicer.vtkOrientedImageData:
    """Return a mask (I, J, K) as an image on the grid of the reference."""
    image = slicer.vtkOrientedImageData()
    extent = [end for start, size in zip(low, mask.shape, strict=True) for end in (start, start + size - 1)]
    image.SetExtent(*extent)
    scalars = numpy_to_vtk(mask.ravel(order="F").astype(np.uint8), deep=True, array_type=vtk.VTK_UNSIGNED_CHAR)
    image.GetPointData().SetScalars(scalars)
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(ijk_to_ras(subject.volume).ravel())
    image.SetImageToWorldMatrix(matrix)
    return image


class Preview:
    """Preview of the marks in a separate hidden segmentation: green is added, red is removed."""

    def __init__(self, scene: slicer.vtkMRMLScene) -> None:
        self._scene = scene
        self._node_id = ""

    @property
    def node(self) -> slicer.vtkMRMLSegmentationNode | None:
        """The node of the preview, if something is shown."""
        node: slicer.vtkMRMLSegmentationNode | None = self._scene.GetNodeByID(self._node_id) if self._node_id else None
        return node

    def show(self, patches: Iterable[Patch], subject: Subject) -> None:
        """Show the changes of patches, later ones over earlier ones, or nothing if there are none."""
        self.clear()
        patches = [patch for patch in patches if patch.labels.size]
        if not patches:
            return
        low = np.min([patch.low for patch in patches], axis=0)
        high = np.max([np.add(patch.low, patch.labels.shape) for patch in patches], axis=0)
        shown = np.zeros(high - low, np.uint8)
        for patch in patches:
            corner = np.subtract(patch.low, low)
            part = shown[tuple(slice(a, a + n) for a, n in zip(corner, patch.labels.shape, strict=True))]
            member = patch.member(subject.values[patch.segment])
            part[patch.labels != UNCHANGED] = np.where(member, 1, 2)[patch.labels != UNCHANGED]
        node = self._scene.CreateNodeByClass("vtkMRMLSegmentationNode")
        node.UnRegister(None)
        node.SetName(_("ASA Refine preview"))
        node.SetHideFromEditors(True)
        node.SetSaveWithScene(False)
        node.SetAttribute(_PREVIEW, "1")
        self._scene.AddNode(node)
        node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        display.SetSaveWithScene(False)
        display.SetOpacity2DFill(0.45)
        display.SetVisibility3D(False)
        node.SetAndObserveTransformNodeID(subject.node.GetTransformNodeID())
        self._node_id = node.GetID()
        i, j, k = (int(one) for one in low)
        for value, name, colour in ((1, _("Added"), _GAINED), (2, _("Removed"), _LOST)):
            segment = slicer.vtkSegment()
            segment.SetName(name)
            segment.SetColor(colour)
            segment.AddRepresentation(BINARY_LABELMAP, _image(shown == value, (i, j, k), subject))
            node.GetSegmentation().AddSegment(segment, name)

    def clear(self) -> None:
        """Show nothing."""
        if (node := self.node) is not None:
            self._scene.RemoveNode(node)
        self._node_id = ""
