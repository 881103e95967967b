"""Detect segments that the user has edited, and update a segmentation without losing these edits.

Each segment carries a fingerprint of its voxels as a tag, and the node lists the segments created by ASA. Both are
saved with the scene, so edits are detected no matter with which tool, session or machine they were made.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from ASASegmentationLib.segments.build import BINARY_LABELMAP, add_built_segments, label_image
from ASASegmentationLib.segments.surfaces import CLOSED_SURFACE
from ASASlicerLib.steps import Steps, slabs

_FINGERPRINT_TAG = "ASA.fingerprint"
_MADE_ATTRIBUTE = "ASA.segments"
_STATUS_TAG = "Segmentation.Status"  # how far the user is with a segment, in Slicer's Segment Editor
_CORNER_MM = 0.1


class State(enum.Enum):
    """Status of an existing segment relative to a new result."""

    ABSENT = "absent"
    UNCHANGED = "unchanged"
    EDITED = "edited by the user"
    REMOVED = "removed by the user"
    FOREIGN = "not created by ASA"


@dataclass(frozen=True)
class Voxels:
    """The voxels of one segment: `mask` (I, J, K) is cropped to them, `ijk_to_ras` is its 4x4 affine in mm."""

    mask: np.ndarray
    ijk_to_ras: np.ndarray

    @property
    def fingerprint(self) -> str:
        """Hash of the voxels and their position, independent of how the surrounding image is stored."""
        if self.mask.size == 0:
            return "empty"
        corner = np.round(self.ijk_to_ras[:3, 3] / _CORNER_MM).astype(np.int64) + 0  # + 0 makes -0 and 0 the same
        digest = hashlib.sha256(np.packbits(np.ascontiguousarray(self.mask.T)).tobytes())
        digest.update(repr((self.mask.shape, corner.tolist())).encode())
        return digest.hexdigest()[:32]


def voxels(segment: slicer.vtkSegment) -> Steps[Voxels]:
    """Return the voxels of a segment that has a binary label map; starts again if they change in the meantime."""
    while True:
        found = yield from _unless_changed(segment)
        if found is not None:
            return found


def _unless_changed(segment: slicer.vtkSegment) -> Steps[Voxels | None]:
    """Return the voxels of a segment; None if they have changed since. VTK memory is not kept between steps."""
    image = segment.GetRepresentation(BINARY_LABELMAP)
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    affine = np.array([[matrix.GetElement(i, j) for j in range(4)] for i in range(4)])
    scalars = image.GetPointData().GetScalars()
    if scalars is None or scalars.GetNumberOfTuples() == 0:
        return Voxels(np.zeros((0, 0, 0), bool), affine)
    version, shape = version_of(segment), image.GetDimensions()[::-1]
    mask: np.ndarray = np.empty(shape, bool)
    occupied = [np.zeros(size, bool) for size in shape]
    for slab in slabs(shape, scalars.GetElementComponentSize()):
        if version_of(segment) != version:
            return None
        np.equal(vtk_to_numpy(scalars).reshape(shape)[slab], segment.GetLabelValue(), out=mask[slab])
        plane = np.logical_or.reduce(mask[slab], axis=0)
        occupied[0][slab] = mask[slab].any(axis=(1, 2))
        occupied[1] |= plane.any(axis=1)
        occupied[2] |= plane.any(axis=0)
        yield True
    if not occupied[0].any():
        return Voxels(np.zeros((0, 0, 0), bool), affine)
    ends = [np.flatnonzero(axis)[[0, -1]] for axis in occupied]
    mask = mask[tuple(slice(int(first), int(last) + 1) for first, last in ends)]
    start = [image.GetExtent()[2 * axis] + int(ends[2 - axis][0]) for axis in range(3)]
    affine[:3, 3] += affine[:3, :3] @ start
    return Voxels(mask.T, affine)


def version_of(segment: slicer.vtkSegment | None) -> tuple[int, ...]:
    """Return numbers that change with the voxels of a segment; () if it has none."""
    image = segment.GetRepresentation(BINARY_LABELMAP) if segment is not None else None
    if segment is None or image is None:
        return ()
    scalars = image.GetPointData().GetScalars()
    times = (image.GetMTime(), scalars.GetMTime() if scalars is not None else 0)
    return (*times, int(segment.GetLabelValue()), *image.GetExtent())


def mark_as_made(segments: Mapping[str, slicer.vtkSegment]) -> Steps[None]:
    """Tag new segments with their fingerprints. Does not access a scene."""
    for segment in segments.values():
        found = yield from voxels(segment)
        segment.SetTag(_FINGERPRINT_TAG, found.fingerprint)
        yield True


@dataclass(frozen=True)
class SegmentStatus:
    """State and voxels of an existing segment; `voxels` is None if there is no such segment."""

    state: State
    voxels: Voxels | None = None


def inspect(node: slicer.vtkMRMLSegmentationNode, key: str) -> Steps[SegmentStatus]:
    """Return the status of the segment with the given id, in steps."""
    segment = node.GetSegmentation().GetSegment(key)
    if segment is None:
        made = (node.GetAttribute(_MADE_ATTRIBUTE) or "").split("\n")
        return SegmentStatus(State.REMOVED if key in made else State.ABSENT)
    found = yield from voxels(segment)
    if not segment.HasTag(_FINGERPRINT_TAG):
        return SegmentStatus(State.FOREIGN, found)
    same = segment_tag(segment, _FINGERPRINT_TAG) == found.fingerprint
    return SegmentStatus(State.UNCHANGED if same else State.EDITED, found)


def users_own(node: slicer.vtkMRMLSegmentationNode, keys: Iterable[str]) -> Steps[dict[str, Voxels | None]]:
    """Find the segments that are no longer as ASA made them, in steps.

    Args:
        node: Segmentation.
        keys: Ids of the segments of the result.

    Returns:
        Segment id -> voxels, None for segments that the user removed.
    """
    found = {}
    for key in keys:
        status = yield from inspect(node, key)
        if status.state in (State.EDITED, State.REMOVED, State.FOREIGN):
            found[key] = status.voxels
        yield True
    return found


def segment_tag(segment: slicer.vtkSegment, name: str) -> str:
    """Return a tag of a segment, or "" if it is not set."""
    value = vtk.reference("")
    segment.GetTag(name, value)
    return str(value)


@dataclass(frozen=True)
class Replaced:
    """A segment replaced by an update: metadata, voxels, and surface if it had one."""

    metadata: slicer.vtkSegment
    voxels: Voxels
    surface: vtk.vtkPolyData | None

    def rebuilt(self) -> Steps[slicer.vtkSegment]:
        """Return a new segment with the stored voxels, surface and metadata, in steps."""
        segment = _metadata(self.metadata)
        segment.SetLabelValue(1)
        image = yield from label_image(self.voxels.mask.view(np.uint8), self.voxels.ijk_to_ras)
        segment.AddRepresentation(BINARY_LABELMAP, image)
        if self.surface is not None:
            segment.AddRepresentation(CLOSED_SURFACE, self.surface)
        return segment


@dataclass
class Undo:
    """Undo of one update: removes added segments and restores replaced ones."""

    node: slicer.vtkMRMLSegmentationNode
    added: list[str] = field(default_factory=list)
    replaced: dict[str, Replaced] = field(default_factory=dict)
    made_before: str = ""

    def __call__(self) -> Steps[None]:
        """Undo the update, in steps."""
        order = _order(self.node)
        for key in self.added:
            self.node.GetSegmentation().RemoveSegment(key)
            yield True
        for key, old in self.replaced.items():
            _put(self.node, key, (yield from old.rebuilt()))
            yield True
        _restore_order(self.node, order)
        self.node.SetAttribute(_MADE_ATTRIBUTE, self.made_before)


def add(node: slicer.vtkMRMLSegmentationNode, segments: Mapping[str, slicer.vtkSegment]) -> Steps[None]:
    """Fill a new node with fingerprinted segments."""
    for key, segment in segments.items():
        add_built_segments(node, {key: segment})
        yield True
    node.SetAttribute(_MADE_ATTRIBUTE, "\n".join(segments))


def update(
    node: slicer.vtkMRMLSegmentationNode,
    segments: Mapping[str, slicer.vtkSegment],
    found: Mapping[str, SegmentStatus],
    replace_foreign: bool,
) -> Iterator[Undo]:
    """Update a node: replace unedited segments, add new ones, and leave all others unchanged.

    A replaced segment keeps its name, colour, terminology and display. The update handles one segment at a time, so
    that the GUI stays responsive; each yielded undo reverts everything done so far.

    Args:
        node: Segmentation to update.
        segments: New segments by id.
        found: Status of each id, from `inspect`.
        replace_foreign: Also replace segments with the same id that ASA did not create.
    """
    if not has_surfaces(node):  # Slicer requires the same representations for all segments
        for segment in segments.values():
            segment.RemoveRepresentation(CLOSED_SURFACE)
    replaceable = {State.UNCHANGED, State.FOREIGN} if replace_foreign else {State.UNCHANGED}
    undo = Undo(node, made_before=node.GetAttribute(_MADE_ATTRIBUTE) or "")
    order = _order(node)
    for key, segment in segments.items():
        if found[key].state not in {*replaceable, State.ABSENT}:
            _clear(segment)
            yield undo
    for key, segment in segments.items():
        state, old_voxels = found[key].state, found[key].voxels
        if state in replaceable and old_voxels is not None:
            old = node.GetSegmentation().GetSegment(key)
            undo.replaced[key] = Replaced(_metadata(old), old_voxels, old.GetRepresentation(CLOSED_SURFACE))
            _inherit(segment, old)
            _put(node, key, segment)
        elif state is State.ABSENT:
            undo.added.append(key)
            add_built_segments(node, {key: segment})
        yield undo
    _restore_order(node, order)
    made = [*filter(None, undo.made_before.split("\n")), *undo.added]
    node.SetAttribute(_MADE_ATTRIBUTE, "\n".join(made))


def has_surfaces(node: slicer.vtkMRMLSegmentationNode) -> bool:
    """Return whether a segmentation has 3-D surfaces."""
    return bool(node.GetSegmentation().ContainsRepresentation(CLOSED_SURFACE))


def _put(node: slicer.vtkMRMLSegmentationNode, key: str, segment: slicer.vtkSegment) -> None:
    """Replace a segment; how it is displayed belongs to its id and stays."""
    displays = [node.GetNthDisplayNode(number) for number in range(node.GetNumberOfDisplayNodes())]
    removed = [display for display in displays if display.GetRemoveUnusedDisplayProperties()]
    for display in removed:
        display.SetRemoveUnusedDisplayProperties(False)
    node.GetSegmentation().RemoveSegment(key)  # removes its voxels from an image shared with other segments
    node.GetSegmentation().AddSegment(segment, key)
    for display in removed:
        display.SetRemoveUnusedDisplayProperties(True)


def _inherit(segment: slicer.vtkSegment, old: slicer.vtkSegment) -> None:
    """Give a new segment the name, colour and tags of the one that it replaces, but for those about its voxels."""
    label, fingerprint = segment.GetLabelValue(), segment_tag(segment, _FINGERPRINT_TAG)
    segment.DeepCopyMetadata(old)
    segment.SetLabelValue(label)
    segment.SetTag(_FINGERPRINT_TAG, fingerprint)
    segment.RemoveTag(_STATUS_TAG)


def _clear(segment: slicer.vtkSegment) -> None:
    """Erase a segment that is not added from the image that it shares with others, where Slicer would paint it."""
    image = segment.GetRepresentation(BINARY_LABELMAP)
    scalars = image.GetPointData().GetScalars()
    if scalars is None:
        return
    array = vtk_to_numpy(scalars)
    array[array == segment.GetLabelValue()] = 0
    scalars.Modified()


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
