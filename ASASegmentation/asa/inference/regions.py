"""Post-processing of region probabilities: thresholds, small, uncertain and symmetric components, holes.

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
FILLED = 0.6  # probability assigned to filled holes


def postprocess_regions(
    regions: Map,
    task: Task,
    rules: RegionRules,
    voxel_ml: float,
    inside: npt.NDArray[np.bool_],
    bright: Map | None = None,
) -> Map:
    """Make nested regions consistent, move their thresholds to 0.5, and apply the rules.

    Args:
        regions: (R, T, H, W) in the order of the task's regions.
        voxel_ml: volume in the scan of a voxel of the frame.
        inside: (T, H, W), brain mask; holes are filled only inside it.
        bright: (T, H, W), intensities in which the disease is bright; None if not given.
    """
    processed = np.empty_like(regions)
    around = np.ones(regions.shape[1:], np.float32)
    for row, region in enumerate(task.regions):
        border = rules.thresholds.get(region.name, 0.5)
        probability = regions[row]
        stretched = np.where(
            probability < border, 0.5 * probability / border, 1 - 0.5 * (1 - probability) / (1 - border)
        )
        around = np.minimum(around, stretched, dtype=np.float32)
        if least := rules.min_component_ml.get(region.name):
            around = remove_small_components(around, least / voxel_ml)
        if share := rules.min_component_certainty.get(region.name):
            around = remove_low_confidence_components(around, share)
        if bright is not None and (least := rules.asymmetry.get(region.name)):
            around = remove_symmetric_components(around, bright, inside, least)
        if share := rules.closing.get(region.name):
            around = close_components(around, share, inside)
        processed[row] = around
    return processed


def connected_components(probability: Map) -> tuple[npt.NDArray[np.int32], int]:
    """Return the connected component (26-neighbourhood) of each voxel (T, H, W), 0 outside, and their number."""
    parts, count = ndimage.label(probability > 0.5, structure=np.ones((3, 3, 3)))
    return parts, count


def remove_small_components(probability: Map, least: float) -> Map:
    """Set a region's probability (T, H, W) to 0 in connected components of fewer than ``least`` voxels."""
    parts, _ = connected_components(probability)
    return remove_components(probability, parts, np.bincount(parts.ravel()) < least)


def remove_low_confidence_components(probability: Map, share: float) -> Map:
    """Set a region's probability (T, H, W) to 0 in connected components far less certain than the leading one.

    A component's certainty is its mean log-odds; the leading component has the largest sum of log-odds. On unseen
    cases, false positives had 0.15 to 0.3 of the certainty of the tumour.

    Args:
        share: share of the leading component's certainty below which a component is removed.
    """
    parts, count = connected_components(probability)
    if count < 2:
        return probability
    sums = log_odds(probability, parts)
    means = sums / np.bincount(parts.ravel())
    return remove_components(probability, parts, means < share * means[1 + sums[1:].argmax()])


def log_odds(probability: Map, parts: npt.NDArray[np.int32]) -> npt.NDArray[Any]:
    """Return the sum of the log-odds in each numbered component."""
    odds = np.clip(probability, 1e-3, 1 - 1e-3)
    return np.bincount(parts.ravel(), np.log(odds / (1 - odds)).ravel())


def remove_symmetric_components(probability: Map, bright: Map, inside: npt.NDArray[np.bool_], least: float) -> Map:
    """Set a region's probability (T, H, W) to 0 in connected components barely brighter than the other hemisphere.

    Healthy tissue mistaken for disease, such as an occipital pole near the coil, looks similar on both sides. On unseen
    cases it was at most 0.3 SD brighter than its mirror image, tumours 0.9 SD or more. Components are kept if their
    mirror image is mostly labelled or outside the brain; the leading component is kept if no other would remain.

    Args:
        bright: (T, H, W), z-scored intensities of a modality in which the disease is bright.
        inside: (T, H, W), the brain.
        least: difference of means, in SD, below which a component is removed.
    """
    parts, count = connected_components(probability)
    if count < 2:
        return probability
    sizes = np.bincount(parts.ravel())
    compared = (parts > 0) & (inside & (parts == 0))[..., ::-1]
    places = parts[compared]
    excess = np.bincount(places, (bright - bright[..., ::-1])[compared], minlength=len(sizes))
    counts = np.bincount(places, minlength=len(sizes))
    alike = (counts > 0.5 * sizes) & (excess < least * counts)
    if alike[1:].all():
        alike[1 + log_odds(probability, parts)[1:].argmax()] = False
    return remove_components(probability, parts, alike)


def remove_components(probability: Map, parts: npt.NDArray[np.int32], unwanted: npt.NDArray[np.bool_]) -> Map:
    """Set a probability (T, H, W) to 0 in the components (T, H, W) that are ``unwanted`` (by number; 0 is kept)."""
    unwanted[0] = False
    kept: Map = np.where(unwanted[parts], 0, probability).astype(np.float32, copy=False)
    return kept


def close_components(probability: Map, share: float, inside: npt.NDArray[np.bool_]) -> Map:
    """Close each connected component of a region's probability (T, H, W) by a ball proportional to its size.

    A mass contains no healthy tissue, but the haemorrhagic or necrotic centre of a large one is unlike the training
    data.

    Args:
        share: radius of the structuring ball relative to that of a ball with the component's volume.
        inside: (T, H, W), the brain.
    """
    parts, _ = connected_components(probability)
    filled = probability.copy()
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
