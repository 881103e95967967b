"""Many scans in one go: finding the cases, running each, going on after a failure."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from asa import bids
from asa.errors import AsaError, Cancelled, InputError
from asa.files import protect_others, read_json, write_json
from asa.image_names import image_stem
from asa.job import Finished
from asa.program import explain
from asa.tasks import Modality

SUMMARY = "summary.json"
# A line break in a name would break every list of names.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


@dataclass(frozen=True)
class Case:
    """One head: the name of its output folder, its image for each modality, and why these where there were others."""

    name: str
    images: dict[str, Path]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What became of a case: "done", "reused" (it was done before) or "failed" with the error."""

    case: Case
    status: str
    seconds: float
    finished: Finished | None = None
    error: AsaError | None = None


def find_cases(inputs: Sequence[Path], modalities: Sequence[Modality]) -> list[Case]:
    """The cases in a list of images, folders of images and BIDS folders, named apart from one another.

    `modalities` are those the model sees. An image given by itself is of the first that it requires. Images that are
    named as BIDS names them are grouped by session, see :mod:`asa.bids`; sessions without a required one are left out.
    Raises InputError when a path does not exist or holds no image.
    """
    first = next((modality for modality in modalities if modality.required), modalities[0])
    found: list[Case] = []
    for path in inputs:
        if path.is_dir():
            members = [Case(one.name, one.images, one.notes) for one in bids.find_sessions(path, modalities)]
            members += [] if bids.is_tree(path) else _images(path, first)
            if not members:
                raise InputError(f"The folder {path} holds no {first.title} image that can be read.")
            found += members
        elif path.exists():
            found.append(Case(image_stem(path), {first.key: path}))
        else:
            raise InputError(f"There is no image {path}.")
    plain = [(_UNPRINTABLE.sub("_", case.name), case.images) for case in found]
    return [replace(case, name=name) for case, name in zip(found, distinct(plain), strict=True)]


def left_out(inputs: Sequence[Path], cases: Sequence[Case]) -> list[str]:
    """The subjects or sessions in the folders among `inputs` of which no image is in a case."""
    used = [image for case in cases for image in case.images.values()]
    return [name for folder in inputs if folder.is_dir() for name in bids.left_out(folder, used)]


def run_cases(cases: Iterable[Case], run: Callable[[Case], Finished]) -> Iterator[Outcome]:
    """Runs `run` on each case and yields what became of it; only Cancelled ends the batch."""
    for case in cases:
        started = time.monotonic()
        try:
            finished = run(case)
        except Cancelled:
            raise
        except Exception as error:  # one broken head must not cost the night's other nine hundred
            yield Outcome(case, "failed", time.monotonic() - started, error=explain(error))
        else:
            status = "reused" if finished.reused else "done"
            yield Outcome(case, status, time.monotonic() - started, finished=finished)


def protect_summary(path: Path) -> None:
    """Refuse to replace a file that is not the summary of an earlier batch. Raises OutputError."""
    try:
        cases = read_json(path)["cases"]
        ours = all({"case", "status", "exit_code"} <= set(case) for case in cases)
    except (OSError, ValueError, LookupError, TypeError):
        ours = False
    if not ours:
        protect_others([path])


def write_summary(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Writes what became of each case as JSON. Raises OutputError."""
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
    """Names for output folders: a name that occurs twice gets the folder of its image in front, then a number.

    The folder comes first, because then a case keeps its name when the list grows or is sorted otherwise.
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
