"""What a finished job left in its folder, read and made ready for the scene. Runs outside the GUI thread."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from asa.tasks import Task

from . import edits
from .nifti import read_nifti, right_handed
from .segments import SegmentSpec, build_segments


@dataclass(frozen=True)
class ExtraVolume:
    """A posterior or uncertainty map: `array` (K, J, I) in 0..1 with its 4x4 affine from (i, j, k) to RAS in mm.

    The affine is right-handed, as Slicer's volumes are.
    """

    name: str
    array: np.ndarray
    ijk_to_ras: np.ndarray


@dataclass(frozen=True)
class Result:
    """Segments by id, rows of the volume table, sentences for the user, extra volumes, and the overview picture."""

    task: Task
    segments: Mapping[str, slicer.vtkSegment]
    volumes: tuple[Mapping[str, Any], ...]
    warnings: tuple[str, ...]
    extra: tuple[ExtraVolume, ...]
    overview: bytes


def segment_specs(task: Task) -> list[SegmentSpec]:
    """The segments of a task: its labels; where regions nest, the regions and those labels that are no region."""
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


def read_result(folder: Path, task: Task, moved: np.ndarray) -> Result:
    """Reads the folder of a finished job.

    `moved` is a 4x4 matrix from where the scan was when the job started to where it is now, in mm.
    Raises OSError, ValueError or LookupError when a file is missing or not what it should be.
    """
    labels, affine = read_nifti(folder / "segmentation.nii.gz")
    segments = build_segments(labels, moved @ affine, segment_specs(task))
    edits.mark_as_made(segments)
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return Result(
        task=task,
        segments=segments,
        volumes=_rows(json.loads((folder / "volumes.json").read_text(encoding="utf-8"))["volumes"]),
        warnings=tuple(report["warnings"]),
        extra=tuple(_extra_volumes(folder, moved)),
        overview=(folder / "overlay.png").read_bytes(),
    )


def _rows(volumes: Iterable[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    """One row for each structure: a region that is a single label is measured twice."""
    return tuple({row["title"]: row for row in volumes}.values())


def _extra_volumes(folder: Path, moved: np.ndarray) -> Iterator[ExtraVolume]:
    for path in sorted([*folder.glob("posterior_*.nii.gz"), *folder.glob("uncertainty.nii.gz")]):
        array, affine = read_nifti(path)
        array, affine = right_handed(array, affine)
        name = path.name.removesuffix(".nii.gz").replace("_", " ")
        yield ExtraVolume(name, np.ascontiguousarray(array.T, dtype=np.float32), moved @ affine)
