"""Correction of a segmentation with marks, from request to finished folder: what ``asa refine`` and scripts run.

The start is a result folder of ours, or a segmentation alone (a label map or ``.seg.nrrd``). With a folder the images
are checked against the checksums in its report.json, and the posterior in it is used; a segmentation alone is corrected
by intensities.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from asa import report as outputs
from asa.errors import InputError
from asa.files import sha256, write_json
from asa.geometry import Alignment, resample
from asa.jobs.result_folder import REPORT, find_current
from asa.jobs.segment import (
    LABEL_MAP,
    OVERLAY,
    SEGMENTS,
    TABLE,
    VOLUMES,
    Finished,
    file_sha256,
    image_sha256,
    make_result,
    posterior_name,
    protect_images,
    write_posterior,
)
from asa.program import Progress
from asa.refinement import MarkSet, Refinement, Start, read_marks
from asa.refinement.segments import read_segmentation
from asa.tasks import TASKS, TITLES, Task
from asa.volume import Grid, Volume, read_scan, read_volume

MARKS = "marks.json"
_REFINING = 0.5  # share of the whole when the marks begin; reading and preparing come before
_INTENSITIES = "The start has no probabilities, so the marks used intensities only."
_CORRECTED = "Corrected by {} mark{} of a user."


@dataclass(frozen=True)
class RefineRequest:
    """What to correct, and how.

    Attributes:
        start: a result folder, or a label map or ``.seg.nrrd``.
        marks: a marks file.
        images: modality key -> file; those that the result was made from, or some of them.
        task: key of :data:`asa.tasks.TASKS`; None takes the folder's own.
        edited: the segmentation with manual edits made since the result; its differences are kept.
    """

    start: Path
    marks: Path
    images: Mapping[str, Path]
    task: str | None = None
    edited: Path | None = None


@dataclass(frozen=True)
class _Beginning:
    """The start as it was read; ``images`` lie on the grid of ``labels``."""

    task: Task
    labels: Volume
    posterior: npt.NDArray[np.float16] | None
    images: Mapping[str, Volume]
    reference: str
    alignment: Alignment
    series: Mapping[str, Mapping[str, object]]
    report: Mapping[str, Any]
    stripped: bool


def refine(
    request: RefineRequest, folder: Path, *, segmentation_file: bool = True, progress: Progress | None = None
) -> Finished:
    """Correct a segmentation by marks, and write the files of a result and ``marks.json`` into ``folder``.

    All or nothing, as :func:`asa.jobs.segment.run` does it; a folder made from the same files is left as it is.

    Raises:
        InputError: a file cannot be used, the images are not those of the result, or a mark cannot be followed.
        OutputError: the folder cannot be written to, or a file in it would be lost.
        ResourceError: not enough memory.
        Cancelled: on KeyboardInterrupt.
    """
    marks = read_marks(request.marks)
    found = _read_report(request.start) if request.start.is_dir() else {}
    task = _task(request, found)
    _check_images(request, found, task)
    read = [request.start / LABEL_MAP, request.start / REPORT] if found else [request.start]
    read += [request.marks, *request.images.values(), *([request.edited] if request.edited else [])]
    protect_images(read, [folder], task.name, posterior=True, others=(MARKS,))
    inputs = {key: image_sha256(path) for key, path in request.images.items()}
    settings = {
        **(found.get("settings") or {"task": task.name, "model": None}),
        "refinement": {
            "start_sha256": file_sha256(read[0]),
            "marks_sha256": file_sha256(request.marks),
            "edited_sha256": file_sha256(request.edited) if request.edited else None,
        },
    }
    report, reason = find_current(folder, settings, inputs, set())
    if report is not None:
        return Finished(folder, report, reused=True)

    def make(staging: Path, show: Progress) -> dict[str, Any]:
        show("reading", 0.0)
        beginning = _read(request, found, task)
        session = _corrected(request, beginning, marks, show)
        show("writing", 0.9)
        return _write(staging, beginning, session, marks, settings, inputs, segmentation_file)

    return make_result(folder, make, reason, progress)


# --- reading ----------------------------------------------------------------------------------------------------------


def _read_report(folder: Path) -> dict[str, Any]:
    """Read report.json of a result, and check that the files to start from are those that were written.

    Raises:
        InputError: it is not a result, or one of its files has changed.
    """
    try:
        report = json.loads((folder / REPORT).read_text(encoding="utf-8"))
        recorded = {str(name): str(entry["sha256"]) for name, entry in report["outputs"].items()}
        task, _ = TASKS[report["task"]], {key: entry["sha256"] for key, entry in report["inputs"].items()}
    except OSError as error:
        raise InputError(f"{folder} is not a segmentation result: it has no {REPORT}.") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(f"The {REPORT} in {folder} is damaged; segment again.") from error
    used = [LABEL_MAP, *(posterior_name(label) for label in task.labels)]
    for name in [name for name in used if name == LABEL_MAP or name in recorded]:
        if not (folder / name).is_file():
            raise InputError(f"{folder} lacks {name}; segment again.")
        if file_sha256(folder / name) != recorded.get(name):
            raise InputError(
                f"{folder / name} has been changed since it was written. Segment again, and give the changed "
                "segmentation with --edited."
            )
    return dict(report)


def _task(request: RefineRequest, found: Mapping[str, Any]) -> Task:
    name = request.task or found.get("task")
    if name is None:
        raise InputError(f"{request.start} does not record its task; add --task, one of {', '.join(TASKS)}.")
    if name not in TASKS:
        raise InputError(f"There is no task '{name}'; the tasks are {', '.join(TASKS)}.")
    if found and found["task"] != name:
        raise InputError(f"{request.start} is a result of task '{found['task']}', not '{name}'.")
    return TASKS[name]


def _check_images(request: RefineRequest, found: Mapping[str, Any], task: Task) -> None:
    """Refuse images of another scan than the result's."""
    known = [modality.key for modality in task.modalities]
    if not request.images:
        raise InputError(f"Give the images of the segmentation: at least one of {', '.join(known)}.")
    for key, path in request.images.items():
        if key not in known:
            raise InputError(f"The task '{task.name}' takes {', '.join(known)} images, no '{key}'.")
        digest = image_sha256(path)
        if found and found["inputs"].get(key, {}).get("sha256") != digest:
            raise InputError(
                f"{path} is not the {TITLES[key]} image that {request.start} was made from; its probabilities belong "
                "to another scan. Give the image that was segmented."
            )


def _read(request: RefineRequest, found: Mapping[str, Any], task: Task) -> _Beginning:
    scans = {key: read_scan(path) for key, path in request.images.items()}
    matrices = series_frames(found)
    if matrices.keys() >= scans.keys() and found.get("reference") in matrices:
        reference = str(found["reference"])
        series: Mapping[str, Mapping[str, Any]] = found["series"]
        method, quality = found["alignment"]["method"], float(found["alignment"]["quality"])
        alignment = Alignment(matrices[reference], method, quality)
    else:
        from asa.inference.placement import place_series

        reference = str(found.get("reference") or next(key for key in task.reference if key in scans))
        if reference not in scans:
            raise InputError(f"{request.start} lies on the {TITLES[reference]} image; give that one too.")
        placement = place_series(scans, align=True)
        series, matrices = placement.to_report(), {k: s.alignment.matrix for k, s in placement.series.items()}
        alignment = placement.series[reference].alignment
    start = request.start / LABEL_MAP if found else request.start
    labels = read_volume(start, labels=True) if found else read_segmentation(start, task, scans[reference])
    here = np.linalg.inv(alignment.matrix)
    images = {key: to_label_grid(scan, labels.grid, matrices[key] @ here) for key, scan in scans.items()}
    return _Beginning(
        task=task,
        labels=labels,
        posterior=_read_posterior(request.start, found, task, labels.grid),
        images={key: images[key] for key in (one.key for one in task.modalities) if key in images},
        reference=reference,
        alignment=alignment,
        series=series,
        report=found,
        stripped=all(bool(series[key].get("stripped")) for key in scans),
    )


def series_frames(found: Mapping[str, Any]) -> dict[str, npt.NDArray[np.float64]]:
    """Where the brain frame lies in each series; only of reports that say it."""
    series = {key: np.asarray(one.get("frame_to_scan", ()), float) for key, one in found.get("series", {}).items()}
    return {key: matrix for key, matrix in series.items() if matrix.shape == (4, 4) and np.linalg.det(matrix)}


def to_label_grid(scan: Volume, grid: Grid, matrix: npt.NDArray[np.float64]) -> Volume:
    """Return a scan on the grid of the segmentation, untouched where it lies there already."""
    if scan.grid.same_as(grid) and np.allclose(matrix, np.eye(4), atol=1e-4):
        return Volume(scan.array, grid, scan.storage)
    return resample(scan, grid, matrix=matrix)


def _read_posterior(folder: Path, found: Mapping[str, Any], task: Task, grid: Grid) -> npt.NDArray[np.float16] | None:
    names = [posterior_name(label) for label in task.labels]
    if not set(names) <= set(found.get("outputs", {})):
        return None
    posterior = np.zeros((1 + len(names), *grid.shape), np.float16)
    for row, name in enumerate(names, start=1):
        volume = read_volume(folder / name, head=False)
        if not volume.grid.same_as(grid):
            raise InputError(f"{folder / name} and the label map are on different grids; segment again.")
        if volume.array.min() < 0 or volume.array.max() > 1:
            raise InputError(f"{folder / name} holds values that are not probabilities; segment again.")
        posterior[row] = volume.array
    posterior[0] = np.clip(1 - posterior[1:].sum(axis=0, dtype=np.float32), 0, 1)
    return posterior


# --- correcting and writing -------------------------------------------------------------------------------------------


def _corrected(request: RefineRequest, beginning: _Beginning, marks: MarkSet, progress: Progress) -> Refinement:
    labels, edited = beginning.labels, None
    if request.edited is not None:
        image = labels.with_array(np.zeros(labels.array.shape, np.float32))
        now = read_segmentation(request.edited, beginning.task, image)
        edited = now.array != labels.array
        labels = now
    start = Start(list(beginning.images.values()), labels, beginning.task, beginning.posterior, edited)
    session = Refinement(start, marks.locked)
    for number, mark in enumerate(marks.marks):
        progress("refining", _REFINING + (0.9 - _REFINING) * number / len(marks.marks))
        session.add(mark)
    return session


def _write(
    staging: Path,
    beginning: _Beginning,
    session: Refinement,
    marks: MarkSet,
    settings: Mapping[str, Any],
    inputs: Mapping[str, str],
    segmentation_file: bool,
) -> dict[str, Any]:
    """Write everything but report.json into ``staging`` and return the report."""
    from asa.volume import write_volume

    task, found = beginning.task, beginning.report
    labels = beginning.labels.with_array(session.labels.copy())
    image = next(iter(beginning.images.values()))
    image = beginning.images.get(beginning.reference, image)
    brain = labels.with_array(_brain(beginning, image, labels))
    measurements = outputs.measure(labels, brain, task, beginning.alignment)
    if (brain_ml := found.get("brain_ml")) and not brain.array.any():
        measurements = tuple(replace(row, percent_of_brain=100 * row.volume_ml / brain_ml) for row in measurements)
    count = len(marks.marks)
    earlier = list(found.get("warnings", ()))
    warnings = [*earlier, _CORRECTED.format(count, "" if count == 1 else "s")]
    if session.posterior is None:
        warnings.append(_INTENSITIES)
    else:
        write_posterior(staging, task, labels, session.posterior)
    write_volume(labels, staging / LABEL_MAP)
    outputs.write_volumes(measurements, staging / TABLE, staging / VOLUMES)
    caption = f"on {TITLES[beginning.reference]}, corrected by hand"
    outputs.write_overlay(staging / OVERLAY, image, labels, brain, task, measurements, caption, warnings)
    if segmentation_file:
        warning = outputs.write_segmentation_file(staging / LABEL_MAP, task, staging / SEGMENTS)
        warnings += [warning] if warning else []
    write_json(staging / MARKS, marks.to_json())
    return outputs.build_report(
        task=task,
        model=found.get("model") or {"name": None, "version": None},
        settings=settings,
        inputs=inputs,
        device="cpu",
        grid=labels.grid,
        alignment=beginning.alignment,
        series=beginning.series,
        reference=beginning.reference,
        trust=found.get("trust") or {"verdict": "doubtful", "reasons": ["The segmentation was not made by ASA."]},
        measurements=measurements,
        brain_ml=brain_ml,
        timings={},
        warnings=warnings,
        outputs={path.name: sha256(path) for path in staging.iterdir()},
    )


def _brain(beginning: _Beginning, image: Volume, labels: Volume) -> npt.NDArray[np.uint8]:
    """Return the brain as far as it is known: from the labels, otherwise from skull-stripping, otherwise nothing."""
    within = [label.value for label in beginning.task.labels if label.in_brain]
    brain = np.zeros(labels.array.shape, np.uint8)
    if within:
        brain[np.isin(labels.array, within)] = 1
    elif beginning.stripped and not beginning.report.get("brain_ml"):
        brain[image.array != 0] = 1
    return brain
