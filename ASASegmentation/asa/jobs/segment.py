"""Run one segmentation from request to result folder; also the program that 3D Slicer starts.

    python -m asa.jobs.segment request.json

The request is a JSON object with the fields of `asa.request.SegmentRequest`, of which `images` (modality -> file) is
required, `output` (the result folder, required) and `segmentation_file` (whether to write segmentation.seg.nrrd; true).
Standard output carries one JSON object per line: progress, warning, done or error. Messages for people go to standard
error. The exit code is 0 after `done`, 130 after Ctrl-C or SIGTERM, or that of the error.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asa import events
from asa.errors import Cancelled, InputError
from asa.files import sha256
from asa.image_names import is_image_name
from asa.interrupts import check as check_interrupt
from asa.jobs.result_folder import REPORT, find_current, protect, publish, staging_in
from asa.program import Progress, Reporter, memory_errors, run_request
from asa.request import SegmentRequest, read_request
from asa.tasks import TASKS, Label, Task

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from asa.inference import SegmentResult
    from asa.models import ModelFolder
    from asa.report import SegmentationWriter
    from asa.volume import Volume

Segment = Callable[[SegmentRequest, "Progress | None"], "SegmentResult"]

LABEL_MAP, SEGMENTS, OVERLAY = "segmentation.nii.gz", "segmentation.seg.nrrd", "overlay.png"
TABLE, VOLUMES, _UNCERTAINTY = "volumes.csv", "volumes.json", "uncertainty.nii.gz"
_UNUSED = "The model '{}' does not use the {} image."


@dataclass(frozen=True)
class Finished:
    """A complete result folder.

    Attributes:
        folder: the result folder.
        report: content of its report.json.
        reused: whether an up-to-date result existed and was returned.
        notes: sentences about an earlier result in the folder: why it was replaced, and which of its files were kept.
    """

    folder: Path
    report: dict[str, Any]
    reused: bool = False
    notes: tuple[str, ...] = ()

    @property
    def warnings(self) -> list[str]:
        """The warnings of the report, then the notes; all are meant for the user."""
        return [*self.report["warnings"], *self.notes]


def run(
    request: SegmentRequest,
    folder: Path,
    *,
    overwrite: bool = False,
    segmentation_file: bool = True,
    progress: Progress | None = None,
    segment: Segment | None = None,
) -> Finished:
    """Segment one head and write the result folder.

    It holds segmentation.nii.gz, segmentation.seg.nrrd, volumes.csv, volumes.json, overlay.png and report.json; with
    ``request.posterior`` also posterior_<label>.nii.gz and uncertainty.nii.gz. The files are written to a hidden folder
    inside it and moved at the end, report.json last, so that a folder with a report.json is complete. Images and other
    files that ASA did not write are never replaced.

    Args:
        request: the images, the task, and the settings.
        folder: the result folder; created if missing.
        overwrite: segment even if the folder holds an intact result of the same model, images and settings.
        segmentation_file: whether to write segmentation.seg.nrrd.
        progress: called with the name of the stage and the fraction done.
        segment: replaces :func:`asa.inference.segment`.

    Returns:
        The result, new or reused.

    Raises:
        InputError: the request or an image is invalid.
        OutputError: the folder cannot be written, or a file that ASA did not write is in the way.
        ModelError: the model does not exist or is damaged.
        ResourceError: there is not enough memory, or the device does not exist.
        Cancelled: on KeyboardInterrupt; nothing was written.
    """
    from asa.models import find_model

    request.check()
    if request.also:
        from asa.report.extras import check_extras

        check_extras(request)
    images = map(Path, request.images.values())
    protect_images(images, [folder], request.task, posterior=request.posterior, others=request.extra_files)
    model = find_model(request.model, request.task)
    settings = _settings(request, model)
    used = [key for key in request.images if key in model.modalities or key == request.reference]
    inputs = {key: image_sha256(Path(request.images[key])) for key in used}
    # A result without the file is made again once slicer-core, which a warning recommended, is installed.
    wanted = {SEGMENTS} if segmentation_file and importlib.util.find_spec("slicer") else set()
    wanted |= {*request.extra_files}
    report, reason = (None, "") if overwrite else find_current(folder, settings, inputs, wanted)
    if report is not None:
        return Finished(folder, report, reused=True)

    def make(staging: Path, show: Progress) -> dict[str, Any]:
        from asa.report import SegmentationWriter  # late: it imports numpy

        with SegmentationWriter() if segmentation_file else nullcontext() as writer:
            result = (segment or _engine())(request, lambda stage, done: show(stage, events.SEGMENTING * done))
            show("writing", events.SEGMENTING)
            return _write(staging, request, result, settings, inputs, writer)

    return make_result(folder, make, reason, progress)


def make_result(
    folder: Path, make: Callable[[Path, Progress], dict[str, Any]], reason: str, progress: Progress | None
) -> Finished:
    """Make the files of a result in a hidden folder and move them into ``folder``: all or nothing.

    Args:
        folder: the result folder.
        make: writes everything but report.json into the folder that it is given, calls what it is given with the name
            of a stage and the fraction done, and returns the report.
        reason: why an earlier result in the folder is not reused, "" if there is none.
        progress: called with the name of the stage and the fraction done.

    Raises:
        OutputError: the folder cannot be written.
        ResourceError: there is not enough memory.
        Cancelled: on KeyboardInterrupt.
    """

    def show(stage: str, fraction: float) -> None:
        check_interrupt()
        if progress is not None:
            progress(stage, fraction)

    kept = None
    try:
        with staging_in(folder) as staging, memory_errors():
            report = make(staging, show)
            kept = publish(staging, folder, report)
    except KeyboardInterrupt:
        written = "nothing was written" if kept is None else f"the results in {folder} are complete"
        raise Cancelled(f"Cancelled; {written}.") from None
    if progress is not None:
        progress("done", 1.0)
    return Finished(folder, report, notes=(*filter(None, [reason]), *kept))


def _engine() -> Segment:
    from asa.inference import segment  # late: it imports torch

    return segment


def protect_images(
    images: Iterable[Path], folders: Iterable[Path], task: str, *, posterior: bool, others: Iterable[str] = ()
) -> None:
    """Refuse result folders in which the segmentations would replace an image, or a file that ASA did not write.

    Args:
        images: all images of all heads: the result of one must not replace the image of another.
        folders: result folders, one per head.
        task: key of :data:`asa.tasks.TASKS`.
        posterior: whether class probabilities are written.
        others: names of further files that are written.

    Raises:
        OutputError: a file is in the way.
    """
    names = [REPORT, LABEL_MAP, SEGMENTS, OVERLAY, TABLE, VOLUMES, *others]
    if posterior:
        names += [_UNCERTAINTY, *(posterior_name(label) for label in TASKS[task].labels)]
    protect(images, folders, names)


def posterior_name(label: Label) -> str:
    """Return the name of the file that holds the probability of a label."""
    return f"posterior_{label.name.replace(' ', '_')}.nii.gz"


def _settings(request: SegmentRequest, model: ModelFolder) -> dict[str, Any]:
    """Return everything that determines the result, except the images."""
    return {
        "task": request.task,
        "model": model.name,
        "model_sha256": model_sha256(model.path),
        "align": request.align,
        **({"reorient": request.reorient} if request.reorient != "off" else {}),  # reports of before have no such entry
        "reference": request.reference,
        "threshold": request.threshold,
        "tta": model.description.tta if request.tta is None else request.tta,
        "posterior": request.posterior,
    }


@functools.lru_cache(maxsize=4)
def model_sha256(folder: Path) -> str:
    """Return a checksum of the description and the weights of a model."""
    from asa.models import DESCRIPTION, WEIGHTS

    digests = [file_sha256(folder / name) for name in (DESCRIPTION, WEIGHTS) if (folder / name).is_file()]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return sha256(path)
    except OSError as error:
        raise InputError(f"The file {path} cannot be read: {error.strerror or error}.") from error


def image_sha256(path: Path) -> str:
    """Return the SHA-256 of an image: of its file, or of the digests of its DICOM files in the order of the slices.

    Raises:
        InputError: it cannot be read.
    """
    if is_image_name(path):
        return file_sha256(path)
    from asa.volume.dicom.stacks import source_files  # late: it imports numpy
    from asa.volume.reading import is_dicom_image

    files = source_files(path) if is_dicom_image(path) else (path,)
    digests = [file_sha256(file) for file in files]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _write(
    staging: Path,
    request: SegmentRequest,
    result: SegmentResult,
    settings: dict[str, Any],
    inputs: dict[str, str],
    writer: SegmentationWriter | None,
) -> dict[str, Any]:
    """Write everything but report.json into `staging` and return the report.

    `writer` writes segmentation.seg.nrrd in parallel; None leaves it out.
    """
    import numpy as np

    from asa import report
    from asa.volume import write_volume

    started = time.perf_counter()
    task = TASKS[request.task]
    titles = {modality.key: modality.title for modality in task.modalities}
    unused = [key for key in request.images if key not in inputs]
    warnings = [*result.warnings, *(_UNUSED.format(settings["model"], titles[key]) for key in unused)]
    write_volume(result.labels, staging / LABEL_MAP)
    writing = writer.writing(staging / LABEL_MAP, task, staging / SEGMENTS) if writer else nullcontext(list[str]())
    with writing as unwritten:
        measurements = report.measure(result.labels, result.brain, task, result.alignment)
        if request.posterior and result.posterior is not None:
            write_posterior(staging, task, result.image, result.posterior)
        report.write_volumes(measurements, staging / TABLE, staging / VOLUMES)
        report.write_overlay(
            staging / OVERLAY,
            result.image,
            result.labels,
            result.brain,
            task,
            measurements,
            caption=f"on {titles[result.reference]}, model {settings['model']}",
            warnings=warnings,
        )
    warnings += unwritten
    warnings += report.write_extras(staging, request, result, measurements, warnings)
    return report.build_report(
        task=task,
        model={"name": settings["model"], "version": result.model.description.version or None},
        settings=settings,
        inputs=inputs,
        device=result.device,
        grid=result.labels.grid,
        alignment=result.alignment,
        series=result.series,
        reference=result.reference,
        trust={"verdict": result.trust.verdict, "reasons": list(result.trust.reasons)},
        measurements=measurements,
        brain_ml=float(np.count_nonzero(result.brain.array)) * result.brain.grid.voxel_volume_ml or None,
        timings={**result.timings, "writing": time.perf_counter() - started},
        warnings=warnings,
        outputs={path.name: sha256(path) for path in staging.iterdir()},
    )


def write_posterior(staging: Path, task: Task, image: Volume, posterior: npt.NDArray[np.float16]) -> None:
    """Write the probability of each label, and the uncertainty: the entropy of all classes divided by its maximum.

    `posterior` is (K, T, H, W): background, then the labels in the task's order. Values are rounded to 1/256, because
    finer steps are noise that does not compress.
    """
    import numpy as np

    from asa.volume import write_volume

    entropy = np.zeros(posterior.shape[1:], np.float32)
    for number, probability in enumerate(posterior.astype(np.float32)):
        entropy -= probability * np.log(np.maximum(probability, 1e-6))
        if number:
            path = staging / posterior_name(task.labels[number - 1])
            write_volume(image.with_array(np.round(probability * 256) / 256), path)
    entropy /= np.log(len(posterior))
    write_volume(image.with_array(np.round(entropy * 256) / 256), staging / _UNCERTAINTY)


def _read_request(path: Path) -> tuple[SegmentRequest, tuple[Path, bool]]:
    return read_request(path, lambda fields: (Path(fields.pop("output")), bool(fields.pop("segmentation_file", True))))


def perform(reporter: Reporter, path: Path, segment: Segment | None = None) -> Finished:
    """Run the request in a file, and report its progress; its warnings and its end are for :func:`report_done`.

    Args:
        reporter: sends the events.
        path: the request.
        segment: replaces :func:`asa.inference.segment`.

    Raises:
        AsaError: see :func:`run`.
    """
    request, (folder, segmentation_file) = _read_request(path)
    show = reporter.progress
    return run(request, folder, overwrite=True, segmentation_file=segmentation_file, progress=show, segment=segment)


def report_done(reporter: Reporter, finished: Finished) -> None:
    """Report the warnings of a result folder, and that it is complete."""
    for warning in finished.warnings:
        reporter.send(events.Warned(warning))
    folder = finished.folder
    files = {name: str(folder / name) for name in (*finished.report["files"], REPORT)}
    reporter.send(events.Reported("done", {"folder": str(folder), "files": files}))


def main(arguments: list[str] | None = None) -> int:
    """Run the request in a file.

    Args:
        arguments: the command line, one file name; None for that of the process.

    Returns:
        The exit code.
    """
    return run_request(
        "asa.jobs.segment", lambda reporter, path: report_done(reporter, perform(reporter, path)), arguments
    )


if __name__ == "__main__":
    sys.exit(main())
