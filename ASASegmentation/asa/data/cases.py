"""Labelled cases: files, label values, and validation of both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from asa.errors import InputError
from asa.image_names import IMAGE_SUFFIXES
from asa.tasks import TASKS, Task
from asa.volume import Grid, read_volume
from asa.volume.header import read_grid

IGNORED = 255  # in converted label maps: belongs to nothing that is trained or scored
SAME_VOXEL = 0.05  # distance up to which voxels are the same, as part of a voxel: headers in text are rounded
SAME_ANGLE = 0.05  # degrees
SHOWN = 40  # problems spelled out; a folder of the wrong data set has thousands


@dataclass(frozen=True)
class LabelledCase:
    """One case of a data set, as found; :func:`check_cases` reports missing files.

    Attributes:
        name: unique in the data set.
        subject: whose head it is; cases of one subject never go to different sides of a split.
        images: modality key -> file.
        labels: manual label map, or None if it was not found.
    """

    name: str
    subject: str
    images: Mapping[str, Path]
    labels: Path | None


@dataclass(frozen=True)
class Dataset:
    """How a data set names its files and its labels.

    Attributes:
        name, title: as options and as sentences call it.
        task: key of :data:`asa.tasks.TASKS`.
        modalities: keys of the images every case must have.
        values: value in the label files -> value of the task; background (0) is understood. A release that gives
            another meaning to a value is another data set: the meaning never follows from which values occur.
        find: cases under a folder.
        ignored: values of label files that are neither background nor a label; predictions there are not scored.
        optional: keys of further images, which become channels too where every case has them.
        header_mm: distance up to which origins of images and labels may differ although their voxels correspond, as is
            known of this data set.
    """

    name: str
    title: str
    task: str
    modalities: tuple[str, ...]
    values: Mapping[int, int]
    find: Callable[[Path], list[LabelledCase]]
    ignored: tuple[int, ...] = ()
    optional: tuple[str, ...] = ()
    header_mm: float = 0.0

    def channels(self, cases: Sequence[LabelledCase]) -> tuple[str, ...]:
        """Modalities that every one of ``cases`` has, and those that it must have, in the order of the task."""
        shared = [key for key in self.optional if all(key in case.images for case in cases)]
        return tuple(m.key for m in TASKS[self.task].modalities if m.key in (*self.modalities, *shared))

    @property
    def known_values(self) -> tuple[int, ...]:
        """Every value that a label file may hold."""
        return (0, *sorted({*self.values, *self.ignored}))

    def to_task(self, labels: npt.NDArray[np.integer]) -> npt.NDArray[np.uint8]:
        """Return the values of the task, :data:`IGNORED` where nothing is scored.

        Raises:
            InputError: a value that this data set does not know.
        """
        found = np.unique(labels)
        if strange := self.strange_values(found.tolist()):
            raise InputError(strange)
        table = np.zeros(int(found.max()) + 1, np.uint8)
        for value in found:
            table[value] = IGNORED if value in self.ignored else self.values.get(int(value), 0)
        converted: npt.NDArray[np.uint8] = table[labels]
        return converted

    def strange_values(self, values: Iterable[int]) -> str:
        """Return a sentence when there are values outside the convention, naming them; empty otherwise."""
        strange = sorted(set(values) - set(self.known_values))
        if not strange:
            return ""
        shown = ", ".join(map(str, strange[:5])) + (", ..." if len(strange) > 5 else "")
        return f"labels contain {shown}; {self.title} defines {', '.join(map(str, self.known_values))}"


def generic_dataset(task: Task, find: Callable[[Path], list[LabelledCase]]) -> Dataset:
    """Any cases that are laid out as :mod:`asa.data.folder` says, with the label values of the task itself."""
    return Dataset(
        name=task.name,
        title=f"a folder or CSV of cases for task '{task.name}'",
        task=task.name,
        modalities=tuple(m.key for m in task.modalities if m.required),
        optional=tuple(m.key for m in task.modalities if not m.required),
        values={label.value: label.value for label in task.labels},
        find=find,
    )


def find_image(stem: Path) -> Path | None:
    """Return the image file whose name is ``stem`` and a known suffix."""
    for suffix in IMAGE_SUFFIXES:
        if (path := stem.with_name(stem.name + suffix)).is_file():
            return path
    return None


def find_images(stems: Mapping[str, Path]) -> dict[str, Path]:
    """Of modality -> stem, those for which there is an image."""
    found = {key: find_image(stem) for key, stem in stems.items()}
    return {key: path for key, path in found.items() if path is not None}


def load_dataset(dataset: Dataset, root: Path, modalities: Sequence[str] = ()) -> list[LabelledCase]:
    """Return the cases under ``root``, checked.

    Args:
        dataset: how they are named.
        root: folder of the data set (for the generic ones: a folder or a CSV).
        modalities: images every case must have; if empty the data set's own, and others that all cases have.

    Raises:
        InputError: nothing found; or one error that lists everything that is wrong with any case.
    """
    if not root.exists():
        raise InputError(f"{root} does not exist.")
    task = TASKS[dataset.task]
    known = [m.key for m in task.modalities]
    if unknown := [m for m in modalities if m not in known]:
        raise InputError(f"Task '{task.name}' has no modality {', '.join(unknown)}; it has {', '.join(known)}.")
    cases = dataset.find(root)
    if not cases:
        raise InputError(f"{root} contains no case of {dataset.title}; check the data set name and release.")
    check_cases(cases, dataset, modalities or dataset.channels(cases))
    return cases


def check_cases(cases: Sequence[LabelledCase], dataset: Dataset, modalities: Sequence[str]) -> None:
    """Look at every label map and every image's header.

    Raises:
        InputError: one error that lists all problems of all cases.
    """
    problems = repeated_names(cases)
    for case in cases:
        problems += [f"{case.name}: {problem}" for problem in case_problems(case, dataset, modalities)]
    raise_problems(problems, dataset.title)


def repeated_names(cases: Sequence[LabelledCase]) -> list[str]:
    """Return a clause for each name that several cases have."""
    counts = Counter(case.name for case in cases)
    return [f"{name}: {count} cases have this name" for name, count in counts.items() if count > 1]


def raise_problems(problems: Sequence[str], where: str) -> None:
    """Raise one InputError for all problems; nothing if there is none."""
    if not problems:
        return
    more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
    plural = "problem" if len(problems) == 1 else "problems"
    heading = f"{len(problems)} {plural} in {where}:"
    raise InputError(heading, [*problems[:SHOWN], *more])


def case_problems(case: LabelledCase, dataset: Dataset, modalities: Sequence[str]) -> Iterator[str]:
    """Yield everything that is wrong with a case, a clause each."""
    if missing := [key for key in modalities if key not in case.images]:
        yield f"no image of {', '.join(missing)}"
    grids: dict[str, Grid] = {}
    for key in modalities:
        if key in case.images:
            try:
                grids[key] = read_grid(case.images[key])
            except InputError as error:
                yield str(error)
    if case.labels is None:
        yield "no label map"
    else:
        try:
            labels = read_volume(case.labels, labels=True)
        except InputError as error:
            yield str(error)
        else:
            grids["labels"] = labels.grid
            if strange := dataset.strange_values(np.unique(labels.array).tolist()):
                yield strange
            elif not labels.array.any():
                yield "the label map is empty"
    names = list(grids)
    apart = {name: grid_difference(grids[name], grids[names[0]], dataset.header_mm) for name in names[1:]}
    if other := [f"{name}: {difference}" for name, difference in apart.items() if difference]:
        yield f"images and labels are on different grids (compared with {names[0]}, {'; '.join(other)})"


def grid_difference(grid: Grid, other: Grid, header_mm: float = 0.0) -> str:
    """Return how a grid differs from another, as clauses; "" where their voxels are the same to a twentieth.

    ``header_mm``: origins may differ by this much.
    """
    spacing = np.asarray(grid.spacing)
    if grid.same_as(other, tolerance_mm=SAME_VOXEL * float(spacing.min()) * 1.001):
        return ""
    if grid.shape != other.shape:
        return f"{shape_text(grid)} instead of {shape_text(other)}"
    found = []
    if np.any(np.abs(spacing - other.spacing) * grid.shape > SAME_VOXEL * spacing):
        was, expected = ("x".join(f"{mm:.6g}" for mm in one.spacing[::-1]) for one in (grid, other))
        found.append(f"voxels of {was} mm instead of {expected} mm")
    cosines = np.sum(grid.affine[:3, :3] * other.affine[:3, :3], axis=0) / (spacing * other.spacing)
    if (degrees := float(np.degrees(np.arccos(np.clip(cosines, -1, 1))).max())) > SAME_ANGLE:
        found.append(f"axes turned by {degrees:.3g} degrees")
    moved = float(np.linalg.norm(grid.affine[:3, 3] - other.affine[:3, 3]))
    if moved > max(SAME_VOXEL * float(spacing.min()), header_mm) or not (found or header_mm):
        found.append(f"the origins are {moved:.3g} mm apart")
    return ", ".join(found)


def shape_text(grid: Grid) -> str:
    """Return the voxels and spacing, in the order left-right, posterior-anterior, inferior-superior."""
    size = "x".join(str(n) for n in grid.shape[::-1])
    spacing = "x".join(f"{mm:.3g}" for mm in grid.spacing[::-1])
    return f"{size} of {spacing} mm"
