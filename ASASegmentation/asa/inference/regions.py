"""Rules that a model of regions lays on what its network answered: borders, specks, doubtful parts, holes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from asa.tasks import Task

Map = npt.NDArray[np.float32]
FILLED = 0.6  # probability of what lies in a hole of a region


@dataclass(frozen=True)
class RegionRules:
    """What model.json says of regions, each by the region's name.

    Attributes:
        thresholds: probability from which it is there; 0.5 unless named.
        least_ml: connected parts smaller than this are taken out of it, and of all within.
        certainty: see :func:`without_doubtful_parts`.
        closing: see :func:`closed`.
    """

    thresholds: Mapping[str, float] = field(default_factory=dict)
    least_ml: Mapping[str, float] = field(default_factory=dict)
    certainty: Mapping[str, float] = field(default_factory=dict)
    closing: Mapping[str, float] = field(default_factory=dict)


def settle_regions(regions: Map, task: Task, rules: RegionRules, voxel_ml: float, inside: npt.NDArray[np.bool_]) -> Map:
    """Regions made consistent: an inner one nowhere likelier than the one around it, borders at 0.5, rules applied.

    Args:
        regions: (R, T, H, W) in the order of the task's regions.
        voxel_ml: volume in the scan of a voxel of the frame.
        inside: (T, H, W), the brain; no hole is filled outside of it.
    """
    settled = np.empty_like(regions)
    around = np.ones(regions.shape[1:], np.float32)
    for row, region in enumerate(task.regions):
        border = rules.thresholds.get(region.name, 0.5)
        likely = regions[row]
        stretched = np.where(likely < border, 0.5 * likely / border, 1 - 0.5 * (1 - likely) / (1 - border))
        around = np.minimum(around, stretched, dtype=np.float32)
        if least := rules.least_ml.get(region.name):
            around = without_specks(around, least / voxel_ml)
        if share := rules.certainty.get(region.name):
            around = without_doubtful_parts(around, share)
        if share := rules.closing.get(region.name):
            around = closed(around, share, inside)
        settled[row] = around
    return settled


def connected_parts(likely: Map) -> tuple[npt.NDArray[np.int32], int]:
    """Number of the connected part (26-neighbourhood) of each voxel (T, H, W) of a region, 0 outside; and how many."""
    parts, count = ndimage.label(likely > 0.5, structure=np.ones((3, 3, 3)))
    return parts, count


def without_specks(likely: Map, least: float) -> Map:
    """A region's probability (T, H, W), 0 in its connected parts (26-neighbourhood) of fewer than ``least`` voxels."""
    parts, _ = connected_parts(likely)
    return without(likely, parts, np.bincount(parts.ravel()) < least)


def without_doubtful_parts(likely: Map, share: float) -> Map:
    """A region's probability (T, H, W), 0 in connected parts that are far less certain than the leading one.

    A part's certainty is its mean log-odds; the leading part is the one with the largest sum of them. On cases a model
    had not seen, what it took for tumour and was not had 0.15 to 0.3 of the certainty of the tumour.

    Args:
        share: of the leading part's certainty, below which a part is taken out.
    """
    parts, count = connected_parts(likely)
    if count < 2:
        return likely
    odds = np.clip(likely, 1e-3, 1 - 1e-3)
    sums = np.bincount(parts.ravel(), np.log(odds / (1 - odds)).ravel())
    means = sums / np.bincount(parts.ravel())
    return without(likely, parts, means < share * means[1 + sums[1:].argmax()])


def without(likely: Map, parts: npt.NDArray[np.int32], unwanted: npt.NDArray[np.bool_]) -> Map:
    """A probability (T, H, W), 0 in the numbered parts (T, H, W) that are ``unwanted`` (by number; 0 stays)."""
    unwanted[0] = False
    kept: Map = np.where(unwanted[parts], 0, likely).astype(np.float32, copy=False)
    return kept


def closed(likely: Map, share: float, inside: npt.NDArray[np.bool_]) -> Map:
    """A region's probability (T, H, W), each connected part closed by a ball in proportion to its size.

    A mass has no healthy tissue within; the inside of a large one, torn by blood and necrosis, looks like nothing that
    a network saw in training.

    Args:
        share: radius of the ball as a share of that of a ball with the part's volume.
        inside: (T, H, W), the brain.
    """
    parts, _ = connected_parts(likely)
    filled = likely.copy()
    for number, found in enumerate(ndimage.find_objects(parts), start=1):
        count = np.count_nonzero(parts[found] == number)
        radius = share * (0.75 * count / np.pi) ** (1 / 3)
        margin = int(np.ceil(radius)) + 1
        box = tuple(
            slice(max(0, one.start - margin), min(size, one.stop + margin))
            for one, size in zip(found, parts.shape, strict=True)
        )
        part = parts[box] == number
        near = ndimage.distance_transform_edt(~part) <= radius
        hole = (ndimage.distance_transform_edt(near) > radius) & ~part & inside[box]
        filled[box] = np.where(hole, np.maximum(filled[box], FILLED), filled[box])
    return filled
