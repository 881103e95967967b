"""Batches: find the cases, run each, and continue after a failure."""

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
    """One head: the name of its result folder, and its image for each modality."""

    name: str
    images: dict[str, Path]


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

    In a BIDS folder, the images of one session whose names differ only in the modality form a case; cases without a
    required modality are omitted.

    Args:
        inputs: images and folders.
        modalities: those of the model; a single image is taken for the first required one.

    Returns:
        The cases, with distinct names.

    Raises:
        InputError: a path does not exist, or a folder holds no image.
    """
    first = next((modality for modality in modalities if modality.required), modalities[0])
    found: list[tuple[str, dict[str, Path]]] = []
    for path in inputs:
        if path.is_dir():
            members = list(_bids(path, modalities) if _is_bids(path) else _images(path, first))
            if not members:
                raise InputError(f"The folder {path} contains no {first.title} image in a supported format.")
            found += members
        elif path.exists():
            found.append((image_stem(path), {first.key: path}))
        else:
            raise InputError(f"The image {path} does not exist.")
    return [Case(name, images) for name, (_, images) in zip(distinct(found), found, strict=True)]


def omitted_subjects(inputs: Sequence[Path], cases: Sequence[Case]) -> list[str]:
    """Return the subjects, or sessions, in BIDS folders that contributed no image to a case."""
    used = {parent for case in cases for image in case.images.values() for parent in image.parents}
    missing: list[str] = []
    for folder in (path for path in inputs if path.is_dir() and _is_bids(path)):
        for subject in (path for path in sorted(folder.glob("sub-*")) if path.is_dir()):
            parts = [path for path in sorted(subject.glob("ses-*")) if path.is_dir()] or [subject]
            missing += [str(part.relative_to(folder)) for part in parts if part not in used]
    return missing


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
        except AsaError as error:
            yield Outcome(case, "failed", time.monotonic() - started, error=error)
        except Exception as error:  # one bad case must not end a long batch
            wrapped = AsaError(f"Unexpected error: {type(error).__name__}: {error}")
            wrapped.__cause__ = error
            yield Outcome(case, "failed", time.monotonic() - started, error=wrapped)
        else:
            status = "reused" if finished.reused else "done"
            yield Outcome(case, status, time.monotonic() - started, finished=finished)


def protect_summary(path: Path) -> None:
    """Refuse to replace a file that is not the summary of an earlier batch.

    Raises:
        OutputError: such a file is in the way.
    """
    try:
        cases = json.loads(path.read_text(encoding="utf-8"))["cases"]
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
    """Yield the images with the BIDS suffix of a modality; a contrast-enhanced T1w is not a T1w.

    The contrast agent (``ce-…``) may have any name and need not be the last entity.
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
    # A dangling link (data not downloaded) counts, so that its case fails instead of being silently omitted.
    there = path.is_file() or (path.is_symlink() and not path.exists())
    return there and is_image_name(path)


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
