"""The energy of one mark in a crop around it, and its minimum.

For each voxel of the crop the log-odds that it belongs with the mark are the sum of

- the calibrated log-odds of the posterior, where there is one: in full far from the mark, at the mark in part, since it
  says that they are wrong there;
- the log-ratio of two joint densities of all modalities, refitted for each mark: of what belongs with the mark (the
  tissue around it and what the segment holds already) and of the rest of the crop. The larger the segment, the less the
  tissue around one mark that adds to it counts;
- a shift that makes the mark itself true and fades with the geodesic distance from it. What contradicts the mark is
  withdrawn over a longer distance than the margin on top of it: whatever is wrong at the mark is likely to be wrong
  around it;
- the same shift, with the other sign, of earlier marks that said the opposite;
- what earlier corrections have shown: each leaves less that is wrong, so that far from the mark the intensities have to
  say more.

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
    """Constants of the energy, chosen on training cases of Resources/Configs/splits.

    Dice after five clicks, on up to four gliomas: ``lift_mm`` at 24, cores from the model's results 0.88 and 0.70; at
    12, 0.86 and 0.66. ``settled`` at 0.3, a core from nothing 0.88; at 0.5, 0.87. A kernel of 0.7 for two channels,
    lesions of one patient from nothing 0.64; of 1, 0.02: there the first click took much of the brain. The optimal
    share of the tissue around a mark fell from a half, where the segment held 5 mL, to nearly none, where it held 40
    mL: ``mark_ml``. On five gliomas whose results had few errors, ``prior_far`` at 1, 0.893 after 1 to 5 clicks and no
    click that cost more than 0.004; at 0.5, 0.882 and 0.116; at 1.5, 0.885 and 0.019. Means over 1 to 5 clicks:
    ``unknown`` at 0, 0.71, at -1, 0.69; ``unknown_empty`` at 1, 0.70, at -1, 0.58. Other values of ``ratio_limit``,
    ``barrier`` and ``confidence`` changed the mean Dice by 0.001 or less.

    Attributes:
        prior_share: weight of the posterior's log-odds at the mark.
        prior_far: weight of them far from the mark; ``lift_mm`` is the scale.
        prior_limit: limit of the posterior's log-odds.
        ratio_share: weight of the log-ratio of densities.
        ratio_limit: limit of that log-ratio.
        unknown: log-odds without a posterior, where the segment has voxels in the crop;
        unknown_empty: where it has none.
        kernel_sd: width of the density kernel in standard deviations of the tissue, see :meth:`Features.density`.
        mark_ml: volume of the segment in the crop at which its own density and that of the tissue around a mark
            that adds count alike in the density of what belongs with the mark.
        mark_share: share of the tissue around a mark that removes: what surrounds a segment is a mixture of tissues, of
            which the mark shows the one in question.
        near_mm: geodesic distance up to which tissue is around the mark.
        barrier: what a change of one standard deviation per mm adds to the cost of a mm.
        reach_mm: geodesic distance over which the margin of a mark falls to 1/e.
        lift_mm: geodesic distance over which what contradicts a mark comes back by 1 - 1/e.
        settled: log-odds against a change far from the mark, for each earlier mark but the first that has corrected the
            segment in the crop, because each leaves fewer errors;
        settled_limit: limit of that.
        margin: log-odds of the mark itself after the shift.
        shift_limit: limit of the shift.
        contrast: how strongly edges separate, see :func:`asa.refinement.solvers.edge_weights`.
        confidence: weight of the prior against the edges.
        iterations: of the solver.
    """

    prior_share: float = 0.5
    prior_far: float = 1.0
    prior_limit: float = 6.0
    ratio_share: float = 1.0
    ratio_limit: float = 4.0
    unknown: float = 0.0
    unknown_empty: float = 1.0
    kernel_sd: float = 1.0
    mark_ml: float = 5.0
    mark_share: float = 0.5
    near_mm: float = 4.0
    barrier: float = 1.5
    reach_mm: float = 12.0
    lift_mm: float = 24.0
    settled: float = 0.3
    settled_limit: float = 1.5
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
        against: voxels of earlier marks that said the opposite.
        adds: whether the mark adds to its segment.
        corrections: number of earlier marks that have changed the segment in the crop.
        prior: probability that a voxel is as the mark wants, or None.
        flat: whether the shift does not fade, as inside a box.
    """

    box: Box
    same: Mask
    agreed: Mask
    opposed: Mask
    seeds: Mask
    against: Mask
    prior: Map | None
    flat: bool = False
    adds: bool = True
    corrections: int = 0


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
    known = np.count_nonzero(problem.same) > _FEWEST
    lift = np.float32(1) if problem.flat else np.exp(distance * np.float32(-1 / constants.lift_mm))
    if problem.prior is None:
        odds += np.float32(constants.unknown if known else constants.unknown_empty)
    else:
        bounded = np.clip(problem.prior, 1e-4, 1 - 1e-4)
        limit = constants.prior_limit
        share = np.float32(constants.prior_far) - np.float32(constants.prior_far - constants.prior_share) * lift
        odds += share * np.clip(np.log(bounded / (1 - bounded)), -limit, limit)
    if problem.flat:
        odds += _shift(odds[problem.seeds], constants)
    else:
        around = near & ~problem.same
        missing = max(_missing(odds[where]) for where in (problem.seeds, around) if where.any())
        missing = min(missing, constants.shift_limit - constants.margin)
        fading = np.exp(distance * np.float32(-1 / constants.reach_mm))
        pull = np.float32(constants.margin) * fading
        pull += np.float32(missing) * lift
        settled = min(constants.settled_limit, constants.settled * max(0, problem.corrections - 1))
        pull -= np.float32(settled) * (1 - fading)
        if problem.against.any():
            away = geodesic_distance(problem.against, cost, features.spacing)
            push = np.exp(away * np.float32(-1 / constants.reach_mm))
            pull -= push * _shift(-odds[problem.against], constants)
        odds += pull
    odds[~shown] = _EXCLUDED
    return odds


def _shift(odds: Map, constants: Constants) -> np.float32:
    """Return what makes the log-odds of a mark's voxels true by a margin, within a limit."""
    return np.float32(min(constants.shift_limit, _missing(odds) + constants.margin))


def _missing(odds: Map) -> float:
    """Return what the log-odds of a mark's voxels lack to be true."""
    return max(0.0, -float(np.median(odds)))


def _density_ratio(features: Features, problem: Problem, near: Mask, shown: Mask, constants: Constants) -> Map:
    """Return the limited log-ratio of the densities of what belongs with the mark and of the rest."""
    codes = features.codes[problem.box]
    width = constants.kernel_sd
    wanted = features.density(features.counts(codes[near]), width)
    same = features.counts(codes[problem.same & shown])
    if same.sum() > _FEWEST:
        volume_ml = same.sum() * float(np.prod(features.spacing)) / 1000
        share = constants.mark_ml / (constants.mark_ml + volume_ml) if problem.adds else constants.mark_share
        wanted = np.float32(share) * wanted + np.float32(1 - share) * features.density(same, width)
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
