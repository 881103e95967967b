"""All scores of one case, by region."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asa.metrics.lesions import lesion_scores
from asa.metrics.masks import MaskPair, as_mask, bounding_box, check_shapes, check_spacing, union
from asa.metrics.overlap import dice_of_counts, share_of_counts
from asa.metrics.surface import (
    hausdorff95_of_distances,
    pooled_hausdorff95_of_distances,
    surface_dice_of_distances,
    surface_distances,
)


def score_pair(pair: MaskPair, tolerance_mm: float = 1.0) -> dict[str, float]:
    """Return every whole-mask metric of one pair; the keys are those of :func:`score_case`."""
    predicted, expected, common = pair.counts
    error = (predicted - expected) * pair.voxel_ml
    if pair.empty == "neither":
        distances = surface_distances(pair)
        hd95, pooled = hausdorff95_of_distances(*distances), pooled_hausdorff95_of_distances(*distances)
        nsd = surface_dice_of_distances(*distances, tolerance_mm)
    else:
        hd95 = pooled = 0.0 if pair.empty == "both" else pair.diagonal_mm
        nsd = float(pair.empty == "both")
    return {
        "dice": dice_of_counts(predicted, expected, common),
        "hd95_mm": hd95,
        "hd95_pooled_mm": pooled,
        "nsd": nsd,
        "sensitivity": share_of_counts(expected, predicted, common),
        "precision": share_of_counts(predicted, expected, common),
        "volume_ml": predicted * pair.voxel_ml,
        "reference_ml": expected * pair.voxel_ml,
        "volume_error_ml": error,
        "one_empty": float(pair.empty in ("prediction", "reference")),
    }


def score_case(
    prediction: NDArray[Any],
    reference: NDArray[Any],
    regions: Mapping[str, Collection[int]],
    spacing: Sequence[float],
    *,
    tolerance_mm: float = 1.0,
    lesionwise: bool = False,
) -> dict[str, dict[str, float]]:
    """Return the scores of a predicted label map against a reference, by region.

    Args:
        prediction: integer label map (T, H, W).
        reference: integer label map on the same grid, with the same label values.
        regions: name of a region -> the label values it is made of; regions may overlap (a task's nested regions).
        spacing: voxel spacing (t, h, w) in mm.
        tolerance_mm: tolerance of the normalised surface Dice.
        lesionwise: also score lesion by lesion (keys ``lesion_dice``, ``lesion_hd95_mm``, ``lesions``,
            ``lesions_missed``, ``lesion_false_positives``).

    Returns:
        region -> metric -> value: ``dice``, ``hd95_mm`` (the larger of two percentiles), ``hd95_pooled_mm`` (one
        percentile of both directions together), ``nsd``, ``sensitivity``, ``precision``, ``volume_ml``,
        ``reference_ml``, ``volume_error_ml`` and ``one_empty`` (1 where exactly one of the two is empty, so that the
        Dice and the distances are conventions and not measurements: state their sum with every mean).

    Raises:
        ValueError: shapes differ, an array that is not a label map, or an invalid spacing.
    """
    check_shapes(prediction, reference)
    steps = check_spacing(spacing)
    diagonal = math.hypot(*(size * step for size, step in zip(prediction.shape, steps, strict=True)))
    box = union(bounding_box(as_mask(prediction)), bounding_box(as_mask(reference))) or (slice(0), slice(0), slice(0))
    predicted, expected = prediction[box], reference[box]

    scores: dict[str, dict[str, float]] = {}
    for name, labels in regions.items():
        values = np.fromiter(labels, dtype=np.int64)
        masks = np.isin(predicted, values), np.isin(expected, values)
        scores[name] = score_pair(MaskPair.within(*masks, steps, diagonal), tolerance_mm)
        if lesionwise:
            lesion = lesion_scores(*masks, steps)
            scores[name] |= {
                "lesion_dice": lesion.dice,
                "lesion_hd95_mm": lesion.hd95_mm,
                "lesions": float(lesion.lesions),
                "lesions_missed": float(lesion.missed),
                "lesion_false_positives": float(lesion.false_positives),
            }
    return scores
