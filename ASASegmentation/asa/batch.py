"""Batches: find the cases, run each, and continue after a failure."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from asa import bids
from asa.bids import Case as Case
from asa.errors import AsaError, Cancelled, InputError
from asa.files import protect_others, read_json, write_json
from asa.image_names import image_stem
from asa.job import Finished, Segment
from asa.job import run as run_job
from asa.program import explain
from asa.request import SegmentRequest
from asa.tasks import Modality
from asa.workers import run_in_processes

SUMMARY = "summary.json"
# A line break in a name would break every list of names.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


@dataclass(frozen=True)
class Outcome:
    """Outcome of a case: "done", "reused" (an up-to-date result existed) or "failed" with the error."""

    case: Case
    status: str
    seconds: float
    finished: Finished | None = None
    error: AsaError | None = None


def find_cases(inputs: Sequence[Path], modalities: Sequence[Modality]) -> list[Case]:
    """Find the cases in images, folders of images and BIDS folders.

    Images that are named as in BIDS are grouped by session, see :mod:`asa.bids`; sessions without a required modality
    are omitted.

    Args:
        inputs: images and folders.
        modalities: those of the model; a single image is taken for the first required one.

    Returns:
        The cases, with distinct names.

    Raises:
        InputError: a path does not exist, or a folder holds no image.
    """
    first = next((modality for modality in modalities if modality.required), modalities[0])
    found: list[Case] = []
    for path in inputs:
        if path.is_dir():
            members = bids.find_sessions(path, modalities)
            members += [] if bids.is_tree(path) else _images(path, first)
            if not members:
                raise InputError(f"The folder {path} contains no {first.title} image in a supported format.")
            found += members
        elif path.exists():
            found.append(Case(image_stem(path), {first.key: path}))
        else:
            raise InputError(f"The image {path} does not exist.")
    plain = [(_UNPRINTABLE.sub("_", case.name), case.images) for case in found]
    return [replace(case, name=name) for case, name in zip(found, distinct(plain), strict=True)]


def omitted_subjects(inputs: Sequence[Path], cases: Sequence[Case]) -> list[str]:
    """Return the subjects, or sessions, in folders of BIDS images that contributed no image to a case."""
    used = [image for case in cases for image in case.images.values()]
    return [name for folder in inputs if folder.is_dir() for name in bids.omitted_subjects(folder, used)]


def run_cases(cases: Iterable[Case], run: Callable[[Case], Finished]) -> Iterator[Outcome]:
    """Run each case and yield its outcome; a failed case does not end the batch.

    Raises:
        Cancelled: as soon as ``run`` does.
    """
    for case in cases:
        started = time.monotonic()
        try:
            finished = run(case)
        except Cancelled:
            raise
        except Exception as error:  # one bad case must not end a long batch
            yield Outcome(case, "failed", time.monotonic() - started, error=explain(error))
        else:
            status = "reused" if finished.reused else "done"
            yield Outcome(case, status, time.monotonic() - started, finished=finished)


def run_cases_in_processes(cases: Iterable[Case], run: Callable[[Case], Finished], jobs: int) -> Iterator[Outcome]:
    """Run the cases in ``jobs`` processes and yield each outcome as soon as it is known, in the order of their ends.

    Args:
        cases: what to run.
        run: as :func:`segment_case` with its other arguments bound by ``functools.partial``; it is sent to processes.
        jobs: how many processes.

    Raises:
        Cancelled: on KeyboardInterrupt.
    """
    for answer in run_in_processes(cases, run, jobs):
        status = "failed" if answer.result is None else "reused" if answer.result.reused else "done"
        yield Outcome(answer.case, status, answer.seconds, answer.result, answer.error)


def segment_case(
    case: Case,
    *,
    request: SegmentRequest,
    output: Path,
    overwrite: bool = False,
    segment: Segment | None = None,
) -> Finished:
    """Segment one case of a batch into its folder; the function that processes, clusters and schedulers call.

    Args:
        case: the head.
        request: the settings; its images are not used.
        output: folder of the batch.
        overwrite: whether to replace an intact result.
        segment: as in :func:`asa.job.run`.

    Raises:
        AsaError: see :func:`asa.job.run`.
    """
    asked = replace(request, images=case.images)
    return run_job(asked, output / case.name, overwrite=overwrite, segment=segment)


def in_order(outcomes: Iterable[Outcome], cases: Sequence[Case]) -> list[Outcome]:
    """Return outcomes in the order of their cases, whichever ended first."""
    place = {case.name: number for number, case in enumerate(cases)}
    return sorted(outcomes, key=lambda outcome: place[outcome.case.name])


def protect_summary(path: Path) -> None:
    """Refuse to replace a file that is not the summary of an earlier batch.

    Raises:
        OutputError: such a file is in the way.
    """
    try:
        cases = read_json(path)["cases"]
        ours = all({"case", "status", "exit_code"} <= set(case) for case in cases)
    except (OSError, ValueError, LookupError, TypeError):
        ours = False
    if not ours:
        protect_others([path])


def write_summary(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Write the outcome of each case as JSON.

    Raises:
        OutputError: the file cannot be written.
    """
    rows = [
        {
            "case": outcome.case.name,
            "images": {key: path.name for key, path in outcome.case.images.items()},
            "status": outcome.status,
            "seconds": round(outcome.seconds, 1),
            "error": str(outcome.error) if outcome.error else None,
            "exit_code": outcome.error.exit_code if outcome.error else 0,
            "warnings": outcome.finished.warnings if outcome.finished else [],
        }
        for outcome in outcomes
    ]
    write_json(path, {"schema_version": 1, "cases": rows})


def _images(folder: Path, modality: Modality) -> Iterator[Case]:
    for path in sorted(folder.iterdir()):
        if bids.is_image(path) and not bids.is_named(path):
            yield Case(image_stem(path), {modality.key: path})


def distinct(found: Sequence[tuple[str, dict[str, Path]]]) -> list[str]:
    """Return distinct names of result folders: duplicates are prefixed by the folder of their image, then numbered.

    The folder is preferred, because the name then does not depend on the order or number of cases.

    Args:
        found: name and images (modality -> file) of each case.
    """
    occurrences = Counter(name for name, _ in found)
    names: list[str] = []
    used: set[str] = set()
    for name, images in found:
        if occurrences[name] > 1:
            name = f"{next(iter(images.values())).resolve().parent.name}_{name}"
        candidate, number = name, 2
        while candidate in used:
            candidate, number = f"{name}_{number}", number + 1
        used.add(candidate)
        names.append(candidate)
    return names
