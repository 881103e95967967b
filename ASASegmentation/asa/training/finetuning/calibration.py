"""Calibration of fine-tuned networks on labelled cases, and what a run stores of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from asa.metrics.calibration import Reliability, fit_temperature, reliability, tempered
from asa.metrics.masks import Mask, bounding_box, grow, union
from asa.tasks import Task

CALIBRATION = "calibration.json"  # what a run keeps of it
MARGIN = 8  # mm around labels and prediction: far from both every network is sure, and right
SAMPLED = 200_000  # voxels of a case the temperature is fitted to
Posterior = npt.NDArray[np.float32]  # (K, T, H, W) of classes, or of regions that overlap


def problems(
    posterior: Posterior, labels: npt.NDArray[np.uint8], task: Task, *, by_region: bool
) -> list[tuple[npt.NDArray[np.float32], npt.NDArray[np.intp]]]:
    """Class probabilities (K, N) and true classes (N,) around what is labelled or predicted.

    One pair for classes; for regions a pair of two classes (outside, inside) each.
    """
    shown: Mask = np.asarray(np.any(posterior > 0.5, axis=0) if by_region else posterior.argmax(0) > 0, np.bool_)
    box = union(bounding_box(shown), bounding_box(labels > 0))
    if box is None:
        return []
    box = grow(box, MARGIN, labels.shape)
    part, truth = posterior[(slice(None), *box)], labels[box]
    if not by_region:
        return [(part.reshape(len(part), -1), truth.reshape(-1).astype(np.intp))]
    pairs = []
    for inside, region in zip(part, task.regions, strict=True):
        flat = inside.reshape(-1)
        pairs.append((np.stack((1 - flat, flat)), np.isin(truth, region.values).reshape(-1).astype(np.intp)))
    return pairs


def temper(posterior: Posterior, temperature: float, *, by_region: bool) -> Posterior:
    """Return a posterior at another temperature; no class or region wins or loses a voxel by it."""
    if temperature == 1.0:
        return posterior
    if not by_region:
        return tempered(posterior, temperature)
    return np.stack([tempered(np.stack((1 - p, p)), temperature)[1] for p in posterior])


@dataclass
class Calibration:
    """Reliability of each case, before and after a temperature."""

    task: Task
    by_region: bool
    cases: dict[str, Reliability] = field(default_factory=dict)

    def add(self, name: str, posterior: Posterior, labels: npt.NDArray[np.uint8]) -> None:
        """Look at one case in the brain frame."""
        found = problems(posterior, labels, self.task, by_region=self.by_region)
        self.cases[name] = Reliability.of(reliability(probability, truth) for probability, truth in found)

    def to_json(self, temperature: float) -> dict[str, Any]:
        """Expected calibration error of each case and of all voxels together."""
        pooled = Reliability.of(self.cases.values())
        return {
            "temperature": round(temperature, 4),
            "expected_calibration_error": round(pooled.error, 6),
            "cases": {name: round(found.error, 6) for name, found in self.cases.items()},
        }


def choose_temperature(
    cases: Iterable[tuple[str, Posterior, npt.NDArray[np.uint8]]], task: Task, *, by_region: bool
) -> dict[str, Any]:
    """Temperature fitted to validation cases, with the error before and after it.

    Args:
        cases: name, posterior and labels, one after the other; none of them is kept.
    """
    samples, before = [], Calibration(task, by_region)
    rng = np.random.default_rng(0)
    for name, posterior, labels in cases:
        before.add(name, posterior, labels)
        for probability, truth in problems(posterior, labels, task, by_region=by_region):
            some = rng.choice(truth.size, min(SAMPLED, truth.size), replace=False)
            samples.append((probability[:, some], truth[some]))
    temperature = fit_temperature(samples)
    error = Reliability.of(reliability(tempered(p, temperature), truth) for p, truth in samples).error
    return {**before.to_json(1.0), "temperature": round(temperature, 4), "error_after": round(error, 6)}
