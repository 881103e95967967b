"""Many scans in one go: finding the cases, running each, going on after a failure."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from asa.errors import AsaError, Cancelled, InputError
from asa.files import protect_others, write_json
from asa.image_names import image_stem, is_image_name
from asa.job import Finished
from asa.tasks import Modality

SUMMARY = "summary.json"
_SUBJECT = re.compile(r"sub-[A-Za-z0-9]+$")
_AGENT = re.compile(r"_ce-[A-Za-z0-9]+")


@dataclass(frozen=True)
class Case:
    """One head: the name of its output folder and its image for each modality."""

    name: str
    images: dict[str, Path]


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

    `modalities` are those the model sees. An image given by itself is of the first that it requires. In a BIDS folder,
    images of one session under the same name, but for the modality, are a case; those without a required one are left
    out.
    Raises InputError when a path does not exist or holds no image.
    """
    first = next((modality for modality in modalities if modality.required), modalities[0])
    found: list[tuple[str, dict[str, Path]]] = []
    for path in inputs:
        if path.is_dir():
            members = list(_bids(path, modalities) if _is_bids(path) else _images(path, first))
            if not members:
                raise InputError(f"The folder {path} holds no {first.title} image that can be read.")
            found += members
        elif path.exists():
            found.append((image_stem(path), {first.key: path}))
        else:
            raise InputError(f"There is no image {path}.")
    return [Case(name, images) for name, (_, images) in zip(distinct(found), found, strict=True)]


def left_out(inputs: Sequence[Path], cases: Sequence[Case]) -> list[str]:
    """The subjects, or their sessions, in the BIDS folders among `inputs` of which no image is in a case."""
    used = {parent for case in cases for image in case.images.values() for parent in image.parents}
    missing: list[str] = []
    for folder in (path for path in inputs if path.is_dir() and _is_bids(path)):
        for subject in (path for path in sorted(folder.glob("sub-*")) if path.is_dir()):
            parts = [path for path in sorted(subject.glob("ses-*")) if path.is_dir()] or [subject]
            missing += [str(part.relative_to(folder)) for part in parts if part not in used]
    return missing


def run_cases(cases: Iterable[Case], run: Callable[[Case], Finished]) -> Iterator[Outcome]:
    """Runs `run` on each case and yields what became of it; only Cancelled ends the batch."""
    for case in cases:
        started = time.monotonic()
        try:
            finished = run(case)
        except Cancelled:
            raise
        except AsaError as error:
            yield Outcome(case, "failed", time.monotonic() - started, error=error)
        except Exception as error:  # one broken head must not cost the night's other nine hundred
            wrapped = AsaError(f"Unexpected error: {type(error).__name__}: {error}")
            wrapped.__cause__ = error
            yield Outcome(case, "failed", time.monotonic() - started, error=wrapped)
        else:
            status = "reused" if finished.reused else "done"
            yield Outcome(case, status, time.monotonic() - started, finished=finished)


def protect_summary(path: Path) -> None:
    """Refuse to replace a file that is not the summary of an earlier batch. Raises OutputError."""
    try:
        cases = json.loads(path.read_text(encoding="utf-8"))["cases"]
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
            "status": outcome.status,
            "seconds": round(outcome.seconds, 1),
            "error": str(outcome.error) if outcome.error else None,
            "exit_code": outcome.error.exit_code if outcome.error else 0,
            "warnings": outcome.finished.warnings if outcome.finished else [],
        }
        for outcome in outcomes
    ]
    write_json(path, {"schema_version": 1, "cases": rows})


def _is_bids(folder: Path) -> bool:
    names = (child.name for child in folder.iterdir() if child.is_dir())
    return (folder / "dataset_description.json").exists() or any(_SUBJECT.match(name) for name in names)


def _bids(folder: Path, modalities: Sequence[Modality]) -> Iterator[tuple[str, dict[str, Path]]]:
    candidates = [*folder.glob("sub-*/anat/*"), *folder.glob("sub-*/ses-*/anat/*")]
    cases: dict[tuple[Path, str], dict[str, Path]] = {}
    for modality in modalities:
        for image in sorted(_of_modality(candidates, modality)):
            name = _AGENT.sub("", image_stem(image)).rpartition("_")[0]
            cases.setdefault((image.parent, name), {}).setdefault(modality.key, image)
    for (_, name), images in sorted(cases.items()):
        if all(modality.key in images for modality in modalities if modality.required):
            yield name, images


def _of_modality(paths: Iterable[Path], modality: Modality) -> Iterator[Path]:
    """Images whose BIDS name ends as the modality's; a contrast-enhanced T1w is not a T1w.

    Whatever the agent is called, and also where other parts (run-1) stand behind it.
    """
    enhanced, suffix = modality.bids.startswith("ce-"), modality.bids.rpartition("_")[2]
    for path in paths:
        stem = image_stem(path)
        if _is_image(path) and stem.endswith(f"_{suffix}") and bool(_AGENT.search(stem)) == enhanced:
            yield path


def _images(folder: Path, modality: Modality) -> Iterator[tuple[str, dict[str, Path]]]:
    for path in sorted(folder.iterdir()):
        if _is_image(path):
            yield image_stem(path), {modality.key: path}


def _is_image(path: Path) -> bool:
    # A link to nothing (a data set not fetched) counts: its head is to fail, not to be missing without a word.
    there = path.is_file() or (path.is_symlink() and not path.exists())
    return there and is_image_name(path)


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
