"""List the cases before preparing them: images, grid and problems of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from asa.data.cases import Dataset, LabelledCase, case_problems, repeated_names, shape_text
from asa.data.scans import find_scans
from asa.errors import InputError
from asa.tasks import TASKS
from asa.volume.header import read_grid


@dataclass(frozen=True)
class SurveyedCase:
    """One case. ``grid``: voxels and spacing of its first image; ``labels``: whether there is a label map."""

    name: str
    subject: str
    modalities: tuple[str, ...]
    labels: bool
    grid: str
    problems: tuple[str, ...]


def survey_scans(tree: Path) -> Iterator[SurveyedCase]:
    """Yield the scans that pre-training would be prepared from, those left out too; headers only are read.

    Raises:
        InputError: no such folder, or nothing in it is named as a T1-weighted scan.
    """
    scans, left_out = find_scans(tree)
    for scan in scans:
        try:
            grid, problems = shape_text(read_grid(tree / scan.path)), ()
        except InputError as error:
            yield SurveyedCase(scan.name, scan.subject, ("t1",), False, "", (str(error),))
        else:
            yield SurveyedCase(scan.name, scan.subject, ("t1",), False, grid, problems)
    for path, reason in left_out.items():
        yield SurveyedCase(path.name, "", ("t1",), False, "", (f"skipped: {reason}",))


def survey_cases(dataset: Dataset, root: Path, modalities: Sequence[str] = ()) -> Iterator[SurveyedCase]:
    """Yield the labelled cases that fine-tuning would be prepared from; label maps are read, of images the headers.

    Raises:
        InputError: nothing there, or nothing of this data set.
    """
    if not root.exists():
        raise InputError(f"{root} does not exist.")
    cases = dataset.find(root)
    if not cases:
        raise InputError(f"{root} contains no case of {dataset.title}; check the data set name and release.")
    known = [modality.key for modality in TASKS[dataset.task].modalities]
    if unknown := [key for key in modalities if key not in known]:
        raise InputError(f"Task '{dataset.task}' has no modality {', '.join(unknown)}; it has {', '.join(known)}.")
    repeated, wanted = repeated_names(cases), modalities or dataset.channels(cases)
    for case in cases:
        twice = [problem for problem in repeated if problem.startswith(f"{case.name}: ")]
        problems = (*twice, *case_problems(case, dataset, wanted))
        yield SurveyedCase(case.name, case.subject, tuple(case.images), case.labels is not None, _grid(case), problems)


def _grid(case: LabelledCase) -> str:
    try:
        return shape_text(read_grid(next(iter(case.images.values()))))
    except (InputError, StopIteration):
        return ""
