"""Score a lesion model on labelled cases, with every subset of the modalities it knows."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from asa.data.cases import LabelledCase
from asa.data.datasets import dataset_by_name
from asa.data.splits import read_case_split
from asa.geometry import FRAME, Alignment, align_to_frame, to_frame
from asa.inference.labelling import label_regions
from asa.inference.predictor import Predictor
from asa.inference.segment import postprocess
from asa.inference.subsets import PosteriorPredictor, average_over_subsets
from asa.metrics import score_case
from asa.models import ModelFolder, open_model
from asa.preprocessing.normalise import Map, stripped_brain, zscore_corrected, zscore_stripped
from asa.tasks import TASKS
from asa.volume import read_volume, write_volume

Record = dict[str, Any]


@dataclass(frozen=True)
class Rules:
    """What is measured: data set whose label values the references have, subsets of modalities, where labels go."""

    dataset: str
    shown: Sequence[tuple[str, ...]]
    labels: Path | None = None


def subsets(modalities: Sequence[str]) -> list[tuple[str, ...]]:
    """Every non-empty subset, the largest first."""
    sizes = range(len(modalities), 0, -1)
    return [chosen for size in sizes for chosen in itertools.combinations(modalities, size)]


def read_folds(path: Path) -> list[list[str]]:
    """Names of the test cases of each fold."""
    return [fold["test"] for fold in read_case_split(path)["folds"]]


def find_ms(root: Path) -> list[LabelledCase]:
    """``patient07/patient07_{t1,flair,lesions}.nii.gz`` and its like, by name."""
    cases = []
    for folder in sorted(root.glob("*/")):
        files = {key: folder / f"{folder.name}_{key}.nii.gz" for key in ("t1", "flair", "lesions")}
        labels = files.pop("lesions")
        cases.append(LabelledCase(folder.name, folder.name, files, labels))
    return cases


class Prepared:
    """One case, read and aligned once for all subsets; its modalities share one grid and are stripped."""

    def __init__(self, case: LabelledCase, dataset: str, normalise: Callable[[Map], Map]) -> None:
        assert case.labels is not None
        self.name = case.name
        scans = {key: read_volume(path) for key, path in case.images.items()}
        truth = read_volume(case.labels, labels=True)
        self.truth = truth.with_array(dataset_by_name(dataset).to_task(truth.array))
        self.alignment: Alignment = align_to_frame(scans["flair"])
        self.seen = {}
        for key, scan in scans.items():
            own = stripped_brain(scan, self.alignment)
            self.seen[key] = normalise(np.where(own, to_frame(scan, self.alignment).array, 0))

    def label(self, model: ModelFolder, predictor: PosteriorPredictor, shown: Sequence[str]) -> npt.NDArray[np.uint8]:
        """Label map (T, H, W) on the grid of the case, of the modalities ``shown`` only."""
        task = TASKS[model.task]
        nothing = np.zeros(FRAME.shape, np.float32)
        image = np.stack([self.seen[key] if key in shown else nothing for key in model.modalities])
        answer = average_over_subsets(predictor, image, model, task, tta=model.description.tta)
        processed = postprocess(answer, image, model, task, self.alignment, None)
        return label_regions(processed, task, self.alignment, self.truth.grid)[0]


def score(
    model: ModelFolder, case: Prepared, rules: Rules, predictor: PosteriorPredictor | None = None
) -> Iterator[Record]:
    """A record for each subset: case, modalities, seconds (without reading and alignment), region -> metrics."""
    task = TASKS[model.task]
    regions: Mapping[str, tuple[int, ...]] = {region.name: region.values for region in task.regions}
    predictor = predictor or Predictor(model, torch.device("cpu"))
    for shown in rules.shown:
        started = time.perf_counter()
        labels = case.label(model, predictor, shown)
        seconds = time.perf_counter() - started
        if rules.labels:
            rules.labels.mkdir(parents=True, exist_ok=True)
            write_volume(case.truth.with_array(labels), rules.labels / f"{case.name}_{'_'.join(shown)}.nii.gz")
        scores = score_case(labels, case.truth.array, regions, case.truth.spacing, lesionwise=not task.nested)
        yield {
            "case": case.name,
            "modalities": list(shown),
            "seconds": round(seconds, 2),
            "regions": {name: {k: round(v, 4) for k, v in values.items()} for name, values in scores.items()},
        }


def measure(
    models: Sequence[Path],
    tests: Sequence[Sequence[str]],
    cases: Mapping[str, LabelledCase],
    rules: Rules,
    first: int = 0,
) -> Iterator[Record]:
    """Each fold's model on the cases it did not see; folds are numbered from ``first``."""
    for number, (path, names) in enumerate(zip(models, tests, strict=True), start=first):
        model = open_model(path)
        corrects = model.description.normalisation.corrects_bias
        normalise = zscore_corrected if corrects else zscore_stripped
        for name in names:
            for record in score(model, Prepared(cases[name], rules.dataset, normalise), rules):
                yield {"fold": number, **record}
