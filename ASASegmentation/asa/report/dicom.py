"""DICOM Segmentation and measurement report of a result, for a scan that came from DICOM."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from asa.dicom_export.measurements import MeasuredVolume, write_measurements
from asa.dicom_export.segmentation import NotWritten, Segment, read_sources, write_segmentation
from asa.files import atomic_path
from asa.report.segmentation import shown
from asa.report.volumes import Measurement
from asa.tasks import BRAIN, Label, Region, Task
from asa.volume import Volume
from asa.volume.dicom.stacks import Stack, stack_at


def write_dicom(
    scan: Path,
    labels: Volume,
    task: Task,
    measurements: Sequence[Measurement],
    paths: Sequence[Path],
    *,
    doubtful: bool,
) -> list[str]:
    """Write the segments and the volumes as DICOM objects that refer to the images of the scan.

    They repeat the patient and study of the images, as the standard requires.

    Args:
        scan: path of the DICOM scan, on whose grid ``labels`` are.
        labels: the label map.
        task: what its values mean.
        measurements: the volumes.
        paths: the segmentation and the measurement report.
        doubtful: whether the result has to be reviewed, which the description of both says.

    Returns:
        A warning for each file that could not be made.

    Raises:
        OutputError: the folder cannot be written to.
        InputError: the images cannot be read again.
    """
    stack = stack_at(scan)
    sources = read_sources(stack.files)
    segments, numbers, warnings = list[Segment](), dict[str, int](), list[str]()
    for item in shown(task):
        values = item.values if isinstance(item, Region) else (item.value,)
        mask = _on_frames(np.isin(labels.array, values), labels, stack, sources)
        if mask.any():
            segments.append(Segment(item.title, item.terminology, item.colour, mask))
            numbers[item.name] = len(segments)
    review = ", doubtful: review" if doubtful else ""
    written = None
    segmentation, report = paths
    try:
        with atomic_path(segmentation) as temporary:
            written = write_segmentation(temporary, sources, segments, f"ASA {task.name}{review}", automatic=True)
    except NotWritten as reason:
        warnings.append(f"No {segmentation.name} was written, because {reason}.")
    try:
        with atomic_path(report) as temporary:
            volumes = _volumes(task, measurements, numbers)
            write_measurements(temporary, sources, written, volumes, f"ASA {task.name} volumes{review}")
    except NotWritten as reason:
        warnings.append(f"No {report.name} was written, because {reason}.")
    return warnings


def _on_frames(
    mask: npt.NDArray[np.bool_], labels: Volume, stack: Stack, sources: Sequence[object]
) -> npt.NDArray[np.bool_]:
    """Return a mask (T, H, W) as (frames, rows, columns): a frame per file, or the frames of a multi-frame file."""
    slices = labels.storage.to_stored(mask).transpose(2, 1, 0)  # of (columns, rows, slices)
    if len(sources) == len(stack.frames):
        return slices
    count = int(getattr(sources[0], "NumberOfFrames", len(slices)))
    frames = np.zeros((count, *slices.shape[1:]), bool)
    frames[[frame.number for frame in stack.frames]] = slices
    return frames


def _volumes(task: Task, measurements: Sequence[Measurement], numbers: dict[str, int]) -> list[MeasuredVolume]:
    """Return the brain and each label and region once, those that are segments with their number."""
    items: dict[str, Label | Region] = {}
    for item in (*task.labels, *task.regions, *shown(task)):
        items[item.name] = item
    volumes: dict[str, MeasuredVolume] = {}
    for row in measurements:
        terms = BRAIN if row.kind == "brain" else items[row.name].terminology
        volumes[row.name] = MeasuredVolume(row.title, terms, row.volume_ml, numbers.get(row.name))
    return list(volumes.values())
