"""Rules that a model of regions lays on what its network answered: borders, specks, doubtful parts, holes.

Arrays are (T, H, W) in the brain frame, whose last axis is mirrored at the middle of the brain.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from asa.model_description import RegionRules
from asa.tasks import Task

Map = npt.NDArray[np.float32]
FILLED = 0.6  # probability of what lies in a hole of a region


def settle_regions(
    regions: Map,
    task: Task,
    rules: RegionRules,
    voxel_ml: float,
    inside: npt.NDArray[np.bool_],
    bright: Map | None = None,
) -> Map:
    """Regions made consistent: an inner one nowhere likelier than the one around it, borders at 0.5, rules applied.

    Args:
        regions: (R, T, H, W) in the order of the task's regions.
        voxel_ml: volume in the scan of a voxel of the frame.
        inside: (T, H, W), the brain; no hole is filled outside of it.
        bright: (T, H, W), intensities in which the disease is bright; None where they were not given.
    """
    settled = np.empty_like(regions)
    around = np.ones(regions.shape[1:], np.float32)
    for row, region in enumerate(task.regions):
        border = rules.thresholds.get(region.name, 0.5)
        likely = regions[row]
        stretched = np.where(likely < border, 0.5 * likely / border, 1 - 0.5 * (1 - likely) / (1 - border))
        around = np.minimum(around, stretched, dtype=np.float32)
        if least := rules.min_component_ml.get(region.name):
            around = without_specks(around, least / voxel_ml)
        if share := rules.min_component_certainty.get(region.name):
            around = without_doubtful_parts(around, share)
        if bright is not None and (least := rules.asymmetry.get(region.name)):
            around = without_symmetric_parts(around, bright, inside, least)
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
    sums = log_odds(likely, parts)
    means = sums / np.bincount(parts.ravel())
    return without(likely, parts, means < share * means[1 + sums[1:].argmax()])


def log_odds(likely: Map, parts: npt.NDArray[np.int32]) -> npt.NDArray[Any]:
    """Sum of the log-odds in each numbered part."""
    odds = np.clip(likely, 1e-3, 1 - 1e-3)
    return np.bincount(parts.ravel(), np.log(odds / (1 - odds)).ravel())


def without_symmetric_parts(likely: Map, bright: Map, inside: npt.NDArray[np.bool_], least: float) -> Map:
    """A region's probability (T, H, W), 0 in connected parts that are hardly brighter than the other hemisphere there.

    Healthy tissue that a network takes for disease, an occipital pole near the coil say, looks much the same on both
    sides; on cases that a network had not seen it was at most 0.3 SD brighter than its mirror image, tumours 0.9 or
    more. What stays: parts whose mirror image is mostly labelled itself or outside of the brain, and the leading part
    where no other would.

    Args:
        bright: (T, H, W), z-scored intensities of a modality in which the disease is bright.
        inside: (T, H, W), the brain.
        least: difference of means, in SD, below which a part is taken out.
    """
    parts, count = connected_parts(likely)
    if count < 2:
        return likely
    sizes = np.bincount(parts.ravel())
    compared = (parts > 0) & (inside & (parts == 0))[..., ::-1]
    places = parts[compared]
    excess = np.bincount(places, (bright - bright[..., ::-1])[compared], minlength=len(sizes))
    counts = np.bincount(places, minlength=len(sizes))
    alike = (counts > 0.5 * sizes) & (excess < least * counts)
    if alike[1:].all():
        alike[1 + log_odds(likely, parts)[1:].argmax()] = False
    return without(likely, parts, alike)


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
