"""Refine tissue borders by intensity: expectation-maximisation with the network's posterior as prior.

A network trained on synthetic heads localises grey and white matter well, but not the grey level of their border in a
given scan. Two Gaussian classes whose means vary slowly over the brain (bias field) determine it, as in Wells et al.,
"Adaptive segmentation of MRI data", IEEE TMI 1996, with the network in place of an atlas.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from asa.geometry import box_slices
from asa.model_description import IntensityRule

Map = npt.NDArray[np.float32]

POOL = 4  # means vary slowly: they are smoothed on a grid this much coarser


def refine_by_intensity(posterior: Map, image: Map, rule: IntensityRule, *, iterations: int = 2) -> Map:
    """Redistribute the probability of two classes by intensity; all other classes are unchanged.

    Args:
        posterior: (K, T, H, W) probabilities; not changed.
        image: (T, H, W) intensities on the same grid.
        rule: which classes, and how.
        iterations: of expectation (posterior from means) and maximisation (means from posterior).

    Returns:
        (K, T, H, W), each voxel's sum as before.
    """
    first, second = rule.classes
    both = posterior[first] + posterior[second]
    share = posterior[first] / np.maximum(both, 1e-6)  # of the first class, where it is one of the two
    prior = np.clip(share, 1e-4, 1 - 1e-4)
    log_odds = rule.prior_power * np.log(prior / (1 - prior)) + rule.log_odds
    for _ in range(iterations):
        weights = (both * share, both * (1 - share))
        squares = [(image - _local_mean(image, w**2, rule.smoothing)) ** 2 for w in weights]
        # one variance for both: the wider class would else take what lies between
        variance = _mean(weights[0] * squares[0] + weights[1] * squares[1], both)
        distance = (squares[0] - squares[1]) / (2 * variance)
        share = 1 / (1 + np.exp(np.clip(distance - log_odds, -30, 30)))
    trust = np.clip((both - rule.least) / (1 - rule.least), 0, 1)
    for box in rule.except_mm:
        trust[box_slices(box)] = 0
    refined = posterior.copy()
    change = trust * (share * both - posterior[first])
    refined[first] += change
    refined[second] -= change
    return refined


def _mean(total: Map, weight: Map) -> float:
    """Return the sum divided by the weight, kept above zero."""
    return max(float(total.sum()) / max(float(weight.sum()), 1e-6), 1e-6)


def _local_mean(image: Map, weight: Map, smoothing: float) -> Map:
    """Return the weighted local mean of ``image``; far from any weight it tends to the global mean."""
    top, bottom = _pool(weight * image), _pool(weight)
    overall = float(top.sum() / max(float(bottom.sum()), 1e-6))
    sigma = smoothing / POOL
    faint = 1e-4
    coarse = (ndimage.gaussian_filter(top, sigma) + faint * overall) / (ndimage.gaussian_filter(bottom, sigma) + faint)
    # voxel centres of the fine grid on the coarse one
    axes = [(np.arange(n, dtype=np.float32) + 0.5) / POOL - 0.5 for n in image.shape]
    for axis, place in enumerate(axes):
        low = np.clip(np.floor(place).astype(int), 0, coarse.shape[axis] - 2)
        part = np.clip(place - low, 0, 1).astype(np.float32)
        part = part.reshape([-1 if a == axis else 1 for a in range(3)])
        coarse = np.take(coarse, low, axis) * (1 - part) + np.take(coarse, low + 1, axis) * part
    fine: Map = coarse.astype(np.float32, copy=False)
    return fine


def _pool(values: Map) -> Map:
    """Return sums over blocks of POOL voxels per side; the edge is padded with zeros."""
    padded = np.pad(values, [(0, max(-n % POOL, 2 * POOL - n)) for n in values.shape])
    for axis in range(3):  # one axis at a time: numpy adds whole rows, and each pass leaves a quarter
        shape = padded.shape
        padded = padded.reshape(*shape[:axis], shape[axis] // POOL, POOL, *shape[axis + 1 :]).sum(axis + 1)
    pooled: Map = padded
    return pooled
