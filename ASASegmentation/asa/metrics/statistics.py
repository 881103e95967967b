"""Summaries over cases and comparisons between systems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Summary:
    """One metric over all cases.

    Attributes:
        count: number of cases.
        mean: arithmetic mean.
        sd: sample standard deviation (n - 1); 0 for a single case.
        median: median.
        low: lower end of the bootstrap confidence interval of the mean.
        high: upper end.
    """

    count: int
    mean: float
    sd: float
    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Paired comparison of one system with another on the same cases.

    Attributes:
        system: the other system.
        difference: mean of (baseline's value - the system's value).
        p: two-sided p-value of Wilcoxon's signed-rank test.
        p_holm: ``p`` after Holm's correction over all systems compared in one call.
    """

    system: str
    difference: float
    p: float
    p_holm: float


def summarise(values: Sequence[float], *, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0) -> Summary:
    """Return the mean, SD, median and a percentile-bootstrap confidence interval of the mean.

    Seeded: the same values always give the same interval.

    Raises:
        ValueError: no value, or one that is not finite (a convention for empty masks must have been applied before).
    """
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0 or not np.isfinite(array).all():
        raise ValueError("A summary needs at least one value and all of them finite.")
    generator = np.random.default_rng(seed)
    means = array[generator.integers(array.size, size=(resamples, array.size))].mean(axis=1)
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(means, [tail, 100.0 - tail])
    return Summary(
        count=int(array.size),
        mean=float(array.mean()),
        sd=float(array.std(ddof=1)) if array.size > 1 else 0.0,
        median=float(np.median(array)),
        low=float(low),
        high=float(high),
    )


def paired_wilcoxon(first: Sequence[float], second: Sequence[float]) -> float:
    """Two-sided p-value of Wilcoxon's signed-rank test; 1 where no pair differs.

    Raises:
        ValueError: different numbers of values, or none.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape or a.size == 0:
        raise ValueError(f"A paired test needs the same cases twice, not {a.size} and {b.size} values.")
    if np.array_equal(a, b):
        return 1.0
    return float(stats.wilcoxon(a, b).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the order given."""
    count = len(p_values)
    adjusted = [0.0] * count
    running = 0.0
    for rank, index in enumerate(sorted(range(count), key=lambda i: p_values[i])):
        running = max(running, min(1.0, (count - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def compare(scores: Mapping[str, Sequence[float]], baseline: str) -> list[Comparison]:
    """Compare one system with every other over the same cases in the same order.

    Args:
        scores: system -> one value per case.
        baseline: the system that all others are compared with.

    Raises:
        KeyError: no such baseline.
        ValueError: different numbers of cases.
    """
    own = scores[baseline]
    others = [name for name in scores if name != baseline]
    p_values = [paired_wilcoxon(own, scores[name]) for name in others]
    return [
        Comparison(name, float(np.mean(own) - np.mean(scores[name])), p, adjusted)
        for name, p, adjusted in zip(others, p_values, holm(p_values), strict=True)
    ]
