"""Calibration of posteriors: reliability, expected calibration error, and temperature scaling (Guo et al., 2017)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

BINS = 15
TEMPERATURES = (0.2, 5.0)  # beyond them a network knows nothing, or nothing else
SMALLEST = 1e-7  # a probability of 0 is one that was rounded

Probabilities = NDArray[np.floating]


@dataclass(frozen=True)
class Reliability:
    """How often predictions of each confidence were right; sums over voxels, so that cases add up.

    Attributes:
        count: voxels in each of ``BINS`` equal intervals of confidence.
        confidence: sum of the probabilities given to the predicted class.
        right: voxels whose predicted class was the true one.
    """

    count: NDArray[np.float64]
    confidence: NDArray[np.float64]
    right: NDArray[np.float64]

    @staticmethod
    def of(parts: Iterable[Reliability]) -> Reliability:
        """Return all voxels of several together; of none, no voxel."""
        nothing = np.zeros(BINS)
        return sum(parts, start=Reliability(nothing, nothing, nothing))

    def __add__(self, other: Reliability) -> Reliability:
        return Reliability(self.count + other.count, self.confidence + other.confidence, self.right + other.right)

    @property
    def error(self) -> float:
        """Expected calibration error, 0 to 1: the mean gap between confidence and accuracy; 0 without voxels."""
        total = float(self.count.sum())
        return float(np.abs(self.confidence - self.right).sum() / total) if total else 0.0


def reliability(probability: Probabilities, truth: NDArray[np.integer]) -> Reliability:
    """Reliability of class probabilities (K, N) against true classes (N,)."""
    predicted = probability.argmax(0)
    confidence = np.take_along_axis(probability, predicted[None], 0)[0].astype(np.float64)
    bins = np.minimum((confidence * BINS).astype(np.intp), BINS - 1)
    return Reliability(
        np.bincount(bins, minlength=BINS).astype(np.float64),
        np.bincount(bins, confidence, BINS).astype(np.float64),
        np.bincount(bins, predicted == truth, BINS).astype(np.float64),
    )


def tempered(probability: Probabilities, temperature: float) -> NDArray[np.float32]:
    """Class probabilities (K, ...) at another temperature, p^(1/T) made to add up to 1.

    For a softmax that is the softmax of its logits divided by T. The order of the classes never changes.
    """
    powered = np.power(np.maximum(probability, SMALLEST), 1 / temperature, dtype=np.float32)
    scaled: NDArray[np.float32] = powered / powered.sum(0)
    return scaled


def fit_temperature(samples: Sequence[tuple[Probabilities, NDArray[np.integer]]]) -> float:
    """Temperature at which true classes are most likely; 1 without samples.

    Args:
        samples: class probabilities (K, N) and true classes (N,), a pair for each case.
    """
    if not samples:
        return 1.0
    logs = np.concatenate([np.log(np.maximum(p, SMALLEST)) for p, _ in samples], axis=1).astype(np.float64)
    truth = np.concatenate([t for _, t in samples])[None]

    def surprise(log_temperature: float) -> float:
        scaled = logs * np.exp(-log_temperature)
        highest = scaled.max(0)
        total = highest + np.log(np.exp(scaled - highest).sum(0))
        return float((total - np.take_along_axis(scaled, truth, 0)[0]).mean())

    low, high = np.log(TEMPERATURES)
    return float(np.exp(minimize_scalar(surprise, bounds=(low, high), method="bounded").x))
