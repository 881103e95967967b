"""Change of volumes between two visits, next to how far they differ when nothing has changed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from asa.tasks import Task

_NOISE_FILE = Path(__file__).with_name("noise.json")
# Of differences without a change, 19 of 20 are smaller than so many of their standard deviations.
LIMIT = 1.96


@dataclass(frozen=True)
class Change:
    """One row of changes.csv.

    Attributes:
        name: of a label, a region or "brain".
        title: in words.
        first_ml, second_ml: volume at the two visits.
        change_ml: the second minus the first.
        change_percent: of the mean of both; None where there is nothing at either.
        noise_percent: standard deviation of this change between scans of a head that has not changed; None where it was
            not measured for the model.
        verdict: "increase", "decrease", "within noise", or "noise unknown".
    """

    name: str
    title: str
    first_ml: float
    second_ml: float
    change_ml: float
    change_percent: float | None
    noise_percent: float | None
    verdict: str


def expected_volumes(posterior: npt.NDArray[np.float16], task: Task, voxel_ml: float) -> dict[str, float]:
    """Return the volume in mL of each label and region, and of the brain where the labels make it up.

    A voxel counts with its probability, so that a border that moves by part of a voxel changes the volume by that part.

    Args:
        posterior: (K, T, H, W), background, then the labels in the order of the task.
        task: what the labels are.
        voxel_ml: volume of a voxel in mL.
    """
    sums = [float(one.sum(dtype=np.float64)) * voxel_ml for one in posterior[1:]]
    by_value = {label.value: volume for label, volume in zip(task.labels, sums, strict=True)}
    volumes = {label.name: by_value[label.value] for label in task.labels}
    volumes |= {region.name: sum(by_value[value] for value in region.values) for region in task.regions}
    inside = [label.value for label in task.labels if label.in_brain]
    return volumes | ({"brain": sum(by_value[value] for value in inside)} if inside else {})


def compare_volumes(
    first: Mapping[str, float], second: Mapping[str, float], task: Task, noise: Mapping[str, float]
) -> list[Change]:
    """Return the change of each volume, those of the brain first.

    Args:
        first: name -> mL at the first visit (:func:`expected_volumes`).
        second: the same at the second visit.
        task: what the names mean.
        noise: name -> standard deviation of the change, in percent, without a change (:func:`noise_of`).
    """
    titles = {"brain": "Brain"} | {label.name: label.title for label in task.labels}
    titles |= {region.name: region.title for region in task.regions}
    return [_change(name, title, first[name], second[name], noise) for name, title in titles.items() if name in first]


def _change(name: str, title: str, first: float, second: float, noise: Mapping[str, float]) -> Change:
    difference, mean = second - first, (first + second) / 2
    percent = 100 * difference / mean if mean else None
    deviation = noise.get(name)
    if deviation is None:
        verdict = "noise unknown"
    elif percent is None or abs(percent) <= LIMIT * deviation:
        verdict = "within noise"
    else:
        verdict = "increase" if difference > 0 else "decrease"
    return Change(name, title, first, second, difference, percent, deviation, verdict)


def noise_of(model: str, version: str) -> Mapping[str, float]:
    """Return the measured noise of a model: name -> standard deviation of a change in percent; {} where unknown.

    Measured by ``Testing/benchmarks/visits`` on heads and their altered copies. A rescan of a subject also differs by
    what copies do not have (blood flow, another scanner), so that the noise is a lower bound.
    """
    known = _measured().get(model)
    return known["noise_percent"] if known is not None and known["version"] == version else {}


@lru_cache(maxsize=1)
def _measured() -> dict[str, dict[str, Any]]:
    measured: dict[str, dict[str, Any]] = json.loads(_NOISE_FILE.read_text(encoding="utf-8"))
    return measured


def rms(values: Sequence[float]) -> float:
    """Return the root of the mean square: the standard deviation of differences around no change."""
    return float(np.sqrt(np.mean(np.square(values)))) if values else 0.0
