"""Evaluate predicted label maps against manual ones: pair the files, check them, score each case."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from asa.data.cases import IGNORED, Dataset, find_image, grid_difference, raise_problems, repeated_names
from asa.data.datasets import DATASETS
from asa.errors import InputError
from asa.image_names import image_stem, is_image_name
from asa.metrics import score_case
from asa.tasks import TASKS
from asa.volume import Volume, read_volume

LABEL_FILES = ("segmentation", "labels")  # what a case's folder calls its label map: ours, and the manual one
Hausdorff = Literal["maximum", "pooled"]
Scores = dict[str, dict[str, float]]  # region -> metric -> value


@dataclass(frozen=True)
class Protocol:
    """How systems are scored.

    Attributes:
        dataset: what the values of the references mean, and the task.
        prediction_values: the data set whose values the predictions have; None: those of the task.
        tolerance_mm: of the normalised surface Dice.
        lesionwise: score lesion by lesion too.
        hausdorff: the 95 % Hausdorff distance that systems are compared by: ``maximum`` of two percentiles, or the
            one of both surfaces' distances ``pooled``. Both are in the tables.
        partial: cases that no system segmented are left out (a test split); otherwise each is an error.
    """

    dataset: Dataset
    prediction_values: Dataset | None = None
    tolerance_mm: float = 1.0
    lesionwise: bool = False
    partial: bool = False
    hausdorff: Hausdorff = "maximum"

    @property
    def regions(self) -> dict[str, tuple[int, ...]]:
        """Regions of the task that the references mark: all of a region's labels must occur in the data set.

        So a data set without sulcal CSF is scored on the ventricles, not on a sum that it cannot confirm.
        """
        marked = set(self.dataset.values.values())
        return {r.name: r.values for r in TASKS[self.dataset.task].regions if marked.issuperset(r.values)}


def label_files(root: Path, stems: Sequence[str] = LABEL_FILES) -> dict[str, Path]:
    """Label maps of cases: one file; or the files of a folder; or in it folders as 'asa segment' writes them.

    ``stems``: names of a label map in a case's folder; the first that is there counts.

    Raises:
        InputError: nothing there, or one case twice.
    """
    if root.is_file():
        return {case_name(root): root}
    if not root.is_dir():
        raise InputError(f"{root} does not exist.")
    found: dict[str, Path] = {}
    twice = []
    for path in sorted(root.iterdir()):
        name, file = path.name, None
        if path.is_dir():
            file = next((f for stem in stems if (f := find_image(path / stem)) is not None), None)
        elif is_image_name(path):
            name, file = case_name(path), path
        if file is not None:
            if name in found:
                twice.append(f"{name}: both {found[name].name} and {file.name}")
            found[name] = file
    raise_problems(twice, str(root))
    if not found:
        raise InputError(f"{root} contains no label map, neither as CASE.nii.gz nor as CASE/segmentation.nii.gz.")
    return found


def case_name(path: Path) -> str:
    """File name without the suffix of an image."""
    stem = image_stem(path)
    return stem[: -len(".seg")] if path.name.lower().endswith(".seg.nrrd") else stem  # 3D Slicer's segmentations


def reference_files(root: Path, dataset: Dataset) -> dict[str, Path]:
    """Manual label maps: as the data set names them; a single file, and what has no naming, as :func:`label_files`."""
    table = root.is_file() and root.suffix == ".csv"
    if not table and (root.is_file() or dataset.name in TASKS):
        return label_files(root, LABEL_FILES[::-1])  # a result next to the manual labels is not a reference
    cases = dataset.find(root)
    if not cases:
        raise InputError(f"{root} contains no case of {dataset.title}; check the data set name and release.")
    unlabelled = [f"{case.name}: no label map" for case in cases if case.labels is None]
    raise_problems([*repeated_names(cases), *unlabelled], dataset.title)
    return {case.name: case.labels for case in cases if case.labels is not None}


def pair_up(
    systems: Mapping[str, Path], reference: Path, protocol: Protocol
) -> dict[str, tuple[Path, dict[str, Path]]]:
    """case -> (reference, system -> prediction), the same cases for every system.

    Raises:
        InputError: predictions without a reference, or references without a prediction; all of them listed.
    """
    expected = reference_files(reference, protocol.dataset)
    predicted = {system: label_files(root) for system, root in systems.items()}
    if len(expected) == 1 and all(root.is_file() for root in systems.values()):
        # two files are meant for one another, whatever they are called
        ((case, path),) = expected.items()
        return {case: (path, {system: next(iter(files.values())) for system, files in predicted.items()})}
    problems = [
        f"{system}: no reference for {name}"
        for system, files in predicted.items()
        for name in sorted(set(files) - set(expected))
    ]
    if protocol.partial:
        expected = {case: path for case, path in expected.items() if any(case in f for f in predicted.values())}
    problems += [
        f"{system}: no prediction for {case}"
        for system, files in predicted.items()
        for case in sorted(set(expected) - set(files))
    ]
    raise_problems(problems, "the evaluation")
    return {
        case: (path, {system: files[case] for system, files in predicted.items()})
        for case, path in sorted(expected.items())
    }


def evaluate(
    systems: Mapping[str, Path],
    reference: Path,
    protocol: Protocol,
    progress: Callable[[str], None] = lambda _case: None,
) -> dict[str, dict[str, Scores]]:
    """system -> case -> region -> metric -> value (see :func:`asa.metrics.score_case`).

    Args:
        systems: name -> file or folder of predicted label maps.
        reference: file or folder of manual ones.

    Raises:
        InputError: one error that lists every file that is missing, unreadable, on another grid or with values that
            are not labels.
    """
    scores: dict[str, dict[str, Scores]] = {system: {} for system in systems}
    problems: list[str] = []
    for case, (path, predictions) in pair_up(systems, reference, protocol).items():
        progress(case)
        try:
            truth = read_volume(path, labels=True)
            expected = protocol.dataset.to_task(truth.array)
        except InputError as error:
            problems.append(f"{case}: {error}")
            continue
        scored = expected != IGNORED
        for system, file in predictions.items():
            try:
                labels = read_prediction(file, truth, protocol)
            except InputError as error:
                problems.append(f"{case}, {system}: {error}")
                continue
            scores[system][case] = score_case(
                labels * scored,
                expected * scored,
                protocol.regions,
                truth.spacing,
                tolerance_mm=protocol.tolerance_mm,
                lesionwise=protocol.lesionwise,
            )
    raise_problems(problems, "the evaluation")
    return scores


def read_prediction(path: Path, truth: Volume, protocol: Protocol) -> npt.NDArray[np.uint8]:
    """Predicted labels (T, H, W) with the values of the task.

    Raises:
        InputError: unreadable, not whole numbers, unknown values, or not on the grid of the reference.
    """
    volume = read_volume(path, labels=True)
    if difference := grid_difference(volume.grid, truth.grid, protocol.dataset.header_mm):
        raise InputError(f"The prediction is not on the grid of the reference: {difference}.")
    meaning = protocol.prediction_values or DATASETS[protocol.dataset.task]
    return meaning.to_task(volume.array)


def rows(scores: Mapping[str, Mapping[str, Scores]]) -> tuple[list[str], list[list[Any]]]:
    """Header and one row for each system, case and region."""
    header: list[str] = []
    table: list[list[Any]] = []
    for system, cases in scores.items():
        for case, regions in cases.items():
            for region, metrics in regions.items():
                header = header or ["system", "case", "region", *metrics]
                table.append([system, case, region, *metrics.values()])
    return header, table


def values_of(cases: Mapping[str, Scores], region: str, metric: str) -> Sequence[float]:
    """Return one metric of one region over all cases, in their order."""
    return [regions[region][metric] for regions in cases.values()]
