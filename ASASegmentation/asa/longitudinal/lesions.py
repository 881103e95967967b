"""Lesions of two visits on one grid: new, enlarging, stable, shrinking or gone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from asa.volume import Grid

# Distance of the quartiles of a normal distribution in standard deviations.
QUARTILES = 1.349
STATES = ("new", "enlarging", "stable", "shrinking", "gone")
_NEIGHBOURS = ndimage.generate_binary_structure(3, 3)

Mask = npt.NDArray[np.bool_]
Map = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Rules:
    """What counts as a change; set beforehand, and not fitted to any patient.

    Attributes:
        least_ml: a new lesion, or one that is gone, is at least so large.
        unseen: mean probability of a new lesion at the visit at which it was not there: higher, and it was there, but
            below the threshold of the model.
        brightening: mean change of brightness, in standard deviations of the brain, that a new lesion or one that is
            gone shows.
        share: change of volume, as a part of the larger of both, from which a lesion enlarges or shrinks.
        change_ml: and the change of volume in mL.
    """

    least_ml: float = 0.01
    unseen: float = 0.25
    brightening: float = 0.5
    share: float = 0.3
    change_ml: float = 0.03


@dataclass(frozen=True)
class LesionChange:
    """One lesion.

    Attributes:
        number: its value in the label map of lesions.
        state: one of :data:`STATES`.
        first_ml, second_ml: volume at the two visits.
        centre_mm: R, A, S in the space half-way between the visits.
    """

    number: int
    state: str
    first_ml: float
    second_ml: float
    centre_mm: tuple[float, float, float]

    @property
    def change_ml(self) -> float:
        """The second volume minus the first."""
        return self.second_ml - self.first_ml


def brightness(image: Map, brain: Mask) -> Map:
    """Return an image (T, H, W) in standard deviations of the brain from its median, so that visits can be compared.

    The deviation is that of the quartiles, which lesions and a rim of fluid hardly change.
    """
    low, middle, high = np.percentile(image[brain], (25, 50, 75)) if brain.any() else (0.0, 0.0, 0.0)
    scaled: Map = (image - middle) / max(float(high - low) / QUARTILES, 1e-6)
    return scaled


def near_lesions(masks: tuple[Mask, Mask], covered: Mask) -> Mask:
    """Return where probabilities count as volume: at a lesion of either visit, its border included.

    The low probabilities of a whole brain would otherwise add up to more than its lesions.

    Args:
        masks: lesions (T, H, W) at the first and the second visit.
        covered: the brain that both visits show.
    """
    near: Mask = ndimage.binary_dilation((masks[0] | masks[1]) & covered, structure=_NEIGHBOURS) & covered
    return near


def compare_lesions(
    masks: tuple[Mask, Mask],
    probabilities: tuple[Map, Map],
    brightening: Map,
    grid: Grid,
    covered: Mask | None = None,
    rules: Rules | None = None,
) -> tuple[list[LesionChange], npt.NDArray[np.int32]]:
    """Match the lesions of two visits and classify the change of each.

    Voxels of either visit that touch, at corners too, are one lesion. Its volume at a visit is that of its voxels, each
    counted with its probability at that visit, so that a lesion just below the threshold does not count as a change.

    Args:
        masks: lesions (T, H, W) at the first and the second visit, on one grid.
        probabilities: of a lesion, (T, H, W), at the same visits.
        brightening: :func:`brightness` at the second visit less that at the first, (T, H, W).
        grid: their grid.
        covered: the brain that both visits cover; outside it nothing counts as a change. None: the whole grid.
        rules: what counts as a change.

    Returns:
        The lesions, by state and then the largest first; and the label map (T, H, W) of their numbers.
    """
    rules = rules or Rules()
    if covered is not None:
        masks = (masks[0] & covered, masks[1] & covered)
    parts, count = ndimage.label(masks[0] | masks[1], structure=_NEIGHBOURS)
    if not count:
        return [], np.zeros(parts.shape, np.int32)
    index = np.arange(1, count + 1)
    ml = grid.voxel_volume_ml
    sizes = [ndimage.sum_labels(mask, parts, index) * ml for mask in masks]
    weighed = [ndimage.sum_labels(one.astype(np.float32), parts, index) * ml for one in probabilities]
    extent = ndimage.sum_labels(np.ones(parts.shape, np.uint8), parts, index) * ml
    brighter = ndimage.mean(brightening, parts, index)
    centres = grid.to_world(ndimage.center_of_mass(parts > 0, parts, index))
    facts = [
        _Facts(
            (float(sizes[0][n]), float(sizes[1][n])),
            (float(weighed[0][n]), float(weighed[1][n])),
            float(extent[n]),
            float(brighter[n]),
        )
        for n in range(count)
    ]
    states = [_state(one, rules) for one in facts]
    order = sorted(range(count), key=lambda n: (STATES.index(states[n]), -extent[n]))
    numbers = np.zeros(count + 1, np.int32)
    numbers[np.asarray(order) + 1] = np.arange(1, count + 1)
    rows = []
    for n in order:
        r, a, s = centres[n].tolist()
        volumes = facts[n].sizes if states[n] in ("new", "gone") else facts[n].weighed
        rows.append(LesionChange(int(numbers[n + 1]), states[n], *volumes, (r, a, s)))
    return rows, numbers[parts]


@dataclass(frozen=True)
class _Facts:
    """Labelled and expected volume of a lesion at the two visits, its extent (mL), and how far it became brighter."""

    sizes: tuple[float, float]
    weighed: tuple[float, float]
    extent_ml: float
    brighter: float


def _state(facts: _Facts, rules: Rules) -> str:
    sizes, weighed = facts.sizes, facts.weighed
    for state, absent, present, brighter in (("new", 0, 1, facts.brighter), ("gone", 1, 0, -facts.brighter)):
        unseen = sizes[absent] == 0 and weighed[absent] < rules.unseen * facts.extent_ml
        if unseen and sizes[present] >= rules.least_ml and brighter >= rules.brightening:
            return state
    if not all(sizes):  # only its label came or went
        return "stable"
    change = weighed[1] - weighed[0]
    if abs(change) < max(rules.change_ml, rules.share * max(weighed)):
        return "stable"
    return "enlarging" if change > 0 else "shrinking"
