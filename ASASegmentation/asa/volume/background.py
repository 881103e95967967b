"""Detect the background of a scan, and scale its intensities.

Scanners and converters store air as 0, as -1024, as NaN, as whatever a z-score made of it, or as noise. A positive
affine change of a scan's intensities (``a * x + b``, a > 0) gives the same standardised scan.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from asa.volume.image import Volume

BORDER_SHARE = 0.3  # of the voxels on the six faces; a constant that fills so much of them is padding, not anatomy
LOW, HIGH = 0.1, 99.0  # percentiles of what is not background that become 0 and 1
SAMPLE = 500_000  # voxels that percentiles are taken of, at most

Mask = npt.NDArray[np.bool_]


def background_value(array: npt.NDArray[np.float32]) -> float | None:
    """The value of the padding around a head (T, H, W); None where the air is noise or nothing but the head is seen."""
    faces = [np.take(array, end, axis).ravel() for axis in range(3) for end in (0, -1)]
    border = np.concatenate(faces)
    border = border[np.isfinite(border)]
    if border.size == 0:
        return None
    values, counts = np.unique(border, return_counts=True)
    most = int(counts.argmax())
    return float(values[most]) if counts[most] >= BORDER_SHARE * border.size else None


def standardise(scan: Volume) -> tuple[Volume, Mask]:
    """Intensities on the scale 0 (darkest of what is shown) to 1 (its 99th percentile), and what is shown.

    Returns:
        The scan, float32, 0 in the background and never below; and (T, H, W) bool, True where it is no background:
        finite, and other than the constant that surrounds the head where there is one. A scan that shows nothing
        is 0 throughout.
    """
    array: npt.NDArray[np.float32] = np.asarray(scan.array, np.float32)
    shown: Mask = np.isfinite(array)
    if (padding := background_value(array)) is not None:
        shown &= array != padding
    inside = array[shown]
    if inside.size == 0:
        return scan.with_array(np.zeros(array.shape, np.float32)), shown
    low, high = np.percentile(inside[:: max(1, inside.size // SAMPLE)], (LOW, HIGH))
    if high <= low:
        low, high = float(inside.min()), float(inside.max())
    scaled = np.zeros(array.shape, np.float32)
    if high > low:
        scaled[shown] = np.clip((inside - low) / (high - low), 0, None)
    return scan.with_array(scaled), shown
