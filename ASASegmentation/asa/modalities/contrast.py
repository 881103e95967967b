"""Distinguish T1, T2 and FLAIR by the relative brightness of cortex, deep white matter and fluid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_SAMPLING_MM = 3.0
_LEAST_VOXELS = 1000


@dataclass(frozen=True)
class Contrast:
    """Three dimensionless measures of the head's foreground within a fitted ellipsoid.

    `bright`: 98th percentile over median of the inner part; fluid is bright in T2 only, so it is large there.
    `skew`: skewness of the inner part; positive in T2.
    `depth`: (centre − rim) / middle, of medians; positive in T1, where white matter is brighter than cortex.
    """

    bright: float
    skew: float
    depth: float

    def score(self, modality: str) -> float:
        """Return evidence for (positive) or against a modality key, about −2 to 2; a hint tuned on about 40 heads.

        A contrast agent brightens a T1 a little, so of two T1s the brighter is taken for the enhanced one.
        """
        t1 = 8 * self.depth - max(0.0, self.bright - 1.4)
        scores = {
            "t1": t1,
            "t1gd": t1 - 0.1 + 0.5 * (self.bright - 1.2),
            "t2": 1.5 * (self.bright - 1.55) + 0.5 * self.skew,
            "flair": -8 * self.depth,
        }
        return float(np.clip(scores.get(modality, 0.0), -2.0, 2.0))


def measure_contrast(array: np.ndarray, spacing: tuple[float, float, float]) -> Contrast | None:
    """Measure the contrast of a volume (K, J, I), spacing in mm in the same order; None if it contains no head.

    Samples about every 3 mm, which takes a few milliseconds.
    """
    steps = [max(1, round(_SAMPLING_MM / abs(step))) for step in spacing]
    sample = array[:: steps[0], :: steps[1], :: steps[2]].astype(np.float32)
    # Around a skull-stripped brain all voxels have the same value; around a whole head the air is noisy.
    stripped = np.mean(sample == sample.min()) > 0.3
    floor = float(sample.min()) if stripped else 0.35 * float(np.percentile(sample, 97))
    inside = sample > floor
    if inside.sum() < _LEAST_VOXELS:
        return None
    positions, values = np.argwhere(inside).astype(np.float32), sample[inside]
    low, high = np.percentile(positions, [1, 99], axis=0)
    radius = np.linalg.norm((positions - (low + high) / 2) / np.maximum((high - low) / 2, 1), axis=1)

    def median(inner: float, outer: float) -> float:
        shell = values[(radius >= inner) & (radius < outer)]
        return float(np.median(shell)) if shell.size else float("nan")

    centre, middle, rim = median(0, 0.3), median(0.3, 0.6), median(0.72, 0.95)
    inner = values[radius < 0.7]
    spread = float(inner.std()) if inner.size else 0.0
    middle_value = float(np.median(inner)) if inner.size else 0.0
    if not np.isfinite([centre, middle, rim]).all() or middle <= 0 or middle_value <= 0 or spread == 0:
        return None
    return Contrast(
        bright=float(np.percentile(inner, 98)) / middle_value,
        skew=float(np.mean((inner - inner.mean()) ** 3)) / spread**3,
        depth=(centre - rim) / middle,
    )
