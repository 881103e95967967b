"""Pairs of binary masks: validation, cropping, and empty masks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Box = tuple[slice, slice, slice]
Empty = Literal["neither", "prediction", "reference", "both"]


def as_mask(array: NDArray[Any]) -> Mask:
    """Boolean view or copy of an array (T, H, W); non-zero is foreground.

    Raises:
        ValueError: not three-dimensional, or neither boolean nor integer (a posterior, or labels read as floats).
    """
    array = np.asarray(array)
    if array.ndim != 3:
        raise ValueError(f"A mask has three axes (T, H, W); this array has shape {array.shape}.")
    if array.dtype == np.bool_:
        return array
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"A mask is boolean or integer; this array is {array.dtype}.")
    foreground: Mask = array != 0
    return foreground


def check_spacing(spacing: Sequence[float]) -> tuple[float, float, float]:
    """Return voxel spacing (t, h, w) in mm as floats.

    Raises:
        ValueError: not three positive, finite numbers.
    """
    values = tuple(float(value) for value in spacing)
    if len(values) != 3 or not all(math.isfinite(value) and value > 0 for value in values):
        raise ValueError(f"Spacing must be three positive numbers in mm, not {values}.")
    return values[0], values[1], values[2]


def check_shapes(prediction: NDArray[Any], reference: NDArray[Any]) -> None:
    """Raise ValueError where prediction and reference are not on one grid."""
    if prediction.shape != reference.shape:
        raise ValueError(f"Prediction has shape {prediction.shape}, reference {reference.shape}.")


def bounding_box(mask: Mask) -> Box | None:
    """Smallest box that holds the foreground; None for an empty mask.

    The first axis is cut before the others are looked at: on a tumour in a whole head this reads the volume once.
    """
    slices: list[slice] = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        hits = np.flatnonzero(mask.any(axis=others))
        if hits.size == 0:
            return None
        found = slice(int(hits[0]), int(hits[-1]) + 1)
        mask = mask[(slice(None),) * axis + (found,)]
        slices.append(found)
    return slices[0], slices[1], slices[2]


def grow(box: Box, margin: int, shape: tuple[int, ...]) -> Box:
    """Return the box widened by ``margin`` voxels on every side, as far as the image goes."""
    t, h, w = (
        slice(max(cut.start - margin, 0), min(cut.stop + margin, size)) for cut, size in zip(box, shape, strict=True)
    )
    return t, h, w


def union(first: Box | None, second: Box | None) -> Box | None:
    """Smallest box that holds both."""
    if first is None or second is None:
        return first or second
    t, h, w = (slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(first, second, strict=True))
    return t, h, w


@dataclass(frozen=True)
class MaskPair:
    """A predicted and a reference mask, cropped to the union of their boxes.

    Attributes:
        prediction: boolean (T, H, W) after the crop; shape (0, 0, 0) where both are empty.
        reference: likewise.
        spacing: voxel spacing (t, h, w) in mm.
        diagonal_mm: diagonal of the *whole* image: the Hausdorff distance given where exactly one mask is empty.
    """

    prediction: Mask
    reference: Mask
    spacing: tuple[float, float, float]
    diagonal_mm: float

    @staticmethod
    def of(prediction: NDArray[Any], reference: NDArray[Any], spacing: Sequence[float]) -> MaskPair:
        """Pair two arrays (T, H, W), boolean or integer with non-zero as foreground.

        Raises:
            ValueError: shapes differ, an array that is not a mask, or an invalid spacing.
        """
        predicted, expected = as_mask(prediction), as_mask(reference)
        check_shapes(predicted, expected)
        steps = check_spacing(spacing)
        diagonal = math.hypot(*(size * step for size, step in zip(predicted.shape, steps, strict=True)))
        return MaskPair.within(predicted, expected, steps, diagonal)

    @staticmethod
    def within(prediction: Mask, reference: Mask, spacing: tuple[float, float, float], diagonal_mm: float) -> MaskPair:
        """Pair two masks that were cut out of an image whose diagonal is known."""
        box = union(bounding_box(prediction), bounding_box(reference)) or (slice(0), slice(0), slice(0))
        return MaskPair(prediction[box], reference[box], spacing, diagonal_mm)

    @cached_property
    def counts(self) -> tuple[int, int, int]:
        """Voxels of the prediction, of the reference, and common to both."""
        return (
            int(np.count_nonzero(self.prediction)),
            int(np.count_nonzero(self.reference)),
            int(np.count_nonzero(self.prediction & self.reference)),
        )

    @property
    def empty(self) -> Empty:
        """Which of the two masks has no voxel."""
        predicted, expected, _ = self.counts
        if predicted and expected:
            return "neither"
        if predicted:
            return "reference"
        return "prediction" if expected else "both"

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in mL."""
        return math.prod(self.spacing) / 1000.0
