"""Files between the scene and the engine: what is corrected, the marks, and the answer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from slicer.i18n import tr as _

from ASASegmentationLib.refine.strokes import Stroke
from ASASegmentationLib.refine.subject import RefusedError, Subject
from ASASegmentationLib.results.record import record_of
from ASASegmentationLib.segments.edits import voxels
from ASASlicerLib import volumes
from ASASlicerLib.steps import Steps


@dataclass(frozen=True)
class Mark:
    """A mark of the user.

    Attributes:
        segment: id of the segment.
        entry: as in a marks file.
    """

    segment: str
    entry: Mapping[str, Any]


def make_mark(stroke: Stroke, segment: str, subject: Subject) -> Mark:
    """Return the mark of a stroke, in the space of the images.

    Raises:
        RefusedError: it lies outside the image, or the segment is not one of the task.
    """
    if segment not in subject.names:
        known = ", ".join(subject.node.GetSegmentation().GetSegment(key).GetName() for key in subject.names)
        raise RefusedError(_("Select one of these segments first: {segments}.").format(segments=known))
    volume = subject.volume
    size = np.asarray(volume.GetImageData().GetDimensions(), float)
    to_world = volumes.to_world(volume)
    here = np.linalg.inv(to_world)
    points = np.asarray(stroke.points, float) @ here[:3, :3].T + here[:3, 3]
    affine = volumes.ijk_to_ras(volume)
    inverse = np.linalg.inv(affine)
    indices = points @ inverse[:3, :3].T + inverse[:3, 3]
    inside = ((indices >= -0.5) & (indices <= size - 0.5)).all(axis=1)
    found = bool(inside.any())
    if stroke.kind == "box":
        low, high = indices.min(axis=0), indices.max(axis=0)
        found = bool((high >= 0).all() and (low <= size - 1).all())
        points = np.clip([low, high], 0, size - 1) @ affine[:3, :3].T + affine[:3, 3]
    elif stroke.kind == "lasso":
        found = bool(inside.all())
    else:
        points = points[inside]
    if not found:
        raise RefusedError(_("The mark lies outside {volume}; nothing was changed.").format(volume=volume.GetName()))
    entry = {
        "kind": stroke.kind,
        "segment": subject.names[segment],
        "action": "add" if stroke.adds else "remove",
        "points_mm": np.round(points, 4).tolist(),
    }
    if stroke.radius_mm:
        entry["radius_mm"] = stroke.radius_mm
    return Mark(segment, entry)


def write_opening(subject: Subject, folder: Path) -> Steps[dict[str, Any]]:
    """Write the images, the record and the segments; return the entry `opened` of requests.

    Raises:
        OSError: a file cannot be written.
        ChangedError: a volume changed while it was being written.
    """
    images = {}
    for snapshot in volumes.snapshots(subject.images, subject.volume):
        images[snapshot.name] = str((yield from snapshot.write(folder)))
    record = record_of(subject.node)
    if record is not None:
        (folder / "record.zip").write_bytes(record)
        yield True
    return {
        "task": subject.task.name,
        "reference": subject.reference,
        "images": images,
        "record": None if record is None else str(folder / "record.zip"),
        "segments": (yield from write_segments(subject, folder, "opened")),
    }


def write_segments(subject: Subject, folder: Path, name: str) -> Steps[dict[str, Any]]:
    """Write the masks of the segments; return the entries of a request.

    Raises:
        OSError: a file cannot be written.
    """
    found = {}
    segmentation = subject.node.GetSegmentation()
    for number, (key, part) in enumerate(subject.shown.items()):
        segment = segmentation.GetSegment(key)
        if segment is None:
            continue
        one = yield from voxels(segment)
        path = folder / f"{name}_{number}.npy"
        np.save(path, one.mask.astype(np.uint8))
        found[part] = {"file": str(path), "ijk_to_ras": one.ijk_to_ras.tolist()}
        yield True
    return found


def write_request(
    path: Path,
    opened: Mapping[str, Any],
    current: Mapping[str, Any] | None,
    locked: Sequence[str],
    applied: Sequence[Mark],
    pending: Sequence[Mark],
) -> None:
    """Write a request; its patches come into the same folder.

    Raises:
        OSError: it cannot be written.
    """
    request: dict[str, Any] = {
        "opened": opened,
        "locked": list(locked),
        "applied": [mark.entry for mark in applied],
        "pending": [mark.entry for mark in pending],
        "output": str(path.parent),
    }
    if current is not None:
        request["current"] = current
    path.write_text(json.dumps(request), encoding="utf-8")
