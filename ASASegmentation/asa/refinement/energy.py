"""The energy of one mark in a crop around it, and its minimum.

For each voxel of the crop the log-odds that it belongs with the mark are the sum of

- the calibrated log-odds of the posterior, where there is one;
- the log-ratio of two joint densities of all modalities, refitted for each mark: of what belongs with the mark (the
  tissue around it and what the segment holds already) and of the rest of the crop;
- a shift that makes the mark itself true and fades with the geodesic distance from it.

The random walker with these log-odds as its prior joins them over multi-channel edges; marks are its hard constraints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from asa.refinement.features import Features
from asa.refinement.solvers import geodesic_distance, smooth

Map = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Constants:
    """Constants of the energy, chosen on three training gliomas of Resources/Configs/splits/tumour.json.

    Mean Dice after 1 to 5 clicks from nothing, whole tumour and core: 0.71 with ``unknown`` at 0, 0.69 at -1; of two of
    the three, 0.70 with ``unknown_empty`` at 1 and 0.58 at -1 (``unknown`` at -1). Other values of ``ratio_limit``,
    ``reach_mm``, ``barrier``, ``confidence`` and ``mark_share`` moved the mean Dice from the model's result by 0.001 or
    less on the one that they were tried on.

    Attributes:
        prior_share: weight of the posterior's log-odds.
        prior_limit: limit of the posterior's log-odds.
        ratio_share: weight of the log-ratio of densities.
        ratio_limit: limit of that log-ratio.
        unknown: log-odds without a posterior, where the segment has voxels in the crop;
        unknown_empty: where it has none.
        kernel_sd: width of the density kernel in standard deviations of the tissue.
        mark_share: share of the tissue around the mark in the density of what belongs with it.
        near_mm: geodesic distance up to which tissue is around the mark.
        barrier: what a change of one standard deviation per mm adds to the cost of a mm.
        reach_mm: geodesic distance over which the shift falls to 1/e.
        margin: log-odds of the mark itself after the shift.
        shift_limit: limit of the shift.
        contrast: how strongly edges separate, see :func:`asa.refinement.solvers.edge_weights`.
        confidence: weight of the prior against the edges.
        iterations: of the solver.
    """

    prior_share: float = 0.5
    prior_limit: float = 6.0
    ratio_share: float = 1.0
    ratio_limit: float = 4.0
    unknown: float = 0.0
    unknown_empty: float = 1.0
    kernel_sd: float = 1.0
    mark_share: float = 0.5
    near_mm: float = 4.0
    barrier: float = 1.5
    reach_mm: float = 12.0
    margin: float = 2.0
    shift_limit: float = 8.0
    contrast: float = 2.0
    confidence: float = 0.3
    iterations: int = 12


CONSTANTS = Constants()
_FEWEST = 50  # voxels from which the segment's own density is known
_FLOOR = 0.1  # of a uniform density: what no voxel of the crop has shown is not impossible
_EXCLUDED = np.float32(-10.0)  # log-odds of the background


@dataclass(frozen=True)
class Problem:
    """What is known in a crop of the working grid; arrays are (T, H, W).

    Attributes:
        box: the crop.
        same: voxels that are already as the mark wants its own.
        agreed, opposed: voxels that marks and locks force to be, or not to be, as the mark wants.
        seeds: voxels of the mark.
        prior: probability that a voxel is as the mark wants, or None.
        flat: whether the shift does not fade, as inside a box.
    """

    box: Box
    same: Mask
    agreed: Mask
    opposed: Mask
    seeds: Mask
    prior: Map | None
    flat: bool = False


def solve(features: Features, problem: Problem, constants: Constants = CONSTANTS) -> Map:
    """Return the probability (T, H, W) of each voxel of a crop to belong with the mark.

    Args:
        features: of the whole scan.
        problem: the crop and what is known in it.
        constants: of the energy.
    """
    odds = log_odds(features, problem, constants)
    prior: Map = np.reciprocal(1 + np.exp(-odds), dtype=np.float32)
    prior[problem.agreed] = 1
    prior[problem.opposed] = 0
    weights = [weight[problem.box] for weight in features.weights]
    return smooth(prior, weights, constants.confidence, problem.agreed | problem.opposed, constants.iterations)


def log_odds(features: Features, problem: Problem, constants: Constants) -> Map:
    """Return the log-odds (T, H, W) of each voxel of a crop to belong with the mark, before smoothing."""
    shown = features.shown[problem.box]
    cost = 1 + np.float32(constants.barrier) * features.gradient[problem.box]
    distance = geodesic_distance(problem.seeds, cost, features.spacing)
    near = (problem.seeds if problem.flat else distance < constants.near_mm) & shown
    ratio = _density_ratio(features, problem, near, shown, constants)
    odds = np.float32(constants.ratio_share) * ratio
    if problem.prior is None:
        known = np.count_nonzero(problem.same) > _FEWEST
        odds += np.float32(constants.unknown if known else constants.unknown_empty)
    else:
        bounded = np.clip(problem.prior, 1e-4, 1 - 1e-4)
        limit = constants.prior_limit
        odds += np.float32(constants.prior_share) * np.clip(np.log(bounded / (1 - bounded)), -limit, limit)
    at_mark = float(np.median(odds[problem.seeds]))
    shift = np.float32(min(constants.shift_limit, max(0.0, -at_mark) + constants.margin))
    odds += shift if problem.flat else shift * np.exp(distance * np.float32(-1 / constants.reach_mm))
    odds[~shown] = _EXCLUDED
    return odds


def _density_ratio(features: Features, problem: Problem, near: Mask, shown: Mask, constants: Constants) -> Map:
    """Return the limited log-ratio of the densities of what belongs with the mark and of the rest."""
    codes = features.codes[problem.box]
    width = constants.kernel_sd
    wanted = features.density(features.counts(codes[near]), width)
    same = features.counts(codes[problem.same & shown])
    if same.sum() > _FEWEST:
        share = np.float32(constants.mark_share)
        wanted = share * wanted + (1 - share) * features.density(same, width)
    rest = features.density(features.counts(codes[~problem.same & shown & ~near]), width)
    floor = np.float32(_FLOOR / len(rest))
    limit = constants.ratio_limit
    table = np.clip(np.log((wanted + floor) / (rest + floor)), -limit, limit).astype(np.float32)
    return np.asarray(table[codes], np.float32)


def crop_of(
    seeds: npt.NDArray[np.intp], shape: Sequence[int], spacing: Sequence[float], margin_mm: float
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the corners (low, high), half-open, of the crop around voxels (N, 3), with a margin on all sides."""
    margin = np.ceil(margin_mm / np.asarray(spacing)).astype(np.intp)
    low = np.maximum(seeds.min(axis=0) - margin, 0)
    return low, np.minimum(seeds.max(axis=0) + margin + 1, shape)
