"""What is corrected: a segmentation of the scene, its task, its images, and which of its segments are locked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import slicer
from slicer.i18n import tr as _

from asa.tasks import TASKS, TITLES, Task
from ASASegmentationLib.results import scene
from ASASegmentationLib.results.record import images_of
from ASASegmentationLib.segments.build import BINARY_LABELMAP
from ASASlicerLib import volumes


class RefusedError(Exception):
    """Something cannot be corrected; the message is a sentence for the user."""


@dataclass(frozen=True)
class Subject:
    """A segmentation that can be corrected.

    Attributes:
        node: the segmentation.
        task: names its segments.
        images: modality -> volume.
        reference: modality whose grid the segmentation is corrected on.
        names: segment id -> name of the region or label of the task.
    """

    node: slicer.vtkMRMLSegmentationNode
    task: Task
    images: Mapping[str, slicer.vtkMRMLVolumeNode]
    reference: str
    names: Mapping[str, str]

    @property
    def volume(self) -> slicer.vtkMRMLVolumeNode:
        """The reference."""
        return self.images[self.reference]

    @property
    def values(self) -> dict[str, tuple[int, ...]]:
        """Segment id -> label values."""
        known: dict[str, tuple[int, ...]] = {label.name: (label.value,) for label in self.task.labels}
        known |= {region.name: tuple(region.values) for region in self.task.regions}
        return {key: known[name] for key, name in self.names.items()}

    @property
    def shown(self) -> dict[str, str]:
        """Segment id -> name of those that say what the segmentation is: of nested tasks, as they are displayed.

        The regions and the labels of a tumour are the same voxels twice; where they differ, what the user sees counts.
        """
        if not self.task.nested:
            return dict(self.names)
        regions = {region.name for region in self.task.regions}
        labels = {label.name for label in self.task.labels}
        wanted = regions if scene.shows_nested(self.node, self.task) else labels
        wanted |= {region.name for region in self.task.regions if len(region.values) == 1}
        found = {key: name for key, name in self.names.items() if name in wanted}
        return found or dict(self.names)

    @property
    def locked(self) -> list[str]:
        """Names of the segments with the status Completed, which must not change."""
        logic = slicer.vtkSlicerSegmentationsModuleLogic
        segmentation = self.node.GetSegmentation()
        done = {
            name
            for key, name in self.names.items()
            if (segment := segmentation.GetSegment(key)) is not None
            and logic.GetSegmentStatus(segment) == logic.Completed
        }
        return sorted(done)

    def is_same(self, other: Subject | None) -> bool:
        """Whether another subject is the same segmentation of the same images."""
        return other is not None and (self.node, self.task, dict(self.images), self.reference) == (
            other.node, other.task, dict(other.images), other.reference
        )  # fmt: skip

    def stamp(self) -> dict[str, int]:
        """Return what changes whenever the voxels of a segment may have changed."""
        segmentation = self.node.GetSegmentation()
        found = {}
        for key in self.names:
            segment = segmentation.GetSegment(key)
            image = None if segment is None else segment.GetRepresentation(BINARY_LABELMAP)
            found[key] = -1 if image is None else image.GetMTime()
        return found

    def image_stamp(self) -> tuple[tuple[int, str], ...]:
        """Return what changes whenever the voxels or the position of an image have changed."""
        return tuple(
            (volume.GetImageData().GetMTime(), repr(np.round(volumes.ijk_to_ras(volume), 3).tolist()))
            for volume in self.images.values()
        )


def find_subject(node: slicer.vtkMRMLSegmentationNode | None, source: slicer.vtkMRMLVolumeNode | None) -> Subject:
    """Find out what is corrected.

    Args:
        node: the segmentation.
        source: the source volume of the Segment Editor; the image of a segmentation that ASA did not make.

    Raises:
        RefusedError: it cannot be corrected.
    """
    if node is None:
        raise RefusedError(_("Choose a segmentation to correct."))
    task, names = _task(node)
    images = {key: volume for key, volume in images_of(node).items() if volume.GetImageData() is not None}
    if not images and source is None:
        raise RefusedError(_("Choose the source volume that the segmentation was made from."))
    order = [*task.reference, *(modality.key for modality in task.modalities)]
    if not images and source is not None:
        images = {order[0]: source}
    for volume in images.values():
        if reason := volumes.unusable(volume):
            raise RefusedError(reason)
    scan = node.GetNodeReference(slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole())
    reference = next((key for key, volume in images.items() if volume is scan), None)
    reference = reference or next(key for key in (*order, *images) if key in images)
    if node.GetParentTransformNode() is not images[reference].GetParentTransformNode():
        text = _("{segmentation} and {volume} are under different transforms; put both under the same one first.")
        raise RefusedError(text.format(segmentation=node.GetName(), volume=images[reference].GetName()))
    segmentation = node.GetSegmentation()
    for key in names:
        if segmentation.GetSegment(key).GetRepresentation(BINARY_LABELMAP) is None:
            text = _("The segment {segment} has no voxels, only a surface; create its binary labelmap first.")
            raise RefusedError(text.format(segment=segmentation.GetSegment(key).GetName()))
    return Subject(node, task, {key: images[key] for key in TITLES if key in images}, reference, names)


def _task(node: slicer.vtkMRMLSegmentationNode) -> tuple[Task, dict[str, str]]:
    """Return the task of a segmentation, and the names of its segments in it."""
    segmentation = node.GetSegmentation()
    segments = {key: segmentation.GetSegment(key).GetName() for key in segmentation.GetSegmentIDs()}
    own = TASKS.get(scene.task_name(node))
    found: list[tuple[Task, dict[str, str]]] = []
    for task in [own] if own is not None else TASKS.values():
        pairs = [(one.title, one.name) for one in task.regions] + [(one.title, one.name) for one in task.labels]
        titles = dict(pairs) | {name: name for _title, name in pairs}
        names = {key: titles.get(key) or titles.get(name, "") for key, name in segments.items()}
        found.append((task, {key: name for key, name in names.items() if name}))
    task, names = max(found, key=lambda one: len(one[1]))
    if not names:
        known = ", ".join(f"{one.title}: {', '.join(region.name for region in one.regions)}" for one in TASKS.values())
        text = _("{segmentation} has no segment whose name ASA recognises ({names}).")
        raise RefusedError(text.format(segmentation=node.GetName(), names=known))
    return task, names
