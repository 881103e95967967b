"""Export labelled cases of the scene for the engine: label maps and segmentations with their images.

Nodes of a case share one parent in the subject hierarchy, a study or a folder. If several label nodes share a parent,
only the reference image of a segmentation is known to belong to it.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from asa.tasks import Task
from ASASlicerLib.nifti import write_nifti
from ASASlicerLib.proposal.propose import propose_volumes, usable_volumes
from ASASlicerLib.steps import Steps
from ASASlicerLib.volumes import Snapshot, array_of, ijk_to_ras, unusable

TABLE = "cases.csv"
_SEGMENTATION, _LABEL_MAP = "vtkMRMLSegmentationNode", "vtkMRMLLabelMapVolumeNode"


@dataclass(frozen=True)
class SceneCase:
    """`labels`, a label map or a segmentation, and its `images`: modality key -> volume.

    `subject` is the same for cases of one patient. `problem`: why the case cannot be used, as a sentence, or "".
    """

    labels: Any
    images: Mapping[str, slicer.vtkMRMLScalarVolumeNode]
    subject: str
    problem: str

    @property
    def reference(self) -> slicer.vtkMRMLScalarVolumeNode:
        """The image whose space is used for all files."""
        return next(iter(self.images.values()))


def scene_cases(scene: slicer.vtkMRMLScene, task: Task) -> list[SceneCase]:
    """Return every label map and segmentation of the scene as a case of a task."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    nodes = [
        node
        for kind in (_LABEL_MAP, _SEGMENTATION)
        for node in slicer.util.getNodesByClass(kind, scene)
        if not node.GetHideFromEditors()
    ]
    places = [_parent(hierarchy, node) for node in nodes]
    volumes = [(volume, _parent(hierarchy, volume)) for volume in usable_volumes(scene)]
    found = []
    for node, place in zip(nodes, places, strict=True):
        own = _drawn_on(node)
        if places.count(place) > 1:
            candidates = [own] if own is not None else []
        else:
            candidates = [volume for volume, where in volumes if where == place or volume is own]
        images = propose_volumes(candidates, task.modalities)
        problem = _problem(node, images, candidates, task)
        found.append(SceneCase(node, images, _subject(hierarchy, node), problem))
    return found


def write_cases(cases: Sequence[SceneCase], task: Task, folder: Path) -> Steps[None]:
    """Write <folder>/case-NNN/{t1,...,labels}.nii and the table TABLE, in steps.

    Cases and subjects are numbered, because node names may contain patient names.

    Raises:
        OSError: a file cannot be written.
        ChangedError: a volume changed while it was being written.
    """
    subjects = list(dict.fromkeys(case.subject for case in cases))
    keys = [modality.key for modality in task.modalities]
    rows = []
    for number, case in enumerate(cases, start=1):
        name = f"case-{number:03d}"
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        row = {"case": name, "subject": f"subject-{subjects.index(case.subject) + 1:03d}"}
        for key, volume in case.images.items():
            path = yield from Snapshot.of(key, volume, case.reference).write(place)
            row[key] = path.relative_to(folder).as_posix()
        path = yield from _write_labels(case, task, place)
        row["labels"] = path.relative_to(folder).as_posix()
        rows.append(row)
    with (folder / TABLE).open("w", encoding="utf-8", newline="") as stream:
        table = csv.DictWriter(stream, ["case", "subject", *keys, "labels"], restval="")
        table.writeheader()
        table.writerows(rows)


def _write_labels(case: SceneCase, task: Task, folder: Path) -> Steps[Path]:
    if case.labels.IsA(_LABEL_MAP):
        return (yield from Snapshot.of("labels", case.labels, case.reference).write(folder))
    array = np.zeros(array_of(case.reference).shape, np.uint8)
    for key, value in _values(case.labels, task).items():
        inside = slicer.util.arrayFromSegmentBinaryLabelmap(case.labels, key, case.reference)
        array[inside != 0] = value
        yield True
    path = folder / "labels.nii"
    yield from write_nifti(path, lambda: array, ijk_to_ras(case.reference))
    return path


def _values(node: slicer.vtkMRMLSegmentationNode, task: Task) -> dict[str, int]:
    """Return segment id -> label value, in writing order.

    Uses the labels, or the nested regions from outer to inner if only regions have segments.
    """
    segmentation = node.GetSegmentation()
    named = {}
    for key in segmentation.GetSegmentIDs():
        named[segmentation.GetSegment(key).GetName().lower()] = key
        named[key.lower()] = key
    labels = {label: key for label in task.labels if (key := _named(named, label.name, label.title))}
    if not task.nested or {label.name for label in labels} - {region.name for region in task.regions}:
        return {key: label.value for label, key in labels.items()}
    regions = sorted(task.regions, key=lambda region: -len(region.values))
    found = {}
    for number, region in enumerate(regions):
        inner = {value for other in regions[number + 1 :] for value in other.values}
        own = set(region.values) - inner
        if len(own) == 1 and (key := _named(named, region.name, region.title)):
            found[key] = own.pop()
    return found


def _named(named: Mapping[str, str], *names: str) -> str:
    """Return the segment id for one of the names, or ""."""
    return next((named[name.lower()] for name in names if name.lower() in named), "")


def _problem(
    node: Any,
    images: Mapping[str, slicer.vtkMRMLScalarVolumeNode],
    candidates: Sequence[slicer.vtkMRMLScalarVolumeNode],
    task: Task,
) -> str:
    if missing := [_(m.title) for m in task.modalities if m.required and m.key not in images]:
        text = _("{labels} has no matching {modalities}.")
        if not candidates:
            text = _("The image that belongs to {labels} could not be determined.")
        text += " " + _("Put the images and the labels of each case into one folder in the module Data.")
        return text.format(labels=node.GetName(), modalities=", ".join(missing))
    if reason := next(filter(None, map(unusable, images.values())), ""):
        return reason
    if node.IsA(_SEGMENTATION) and not _values(node, task):
        return _("{labels} has no segment of this task. Name its segments {names}.").format(
            labels=node.GetName(), names=", ".join(label.title for label in task.labels)
        )
    if node.IsA(_LABEL_MAP) and ((image := node.GetImageData()) is None or image.GetNumberOfPoints() == 0):
        return _("{labels} has no voxels.").format(labels=node.GetName())
    return ""


def _drawn_on(node: Any) -> slicer.vtkMRMLScalarVolumeNode | None:
    """Return the reference image of a segmentation."""
    if not node.IsA(_SEGMENTATION):
        return None
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    image: slicer.vtkMRMLScalarVolumeNode | None = node.GetNodeReference(role)
    return image


def _parent(hierarchy: slicer.vtkMRMLSubjectHierarchyNode | None, node: slicer.vtkMRMLNode) -> int:
    """Return the parent item of a node, or the scene item."""
    if hierarchy is None:
        return 0
    item = hierarchy.GetItemByDataNode(node)
    return int(hierarchy.GetItemParent(item) if item else hierarchy.GetSceneItemID())


def _subject(hierarchy: slicer.vtkMRMLSubjectHierarchyNode | None, node: slicer.vtkMRMLNode) -> str:
    """Return a key shared by all cases of a patient, as far as the subject hierarchy defines it."""
    if hierarchy is None:
        return str(node.GetID())
    level = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMLevelPatient()
    item = hierarchy.GetItemByDataNode(node)
    if item and (patient := hierarchy.GetItemAncestorAtLevel(item, level)):
        return f"patient {patient}"
    place = _parent(hierarchy, node)
    return str(node.GetID()) if place == hierarchy.GetSceneItemID() else f"folder {place}"
