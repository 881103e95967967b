"""Batches: find the cases, run each, and continue after a failure."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from asa.cohort import bids
from asa.cohort.bids import Case as Case
from asa.cohort.workers import run_in_processes
from asa.errors import AsaError, Cancelled, InputError
from asa.files import protect_others, read_json, write_json, write_text
from asa.image_names import image_stem, is_image_name
from asa.jobs.segment import Finished, Segment
from asa.jobs.segment import run as run_job
from asa.program import explain
from asa.request import SegmentRequest
from asa.tasks import Modality

SUMMARY, TABLE = "summary.json", "volumes.tsv"
_TABLE_BEGINS = "case\tstatus\ttrust"
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


def find_cases(
    inputs: Sequence[Path], modalities: Sequence[Modality], choices: Mapping[str, str] | None = None
) -> list[Case]:
    """Find the cases in images, folders of images, BIDS folders and DICOM files or folders.

    Images that are named as in BIDS are grouped by session, see :mod:`asa.cohort.bids`; sessions without a required
    modality are omitted. A folder without such images is searched for DICOM files, which are one head
    (:mod:`asa.cohort.dicom_heads`).

    Args:
        inputs: images and folders.
        modalities: those of the model; a single image is taken for the first required one.
        choices: modality key -> DICOM series, where tags are not to decide.

    Returns:
        The cases, with distinct names.

    Raises:
        InputError: a path does not exist, or a folder holds no image.
        DependencyError: there are DICOM files, and pydicom is not installed.
    """
    first = next((modality for modality in modalities if modality.required), modalities[0])
    found: list[Case] = []
    files: dict[Path, list[Path]] = {}  # of DICOM, by their folder
    folders: dict[int, Path] = {}  # of the heads that are DICOM, by their place among the cases

    def add_dicom(folder: Path, among: Collection[Path] = ()) -> bool:
        from asa.cohort.dicom_heads import find_head  # here: it takes a second to import

        if (head := find_head(folder, modalities, choices or {}, among)) is None:
            return False
        folders[len(found)] = folder
        found.append(head)
        return True

    for path in inputs:
        if path.is_dir():
            members = bids.find_sessions(path, modalities)
            members += [] if bids.is_tree(path) else _images(path, first)
            if not members and not add_dicom(path):
                raise InputError(f"The folder {path} contains no {first.title} image in a supported format.")
            found += members
        elif not path.exists():
            raise InputError(f"The image {path} does not exist.")
        elif not is_image_name(path) and _is_dicom(path):
            files.setdefault(path.parent, []).append(path)
        else:
            found.append(Case(image_stem(path), {first.key: path}))
    for folder, among in files.items():
        add_dicom(folder, among)
    if choices and not folders:
        raise InputError("--series chooses among DICOM series; the images given are not DICOM.")
    names = Counter(case.name for case in found)
    for place, folder in folders.items():
        if names[found[place].name] > 1:  # as often as exports are called "DICOM"
            from asa.cohort.dicom_heads import longer_name

            found[place] = replace(found[place], name=longer_name(found[place].name, folder))
    plain = [(_UNPRINTABLE.sub("_", case.name), case.images) for case in found]
    return [replace(case, name=name) for case, name in zip(found, distinct(plain), strict=True)]


def parse_choices(words: Sequence[str], keys: Sequence[str]) -> dict[str, str]:
    """Read the values of ``--series``: KEY=WHICH, or WHICH where the model sees one modality.

    Args:
        words: as they were given.
        keys: modality keys that the model sees, the required ones first.

    Returns:
        Modality key -> which series.

    Raises:
        InputError: a key is unknown or missing, or given twice.
    """
    found: dict[str, str] = {}
    for word in words:
        key, equals, which = word.partition("=")
        if not equals:
            key, which = keys[0], word
        if key not in keys or not which.strip() or key in found:
            raise InputError(
                f"--series takes one series per modality ({', '.join(keys)}), as in {keys[0]}=2; not {word!r}."
            )
        found[key] = which.strip()
    return found


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
        segment: as in :func:`asa.jobs.segment.run`.

    Raises:
        AsaError: see :func:`asa.jobs.segment.run`.
    """
    asked = replace(request, images=case.usable_images())
    return run_job(asked, output / case.name, overwrite=overwrite, segment=segment)


def in_order(outcomes: Iterable[Outcome], cases: Sequence[Case]) -> list[Outcome]:
    """Return outcomes in the order of their cases, whichever ended first."""
    place = {case.name: number for number, case in enumerate(cases)}
    return sorted(outcomes, key=lambda outcome: place[outcome.case.name])


def protect_summary(path: Path) -> None:
    """Refuse to replace a file that is not the summary, or the table next to it, of an earlier batch.

    Args:
        path: the summary.

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
    try:
        with path.with_name(TABLE).open(encoding="utf-8") as stream:
            ours = stream.readline().startswith(_TABLE_BEGINS)
    except (OSError, ValueError):
        ours = False
    if not ours:
        protect_others([path.with_name(TABLE)])


def write_summary(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Write the outcome of each case as JSON, and next to it the volumes of all as a table.

    Args:
        path: the summary.
        outcomes: of all cases.

    Raises:
        OutputError: a file cannot be written.
    """
    rows = [
        {
            "case": outcome.case.name,
            "images": {key: outcome.case.series.get(key, path.name) for key, path in outcome.case.images.items()},
            "status": outcome.status,
            "seconds": round(outcome.seconds, 1),
            "error": str(outcome.error) if outcome.error else None,
            "exit_code": outcome.error.exit_code if outcome.error else 0,
            "warnings": outcome.finished.warnings if outcome.finished else [],
        }
        for outcome in outcomes
    ]
    write_json(path, {"schema_version": 1, "cases": rows})
    write_text(path.with_name(TABLE), _table(outcomes))


def _table(outcomes: Sequence[Outcome]) -> str:
    """Return one row per case, volumes in mL, "n/a" for what is not known, as in the tables of BIDS."""
    measured: dict[str, dict[str, object]] = {}
    columns: dict[str, None] = {}
    for outcome in outcomes:
        rows = outcome.finished.report.get("volumes", []) if outcome.finished else []
        cells = measured[outcome.case.name] = {}
        for row in rows:
            name = re.sub(r"\W+", "_", str(row["name"]))
            cells[f"{name}_ml"] = row["volume_ml"]
            cells[f"{name}_left_ml"], cells[f"{name}_right_ml"] = row["left_ml"], row["right_ml"]
            cells[f"{name}_asymmetry_percent"] = row["asymmetry_percent"]
        columns.update(dict.fromkeys(cells))
    lines = ["\t".join((*_TABLE_BEGINS.split("\t"), *columns))]
    for outcome in outcomes:
        report = outcome.finished.report if outcome.finished else {}
        verdict = report.get("trust", {}).get("verdict", "n/a")
        cells = measured[outcome.case.name]
        values = ("n/a" if cells.get(column) is None else str(cells[column]) for column in columns)
        lines.append("\t".join((outcome.case.name, outcome.status, verdict, *values)))
    return "\n".join(lines) + "\n"


def _is_dicom(path: Path) -> bool:
    from asa.volume.dicom.headers import is_dicom  # here: it takes a second to import

    return is_dicom(path)


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
