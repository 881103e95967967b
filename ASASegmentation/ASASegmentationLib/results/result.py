"""Read the result folder of a finished job and prepare it for the scene."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from asa.tasks import Task
from ASASegmentationLib.segments import edits
from ASASegmentationLib.segments.build import SegmentSpec, build_segments
from ASASegmentationLib.segments.surfaces import CLOSED_SURFACE, Surface, poly_data
from ASASlicerLib.nifti import read_nifti, right_handed
from ASASlicerLib.steps import Steps, slabs

LABELS, RECORD = "segmentation.nii.gz", "record.zip"


@dataclass(frozen=True)
class ExtraVolume:
    """A posterior or uncertainty map: values in 0..1, and the 4x4 affine from (i, j, k) to RAS in mm, right-handed."""

    name: str
    image: vtk.vtkImageData
    ijk_to_ras: np.ndarray


@dataclass(frozen=True)
class Result:
    """Segments by id, rows of the volume table, extra volumes, and the overview image.

    `record` is what a later correction needs, b"" if the engine wrote none. `doubts` say why the result must not be
    used unchecked; `warnings` are other messages for the user.
    """

    task: Task
    segments: Mapping[str, slicer.vtkSegment]
    volumes: tuple[Mapping[str, Any], ...]
    doubts: tuple[str, ...]
    warnings: tuple[str, ...]
    extra: tuple[ExtraVolume, ...]
    overview: bytes
    record: bytes = b""


def segment_specs(task: Task) -> list[SegmentSpec]:
    """Return the labels of a task, or for nested tasks its regions and the labels that are not regions."""
    specs = []
    if task.nested:
        specs += [
            SegmentSpec(r.name, r.title, r.colour, tuple(r.values), r.terminology.slicer_entry) for r in task.regions
        ]
    shown = {spec.values for spec in specs}
    specs += [
        SegmentSpec(x.name, x.title, x.colour, (x.value,), x.terminology.slicer_entry)
        for x in task.labels
        if (x.value,) not in shown
    ]
    return specs


def read_result(folder: Path, task: Task, moved: np.ndarray) -> Steps[Result]:
    """Read the folder of a finished job.

    Args:
        folder: Result folder of the engine.
        task: Task that was segmented.
        moved: 4x4 matrix in mm from the scan's position at the start of the job to its current one.

    Raises:
        OSError, ValueError, LookupError: A file is missing or invalid.
    """
    labels, affine = yield from read_nifti(folder / LABELS)
    specs = segment_specs(task)
    segments = yield from build_segments(labels, moved @ affine, specs)
    yield from edits.mark_as_made(segments)
    for number, spec in enumerate(specs):
        yield from _add_surface(segments[spec.id], Surface.load(folder, number), moved)
    extra: tuple[ExtraVolume, ...] = ()
    for path in sorted([*folder.glob("posterior_*.nii.gz"), *folder.glob("uncertainty.nii.gz")]):
        extra += ((yield from read_extra(path, moved)),)
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    doubts = tuple(report.get("trust", {}).get("reasons", ()))
    return Result(
        task=task,
        segments=segments,
        volumes=_rows(json.loads((folder / "volumes.json").read_text(encoding="utf-8"))["volumes"]),
        doubts=doubts,
        warnings=tuple(text for text in report["warnings"] if text not in doubts),
        extra=extra,
        overview=(folder / "overlay.png").read_bytes(),
        record=(folder / RECORD).read_bytes() if (folder / RECORD).is_file() else b"",
    )


def _rows(volumes: Iterable[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    """Return one row per structure; a region with a single label is measured twice."""
    return tuple({row["title"]: row for row in volumes}.values())


def _add_surface(segment: slicer.vtkSegment, surface: Surface | None, moved: np.ndarray) -> Steps[None]:
    """Add the surface of a segment, if there is one."""
    if surface is None:
        return
    if not np.array_equal(moved, np.eye(4)):
        surface = surface.moved(moved)
        yield True
    segment.AddRepresentation(CLOSED_SURFACE, (yield from poly_data(surface)))
    yield True


def read_extra(path: Path, moved: np.ndarray) -> Steps[ExtraVolume]:
    """Read an image of the engine.

    Args:
        path: a NIfTI file.
        moved: 4x4 matrix in mm from its space to that of the scene.

    Raises:
        OSError, ValueError: the file is missing or invalid.
    """
    array, affine = right_handed(*(yield from read_nifti(path)))
    scalars = vtk.vtkFloatArray()
    scalars.SetNumberOfValues(array.size)
    voxels = vtk_to_numpy(scalars).reshape(array.shape[::-1])
    for slab in slabs(voxels.shape, voxels.itemsize):
        voxels[slab] = array.T[slab]
        yield True
    image = vtk.vtkImageData()
    image.SetDimensions(array.shape)
    image.GetPointData().SetScalars(scalars)
    return ExtraVolume(path.name.removesuffix(".nii.gz").replace("_", " "), image, moved @ affine)
