"""Metrics that count voxels.

Conventions for empty masks, used everywhere in the project: both empty is a perfect score, exactly one empty the worst.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asa.metrics.masks import as_mask, check_shapes, check_spacing


def _counts(prediction: NDArray[Any], reference: NDArray[Any]) -> tuple[int, int, int]:
    """Return the voxels of the prediction, of the reference, and common to both."""
    predicted, expected = as_mask(prediction), as_mask(reference)
    check_shapes(predicted, expected)
    common = np.count_nonzero(predicted & expected)
    return int(np.count_nonzero(predicted)), int(np.count_nonzero(expected)), int(common)


def dice_of_counts(predicted: int, expected: int, common: int) -> float:
    """Return the Dice from the voxels of the prediction, of the reference, and common to both."""
    total = predicted + expected
    return 2.0 * common / total if total else 1.0


def share_of_counts(whole: int, other: int, common: int) -> float:
    """common / whole; with an empty whole, 1 if the other mask is empty too, otherwise 0."""
    return common / whole if whole else float(other == 0)


def dice(prediction: NDArray[Any], reference: NDArray[Any]) -> float:
    """Return the Dice coefficient 2|P∩R| / (|P|+|R|) of two masks (T, H, W); both empty: 1, exactly one empty: 0.

    Raises:
        ValueError: shapes differ, or an array is not a mask.
    """
    return dice_of_counts(*_counts(prediction, reference))


def sensitivity(prediction: NDArray[Any], reference: NDArray[Any]) -> float:
    """Share of the reference that is found, |P∩R| / |R|; both empty: 1, exactly one empty: 0.

    Raises:
        ValueError: as :func:`dice`.
    """
    predicted, expected, common = _counts(prediction, reference)
    return share_of_counts(expected, predicted, common)


def precision(prediction: NDArray[Any], reference: NDArray[Any]) -> float:
    """Share of the prediction that is right, |P∩R| / |P|; both empty: 1, exactly one empty: 0.

    Raises:
        ValueError: as :func:`dice`.
    """
    predicted, expected, common = _counts(prediction, reference)
    return share_of_counts(predicted, expected, common)


def volume_error(prediction: NDArray[Any], reference: NDArray[Any], spacing: Sequence[float]) -> float:
    """Signed volume error in mL, prediction − reference; ``spacing`` (t, h, w) in mm.

    Raises:
        ValueError: as :func:`dice`, or a spacing that is none.
    """
    predicted, expected, _ = _counts(prediction, reference)
    return (predicted - expected) * math.prod(check_spacing(spacing)) / 1000.0
