"""Which segments a user has changed since ASA made them, and bringing in new ones without losing such changes.

Each segment carries a fingerprint of its voxels as a tag, and the node the list of what was made, both of which are
saved with the scene. So changes are noticed no matter which tool, session or machine they were made with.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from ASASegmentationLib.segments.build import BINARY_LABELMAP, add_built_segments, label_image
from ASASegmentationLib.segments.surfaces import CLOSED_SURFACE
from ASASlicerLib.steps import Steps, finish

_FINGERPRINT_TAG = "ASA.fingerprint"
_MADE_ATTRIBUTE = "ASA.segments"
_CORNER_MM = 0.1


class State(enum.Enum):
    """What became of a segment that a new result has an id for."""

    ABSENT = "not there before"
    UNCHANGED = "as it was made"
    EDITED = "changed by the user"
    REMOVED = "removed by the user"
    FOREIGN = "made by something else"


@dataclass(frozen=True)
class Voxels:
    """The voxels of one segment: `mask` (I, J, K) is cropped to them, `ijk_to_ras` is its 4x4 affine in mm."""

    mask: np.ndarray
    ijk_to_ras: np.ndarray

    @property
    def fingerprint(self) -> str:
        """Same voxels at the same place, same fingerprint; how the image around them is stored does not matter."""
        if self.mask.size == 0:
            return "empty"
        corner = np.round(self.ijk_to_ras[:3, 3] / _CORNER_MM).astype(np.int64) + 0  # + 0 makes -0 and 0 the same
        digest = hashlib.sha256(np.packbits(np.ascontiguousarray(self.mask.T)).tobytes())
        digest.update(repr((self.mask.shape, corner.tolist())).encode())
        return digest.hexdigest()[:32]


def voxels(segment: slicer.vtkSegment) -> Voxels:
    """The voxels of a segment that has a binary label map."""
    image = segment.GetRepresentation(BINARY_LABELMAP)
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    affine = np.array([[matrix.GetElement(i, j) for j in range(4)] for i in range(4)])
    scalars = image.GetPointData().GetScalars()
    if scalars is None or scalars.GetNumberOfTuples() == 0:
        return Voxels(np.zeros((0, 0, 0), bool), affine)
    mask = vtk_to_numpy(scalars).reshape(image.GetDimensions()[::-1]) == segment.GetLabelValue()
    box = []
    for axis in range(3):  # each cut leaves less to look through for the next
        occupied = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        if occupied.size == 0:
            return Voxels(np.zeros((0, 0, 0), bool), affine)
        box.append(int(occupied[0]))
        cut = [slice(None)] * 3
        cut[axis] = slice(int(occupied[0]), int(occupied[-1]) + 1)
        mask = mask[tuple(cut)]
    start = [image.GetExtent()[2 * axis] + box[2 - axis] for axis in range(3)]
    affine[:3, 3] += affine[:3, :3] @ start
    return Voxels(mask.T, affine)


def mark_as_made(segments: Mapping[str, slicer.vtkSegment]) -> Steps[None]:
    """Gives new segments their fingerprints. Touches no scene."""
    for segment in segments.values():
        found = voxels(segment)
        yield True
        segment.SetTag(_FINGERPRINT_TAG, found.fingerprint)
        yield True


@dataclass(frozen=True)
class Found:
    """What a segmentation has under the id of a segment of a new result; `voxels` is None when there is nothing."""

    state: State
    voxels: Voxels | None = None


def inspect(node: slicer.vtkMRMLSegmentationNode, key: str) -> Found:
    """What became of the segment with an id that a new result has too."""
    segment = node.GetSegmentation().GetSegment(key)
    if segment is None:
        made = (node.GetAttribute(_MADE_ATTRIBUTE) or "").split("\n")
        return Found(State.REMOVED if key in made else State.ABSENT)
    found = voxels(segment)
    if not segment.HasTag(_FINGERPRINT_TAG):
        return Found(State.FOREIGN, found)
    same = segment_tag(segment, _FINGERPRINT_TAG) == found.fingerprint
    return Found(State.UNCHANGED if same else State.EDITED, found)


def segment_tag(segment: slicer.vtkSegment, name: str) -> str:
    """A tag of a segment, "" when it has none of that name."""
    value = vtk.reference("")
    segment.GetTag(name, value)
    return str(value)


@dataclass(frozen=True)
class Replaced:
    """A segment that an update took away: its name, colour and tags, its voxels, and its surface where it had one."""

    metadata: slicer.vtkSegment
    voxels: Voxels
    surface: vtk.vtkPolyData | None

    def rebuilt(self) -> slicer.vtkSegment:
        segment = _metadata(self.metadata)
        segment.SetLabelValue(1)
        image = finish(label_image(self.voxels.mask.astype(np.uint8), self.voxels.ijk_to_ras))
        segment.AddRepresentation(BINARY_LABELMAP, image)
        if self.surface is not None:
            segment.AddRepresentation(CLOSED_SURFACE, self.surface)
        return segment


@dataclass
class Undo:
    """How to take one update back: what it added goes, what it replaced returns."""

    node: slicer.vtkMRMLSegmentationNode
    added: list[str] = field(default_factory=list)
    replaced: dict[str, Replaced] = field(default_factory=dict)
    made_before: str = ""

    def __call__(self) -> None:
        order = _order(self.node)
        for key in self.added:
            self.node.GetSegmentation().RemoveSegment(key)
        for key, old in self.replaced.items():
            _put(self.node, key, old.rebuilt())
        _restore_order(self.node, order)
        self.node.SetAttribute(_MADE_ATTRIBUTE, self.made_before)


def add(node: slicer.vtkMRMLSegmentationNode, segments: Mapping[str, slicer.vtkSegment]) -> Steps[None]:
    """Fills a new node with segments that are marked as made."""
    for key, segment in segments.items():
        add_built_segments(node, {key: segment})
        yield True
    node.SetAttribute(_MADE_ATTRIBUTE, "\n".join(segments))


def update(
    node: slicer.vtkMRMLSegmentationNode,
    segments: Mapping[str, slicer.vtkSegment],
    found: Mapping[str, Found],
    replace_foreign: bool,
) -> Iterator[Undo]:
    """Brings new segments into a node: replaces what nobody has changed, adds what is new, leaves all else alone.

    `found` is what `inspect` said of each id. A replaced segment keeps its name and colour. `replace_foreign` also
    replaces segments of the same id that ASA did not make. Works on one segment at a time, so that the GUI can go on
    between them; what was done so far is taken back by the undo that comes with each step.
    """
    if not has_surfaces(node):  # Slicer wants the same representations of all segments
        for segment in segments.values():
            segment.RemoveRepresentation(CLOSED_SURFACE)
    replaceable = {State.UNCHANGED, State.FOREIGN} if replace_foreign else {State.UNCHANGED}
    undo = Undo(node, made_before=node.GetAttribute(_MADE_ATTRIBUTE) or "")
    order = _order(node)
    for key, segment in segments.items():
        state, old_voxels = found[key].state, found[key].voxels
        if state in replaceable and old_voxels is not None:
            old = node.GetSegmentation().GetSegment(key)
            undo.replaced[key] = Replaced(_metadata(old), old_voxels, old.GetRepresentation(CLOSED_SURFACE))
            segment.SetName(old.GetName())
            segment.SetColor(old.GetColor())
            _put(node, key, segment)
        elif state is State.ABSENT:
            undo.added.append(key)
            add_built_segments(node, {key: segment})
        yield undo
    _restore_order(node, order)
    made = [*filter(None, undo.made_before.split("\n")), *undo.added]
    node.SetAttribute(_MADE_ATTRIBUTE, "\n".join(made))


def has_surfaces(node: slicer.vtkMRMLSegmentationNode) -> bool:
    """Whether a segmentation has 3-D surfaces."""
    return bool(node.GetSegmentation().ContainsRepresentation(CLOSED_SURFACE))


def _put(node: slicer.vtkMRMLSegmentationNode, key: str, segment: slicer.vtkSegment) -> None:
    node.GetSegmentation().RemoveSegment(key)  # takes its voxels out of an image it shares with others
    node.GetSegmentation().AddSegment(segment, key)


def _metadata(segment: slicer.vtkSegment) -> slicer.vtkSegment:
    copy = slicer.vtkSegment()
    copy.DeepCopyMetadata(segment)
    return copy


def _order(node: slicer.vtkMRMLSegmentationNode) -> list[str]:
    return list(node.GetSegmentation().GetSegmentIDs())


def _restore_order(node: slicer.vtkMRMLSegmentationNode, order: list[str]) -> None:
    segmentation = node.GetSegmentation()
    kept = [key for key in order if segmentation.GetSegment(key) is not None]
    for index, key in enumerate(kept):
        segmentation.SetSegmentIndex(key, index)
