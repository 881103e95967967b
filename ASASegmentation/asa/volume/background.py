"""Detect the background of a scan, and scale its intensities.

Scanners and converters store air as 0, as -1024, as NaN, as whatever a z-score made of it, or as noise. A positive
affine change of a scan's intensities (``a * x + b``, a > 0) gives the same standardised scan.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from asa.volume.image import Volume
from asa.volume.masks import Mask, fill_holes

BORDER_SHARE = 0.3  # of the voxels on the six faces; a constant that fills so much of them is padding, not anatomy
LOW, HIGH = 0.1, 99.0  # percentiles of what is not background that become 0 and 1
BELOW_SHARE = 0.02  # of what is not background; where more of it is darker than the padding, the padding is mid-grey
# The median of the border over the brightest tissue from which on air is noise, and the variation within a slice over
# the mean that noise has and tissue has not: uniform noise 0.54, tissue 0.2 and less.
NOISY_BORDER, RIPPLED = 0.2, 0.35
BRIGHT = 1000.0  # the 99th percentile of a rebased scan lies within a factor of the square root of two of it
SAMPLE = 500_000  # voxels that percentiles are taken of, at most


def background_value(array: npt.NDArray[np.float32]) -> float | None:
    """The value of the padding around a head (T, H, W); None where the air is noise or nothing but the head is seen.

    The border is that of the finite voxels: resampling programs leave a rim of NaN around an image.
    """
    array = array[finite_box(array)]
    faces = [np.take(array, end, axis).ravel() for axis in range(3) for end in (0, -1)]
    border = np.concatenate(faces)
    border = border[np.isfinite(border)]
    if border.size == 0:
        return None
    values, counts = np.unique(border, return_counts=True)
    most = int(counts.argmax())
    return float(values[most]) if counts[most] >= BORDER_SHARE * border.size else None


def finite_box(array: npt.NDArray[np.float32]) -> tuple[slice, ...]:
    """The smallest box (T, H, W) that holds all finite voxels; the whole array where there are none."""
    finite = np.isfinite(array)
    if finite.all():
        return (slice(None),) * array.ndim
    box = []
    for axis in range(array.ndim):
        held = np.flatnonzero(finite.any(axis=tuple(other for other in range(array.ndim) if other != axis)))
        box.append(slice(held[0], held[-1] + 1) if held.size else slice(None))
    return tuple(box)


def with_finite_background(array: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The same (T, H, W) with the background, or the darkest value, in the place of NaN and infinity."""
    finite = np.isfinite(array)
    padding = background_value(array)
    filled: npt.NDArray[np.float32] = np.where(finite, array, array[finite].min() if padding is None else padding)
    return filled


def shown_voxels(array: npt.NDArray[np.float32]) -> tuple[Mask, float | None]:
    """What is not background, finite and other than the padding (T, H, W); and the value of the padding, if any."""
    shown = np.isfinite(array)
    if (padding := background_value(array)) is not None:
        shown &= array != padding
    return shown, padding


def _limits(inside: npt.NDArray[np.float32]) -> tuple[float, float]:
    """The darkest and the brightest of intensities (n,), but for a few."""
    low, high = np.percentile(inside[:: max(1, inside.size // SAMPLE)], (LOW, HIGH))
    return low, high


def rebased(array: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Intensities (T, H, W) with the background at 0 and the brightest tissue near 1000.

    Every step after reading may then take 0 for background, and small constants for small. A positive affine change
    of the intensities gives the same result up to rounding. The scale is a power of two, so that it rounds nothing,
    and a scan with a background of 0 keeps its ratios exactly.

    array: finite.
    """
    shown, padding = shown_voxels(array)
    inside = array[shown]
    if inside.size == 0:
        return np.zeros(array.shape, np.float32)
    low, high = map(float, _limits(inside))
    below = padding is None or float(np.mean(inside < padding)) > BELOW_SHARE
    base = low if padding is None or below else padding
    result = array - np.float32(base)
    result[~shown] = 0
    if below:
        np.maximum(result, 0, out=result)
    if high > base:
        result *= np.float32(2.0 ** round(np.log2(BRIGHT / (high - base))))
    return result


def air_noise(array: npt.NDArray[np.float32], spacing: tuple[float, float, float]) -> Mask | None:
    """Find air that is filled with noise as bright as tissue, as in the uniform images of MP2RAGE.

    Noise differs from voxel to voxel, tissue does not: air is what varies much within a slice and reaches the border.

    Args:
        array: (T, H, W), finite, with its background at 0.
        spacing: mm along T, H, W; the two finest axes are those of a slice.

    Returns:
        (T, H, W) bool, the air; None where the air is as dark as usual.
    """
    faces = np.concatenate([np.take(array, end, axis).ravel() for axis in range(3) for end in (0, -1)])
    bright = float(np.percentile(array[::2, ::2, ::2], HIGH))
    if float(np.median(faces)) < NOISY_BORDER * bright:
        return None
    within = [0 if axis == int(np.argmax(spacing)) else 1 for axis in range(3)]
    near, far = ([1 + step * one for one in within] for step in (2, 6))
    ripple = array - ndimage.uniform_filter(array, near)
    energy = ndimage.uniform_filter(ripple * ripple, far)
    mean = np.maximum(ndimage.uniform_filter(np.abs(array), far), 1e-3 * bright)
    head = ndimage.binary_opening(np.sqrt(np.maximum(energy, 0)) < RIPPLED * mean, iterations=2)
    parts, count = ndimage.label(head)
    if count == 0:
        return None
    largest = parts == 1 + int(np.argmax(np.bincount(parts.ravel(), minlength=count + 1)[1:]))
    held = ndimage.binary_dilation(largest, iterations=2)
    return ~fill_holes(held)


def standardise(scan: Volume) -> tuple[Volume, Mask]:
    """Intensities on the scale 0 (darkest of what is shown) to 1 (its 99th percentile), and what is shown.

    Returns:
        The scan, float32, 0 in the background and never below; and (T, H, W) bool, True where it is not background:
        finite, and other than the constant that surrounds the head where there is one. A scan that shows nothing
        is 0 throughout.
    """
    array: npt.NDArray[np.float32] = np.asarray(scan.array, np.float32)
    shown, _ = shown_voxels(array)
    inside = array[shown]
    if inside.size == 0:
        return scan.with_array(np.zeros(array.shape, np.float32)), shown
    low, high = _limits(inside)
    if high <= low:
        low, high = float(inside.min()), float(inside.max())
    scaled = np.zeros(array.shape, np.float32)
    if high > low:
        scaled[shown] = np.clip((inside - low) / (high - low), 0, None)
    return scan.with_array(scaled), shown
