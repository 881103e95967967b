"""One segmentation from request to finished folder, and the program that 3D Slicer runs for it.

    python -m asa.job request.json

The request is a JSON object: `images` (modality -> file), `output` (folder) and, when they differ from the defaults,
the other fields of `SegmentRequest` and `segmentation_file` (whether to write segmentation.seg.nrrd; true). Standard
output carries one JSON object a line: progress, warning, done or error. Standard error is for people. The exit code
is that of the error, 0 after `done`, 130 after Ctrl-C or SIGTERM.

Needs the standard library and the engine only.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asa.errors import Cancelled, InputError, OutputError
from asa.files import alone_with, write_json
from asa.program import Progress, Reporter, memory_errors, reported
from asa.tasks import TASKS, Task

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from asa.inference import SegmentRequest, SegmentResult
    from asa.models import ModelFolder
    from asa.volume import Volume

Segment = Callable[["SegmentRequest", "Progress | None"], "SegmentResult"]

REPORT = "report.json"
_SEGMENTS = "segmentation.seg.nrrd"
_STAGING, _LOCK = ".asa-partial", ".asa-lock"
_UNUSED = "The model '{}' does not look at the {} image."
_SEGMENTING = 0.92  # share of the whole that segmenting takes; writing is the rest


@dataclass(frozen=True)
class Finished:
    """A finished folder: its report.json, and whether it was there already (`reused`)."""

    folder: Path
    report: dict[str, Any]
    reused: bool = False


def run(
    request: SegmentRequest,
    folder: Path,
    *,
    overwrite: bool = False,
    segmentation_file: bool = True,
    progress: Progress | None = None,
    segment: Segment | None = None,
) -> Finished:
    """Segments and writes segmentation.nii.gz, segmentation.seg.nrrd, volumes.csv, volumes.json, overlay.png and
    report.json into `folder`; with `request.posterior` also posterior_<label>.nii.gz and uncertainty.nii.gz.

    All or nothing: the files are made in a hidden folder inside it and moved at the end, report.json last, so a
    folder with a report.json is complete. A folder made by the same model from the same images and settings is
    left as it is, unless `overwrite`.

    Raises InputError, OutputError, ModelError, ResourceError; Cancelled on KeyboardInterrupt.
    """
    from asa.models import find_model

    _check(request)
    model = find_model(request.model, request.task)
    settings = _settings(request, model)
    looked_at = [key for key in request.images if key in model.modalities or key == request.reference]
    inputs = {key: _sha256(Path(request.images[key])) for key in looked_at}
    # Whoever installs slicer-core because a warning said so gets the file the next time.
    wanted = {_SEGMENTS} if segmentation_file and importlib.util.find_spec("slicer") else set()
    if not overwrite and (report := _matching_report(folder, settings, inputs, wanted)) is not None:
        return Finished(folder, report, reused=True)
    progress = progress or _silent
    try:
        with _staging(folder) as staging, memory_errors():
            result = (segment or _engine())(request, lambda stage, done: progress(stage, _SEGMENTING * done))
            progress("writing", _SEGMENTING)
            report = _write(staging, request, result, settings, inputs, segmentation_file)
            _publish(staging, folder, report)
    except KeyboardInterrupt:
        raise Cancelled("Cancelled; nothing was written.") from None
    progress("done", 1.0)
    return Finished(folder, report)


def _silent(stage: str, fraction: float) -> None:
    pass


def _engine() -> Segment:
    from asa.inference import segment  # torch is imported here and not before

    return segment


def _check(request: SegmentRequest) -> None:
    if (task := TASKS.get(request.task)) is None:
        raise InputError(f"There is no task '{request.task}'; the tasks are {', '.join(TASKS)}.")
    known = [modality.key for modality in task.modalities]
    for modality, path in request.images.items():
        if modality not in known:
            raise InputError(f"The task '{task.name}' takes {', '.join(known)} images, no '{modality}'.")
        if not Path(path).exists():  # of those too that the model will not look at
            raise InputError(f"The file {path} cannot be read: there is no such file.")


def _settings(request: SegmentRequest, model: ModelFolder) -> dict[str, Any]:
    """What decides the result besides the images; two runs that agree in it give the same result."""
    return {
        "task": request.task,
        "model": model.name,
        "model_sha256": _model_sha256(model.path),
        "align": request.align,
        "reference": request.reference,
        "threshold": request.threshold,
        "tta": bool(model.info.get("flip_averaging", False)) if request.tta is None else request.tta,
        "posterior": request.posterior,
    }


@functools.lru_cache(maxsize=4)
def _model_sha256(folder: Path) -> str:
    from asa.models import DESCRIPTION, WEIGHTS

    digests = [_sha256(folder / name) for name in (DESCRIPTION, WEIGHTS) if (folder / name).is_file()]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise InputError(f"The file {path} cannot be read: {error.strerror or error}.") from error
    return digest.hexdigest()


def _matching_report(
    folder: Path, settings: dict[str, Any], inputs: dict[str, str], wanted: set[str]
) -> dict[str, Any] | None:
    """The report of a complete folder with these settings and inputs, whose files are all still there."""
    try:
        report: dict[str, Any] = json.loads((folder / REPORT).read_text(encoding="utf-8"))
        same = report["settings"] == settings and {m: i["sha256"] for m, i in report["inputs"].items()} == inputs
        return report if same and all((folder / name).is_file() for name in {*report["files"], *wanted}) else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


@contextlib.contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """A hidden folder inside `folder`, gone afterwards; `folder` too, if it was made here and nothing came of it.

    The lock beside it lets only one process in: two that shared it would mix their files, or take them from each other.
    """
    existed = folder.exists()
    staging = folder / _STAGING
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not existed:
                stack.callback(_remove_empty, folder)
            if not stack.enter_context(alone_with(folder / _LOCK)):
                raise OutputError(f"Another run is writing into the folder {folder}.")
            shutil.rmtree(staging, ignore_errors=True)  # left by a run that was killed
            staging.mkdir()
        except OSError as error:
            raise OutputError(f"The folder {folder} cannot be written to: {error.strerror or error}.") from error
        stack.callback(shutil.rmtree, staging, ignore_errors=True)
        yield staging


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def _write(
    staging: Path,
    request: SegmentRequest,
    result: SegmentResult,
    settings: dict[str, Any],
    inputs: dict[str, str],
    segmentation_file: bool,
) -> dict[str, Any]:
    """Writes everything but report.json into `staging` and returns the report."""
    from asa import report
    from asa.devices import choose_device
    from asa.volume import write_volume

    started = time.perf_counter()
    task = TASKS[request.task]
    titles = {modality.key: modality.title for modality in task.modalities}
    unused = [key for key in request.images if key not in inputs]
    warnings = [*result.warnings, *(_UNUSED.format(settings["model"], titles[key]) for key in unused)]
    measurements = report.measure(result.labels, result.brain, task, result.alignment)
    write_volume(result.labels, staging / "segmentation.nii.gz")
    if result.posterior is not None:
        _write_posterior(staging, task, result.image, result.posterior)
    report.write_volumes(measurements, staging / "volumes.csv", staging / "volumes.json")
    report.write_overlay(
        staging / "overlay.png",
        result.image,
        result.labels,
        result.brain,
        task,
        measurements,
        caption=f"on {titles[result.reference]}, model {settings['model']}",
        warnings=warnings,
    )
    if segmentation_file:
        warning = report.write_segmentation_file(staging / "segmentation.nii.gz", task, staging / _SEGMENTS)
        warnings += [warning] if warning else []
    return report.build_report(
        task=task,
        model={"name": settings["model"], "version": result.model.info.get("version")},
        settings=settings,
        inputs=inputs,
        device=str(choose_device(request.device)),
        grid=result.labels.grid,
        alignment=result.alignment,
        series=result.series,
        reference=result.reference,
        trust={"verdict": result.trust.verdict, "reasons": list(result.trust.reasons)},
        measurements=measurements,
        timings={**result.timings, "writing": time.perf_counter() - started},
        warnings=warnings,
        files=[path.name for path in staging.iterdir()],
    )


def _write_posterior(staging: Path, task: Task, image: Volume, posterior: npt.NDArray[np.float16]) -> None:
    """Writes the probability of each label and the uncertainty, the entropy of all classes divided by its maximum.

    `posterior` is (K, T, H, W): background, then the labels in the task's order. The files hold steps of 1/256: finer
    ones are noise that does not compress.
    """
    import numpy as np

    from asa.volume import write_volume

    entropy = np.zeros(posterior.shape[1:], np.float32)
    for number, probability in enumerate(posterior.astype(np.float32)):
        entropy -= probability * np.log(np.maximum(probability, 1e-6))
        if number:
            name = task.labels[number - 1].name.replace(" ", "_")
            write_volume(image.with_array(np.round(probability * 256) / 256), staging / f"posterior_{name}.nii.gz")
    entropy /= np.log(len(posterior))
    write_volume(image.with_array(np.round(entropy * 256) / 256), staging / "uncertainty.nii.gz")


def _publish(staging: Path, folder: Path, report: dict[str, Any]) -> None:
    """Moves the finished files to their place: an older report goes first, as it is no longer true; ours comes last.

    So do the older report's files that are not made anew: probabilities beside another scan's labels would mislead.
    """
    write_json(staging / REPORT, report)
    try:
        for name in (REPORT, *(_files_of(folder) - {*report["files"]})):
            (folder / name).unlink(missing_ok=True)
        for name in (*report["files"], REPORT):
            (staging / name).replace(folder / name)
    except OSError as error:
        raise OutputError(f"The results cannot be moved into {folder}: {error.strerror or error}.") from error


def _files_of(folder: Path) -> set[str]:
    """The files that the report in a folder names, without a path; none where there is no such report."""
    try:
        names = json.loads((folder / REPORT).read_text(encoding="utf-8"))["files"]
        return {name for name in names if name == Path(name).name}
    except (OSError, ValueError, LookupError, TypeError):
        return set()


# --- the program ------------------------------------------------------------------------------------------------------


def _read_request(path: str) -> tuple[SegmentRequest, Path, bool]:
    from asa.inference import SegmentRequest

    try:
        fields = json.loads(Path(path).read_text(encoding="utf-8"))
        folder = Path(fields.pop("output"))
        segmentation_file = bool(fields.pop("segmentation_file", True))
        images = {modality: Path(image) for modality, image in fields.pop("images").items()}
        return SegmentRequest(images=images, **fields), folder, segmentation_file
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(f"The request {path} cannot be understood: {error}.") from error


def main(arguments: list[str] | None = None) -> int:
    """Runs one request file and returns the exit code."""
    words = sys.argv[1:] if arguments is None else arguments

    def segment(reporter: Reporter) -> None:
        if len(words) != 1:
            raise InputError("Usage: python -m asa.job request.json")
        request, folder, segmentation_file = _read_request(words[0])
        finished = run(request, folder, overwrite=True, segmentation_file=segmentation_file, progress=reporter.progress)
        for warning in finished.report["warnings"]:
            reporter.send("warning", message=warning)
        files = {name: str(folder / name) for name in (*finished.report["files"], REPORT)}
        reporter.send("done", folder=str(folder), files=files)

    return reported(segment)


if __name__ == "__main__":
    sys.exit(main())
