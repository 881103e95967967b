"""Lesion-wise Dice and Hausdorff distance as defined for the BraTS 2023 challenges.

Reference lesions are the 26-connected components of the reference after merging those that a dilation joins.
A lesion is compared with all predicted components that touch its dilated self. Lesions that nothing touches, and
predicted components that touch no lesion, count with Dice 0 and the penalty distance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from asa.metrics.masks import Box, Mask, MaskPair, as_mask, bounding_box, check_shapes, check_spacing, grow, union
from asa.metrics.overlap import dice_of_counts
from asa.metrics.surface import hausdorff95_of_distances, surface_distances

PENALTY_MM = 374.0  # the diagonal of a BraTS image, rounded up
_CONNECTIVITY = ndimage.generate_binary_structure(3, 3)  # 26 neighbours
_DILATION = ndimage.generate_binary_structure(3, 2)  # 18 neighbours


@dataclass(frozen=True)
class LesionScores:
    """Lesion-wise scores of one region of one case.

    Attributes:
        dice: mean Dice over reference lesions and false-positive components.
        hd95_mm: mean 95 % Hausdorff distance in mm, the penalty included.
        lesions: reference lesions that count.
        missed: those of them that no predicted component touches.
        false_positives: predicted components that touch no reference lesion.
    """

    dice: float
    hd95_mm: float
    lesions: int
    missed: int
    false_positives: int


def _dilate(mask: Mask, voxels: int) -> Mask:
    """Binary dilation by ``voxels`` steps to the 18 neighbours."""
    if voxels == 0:
        return mask
    dilated: Mask = ndimage.binary_dilation(mask, structure=_DILATION, iterations=voxels)
    return dilated


def lesion_scores(
    prediction: NDArray[Any],
    reference: NDArray[Any],
    spacing: Sequence[float],
    *,
    dilation: int = 3,
    penalty_mm: float = PENALTY_MM,
    minimum_mm3: float = 0.0,
) -> LesionScores:
    """Lesion-wise scores of two masks (T, H, W) with voxel ``spacing`` (t, h, w) in mm.

    Args:
        prediction: predicted mask, boolean or integer.
        reference: reference mask on the same grid.
        spacing: voxel spacing in mm.
        dilation: steps of dilation that join nearby reference lesions and find what touches them.
        penalty_mm: distance given to a missed lesion and to a false-positive component.
        minimum_mm3: reference lesions of at most this volume do not count (the glioma challenge used 50); what is
            predicted on them is not a false positive.

    Raises:
        ValueError: shapes differ, an array that is not a mask, or an invalid spacing.
    """
    predicted, expected = as_mask(prediction), as_mask(reference)
    check_shapes(predicted, expected)
    steps = check_spacing(spacing)
    box = union(bounding_box(predicted), bounding_box(expected))
    if box is None:
        return LesionScores(dice=1.0, hd95_mm=0.0, lesions=0, missed=0, false_positives=0)
    box = grow(box, dilation, predicted.shape)
    predicted, expected = predicted[box], expected[box]

    found, components = ndimage.label(predicted, structure=_CONNECTIVITY)
    found_boxes: list[Box] = ndimage.find_objects(found)
    lesions, _ = ndimage.label(_dilate(expected, dilation), structure=_CONNECTIVITY)
    lesions = np.where(expected, lesions, 0)

    dices: list[float] = []
    distances: list[float] = []
    touched: set[int] = set()
    missed = 0
    for value, cut in enumerate(ndimage.find_objects(lesions), start=1):
        zone = grow(cut, dilation, lesions.shape)
        near = np.unique(found[zone][_dilate(lesions[zone] == value, dilation)])
        matches = [int(component) for component in near if component]
        touched.update(matches)
        voxels = int(np.count_nonzero(lesions[cut] == value))
        if voxels * math.prod(steps) <= minimum_mm3:
            continue
        if not matches:
            missed += 1
            dices.append(0.0)
            distances.append(penalty_mm)
            continue
        for component in matches:
            zone = union(zone, found_boxes[component - 1]) or zone
        pair = MaskPair.within(np.isin(found[zone], matches), lesions[zone] == value, steps, penalty_mm)
        dices.append(dice_of_counts(*pair.counts))
        distances.append(hausdorff95_of_distances(*surface_distances(pair)))

    false_positives = components - len(touched)
    counted = len(dices) + false_positives
    return LesionScores(
        dice=sum(dices) / counted if counted else 1.0,
        hd95_mm=(sum(distances) + penalty_mm * false_positives) / counted if counted else 0.0,
        lesions=len(dices),
        missed=missed,
        false_positives=false_positives,
    )
