"""Checks of an image before processing; each failure is one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from asa.errors import InputError, ResourceError
from asa.memory import available_memory
from asa.volume.background import background_value
from asa.volume.grid import Affine, Grid
from asa.volume.image import Volume
from asa.volume.masks import fill_holes

# 1024³: more than any head scan, less than what a header may claim by mistake.
MAX_VOXELS = 2**30
# Bytes of memory per voxel of an image: 12 while it is read and scaled (measured), and labels, brain and posterior.
NEEDED_PER_VOXEL = 16
# No scan of a brain, not of a newborn's either, is smaller along any axis; none of a head is larger.
MIN_EXTENT_MM, MAX_EXTENT_MM = 80.0, 1000.0
# A scan has at least hundreds of grey levels. Label maps of whole heads have tens of values, in large flat patches.
MAX_LABELS_FEW, MAX_LABELS_FLAT = 12, 256
FLAT_FRACTION = 0.75
THICK_SLICE_MM = 2.5
ROUNDING = 1e-5  # of a label, relative to its value
# Of the voxels, this much must be finite; of those that are, at most this much may be enclosed NaN or infinity.
MIN_FINITE, MAX_ENCLOSED = 0.02, 1e-4


def check_shape(path: Path, shape: Sequence[int]) -> tuple[int, int, int]:
    """Return the three sizes of an image with one frame, from what its header claims. Raises InputError."""
    if any(n < 1 for n in shape):
        raise InputError(f"{path} has an axis of {min(shape)} voxels; the file is damaged.")
    if (voxels := _product(shape)) > MAX_VOXELS:
        sizes = "×".join(str(n) for n in shape)
        raise InputError(f"{path} claims {sizes} = {voxels:.3g} voxels, more than any head scan has; it is damaged.")
    frames = _product(shape[3:])
    if frames > 1:
        raise InputError(f"{path} has {frames} frames; give one three-dimensional image, for example its first frame.")
    spatial = tuple(shape[:3])
    if len(spatial) < 3 or min(spatial) < 2:
        sizes = "×".join(str(n) for n in spatial)
        raise InputError(f"{path} is two-dimensional ({sizes}); a volume of many slices is needed.")
    return spatial[0], spatial[1], spatial[2]


def check_memory(path: Path, shape: Sequence[int]) -> None:
    """Raise ResourceError, before anything is read, when an image is larger than the free memory allows."""
    needed, free = NEEDED_PER_VOXEL * _product(shape), available_memory()
    if needed > free:
        sizes = "×".join(str(n) for n in shape)
        raise ResourceError(
            f"{path} has {sizes} voxels, which take about {needed / 1e9:.1f} GB of memory; {free / 1e9:.1f} GB are "
            "free. Close other programs, or resample the image to voxels of 1 mm."
        )


def check_affine(path: Path, affine: npt.NDArray[Any]) -> Affine:
    """Return the affine in float64. Raises InputError when it does not place voxels in space."""
    matrix: Affine = np.asarray(affine, dtype=np.float64)
    if not np.isfinite(matrix).all():
        raise InputError(f"{path} has NaN or infinite numbers in its affine; its geometry is unknown.")
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    # Relative to the voxel size: the determinant of 0.1 mm voxels is small and right.
    if lengths.min() < 1e-6 or abs(np.linalg.det(matrix[:3, :3] / lengths)) < 1e-3:
        raise InputError(f"{path} has a singular affine (determinant 0): its header does not place voxels in space.")
    return matrix


def check_extent(path: Path, grid: Grid) -> None:
    """Raise InputError when the field of view cannot hold a brain, or could hold a whole body."""
    extent = np.asarray(grid.spacing) * grid.shape
    sizes = "×".join(f"{mm:.3g}" for mm in extent[::-1])
    if extent.min() < MIN_EXTENT_MM:
        raise InputError(f"{path} covers {sizes} mm, too small a field of view to hold a brain.")
    if extent.max() > MAX_EXTENT_MM:
        raise InputError(f"{path} covers {sizes} mm, too large for a head; check the voxel size in its header.")


def check_finite(path: Path, array: npt.NDArray[Any], *, labels: bool) -> tuple[str, ...]:
    """Check for NaN and infinity in (T, H, W), which programs write for air and for what lies outside a mask.

    Returns:
        A note where there are such voxels and they can be taken for background.

    Raises:
        InputError: they lie inside the head, or leave too little of the image; any, in a label map.
    """
    if not np.issubdtype(array.dtype, np.floating):
        return ()
    bad = ~np.isfinite(array)
    count = int(np.count_nonzero(bad))
    if count == 0:
        return ()
    if labels:
        raise InputError(f"{path} has {count} voxels that are NaN or infinite; a label map needs whole numbers.")
    if count > (1 - MIN_FINITE) * bad.size:
        raise InputError(f"{path} has {count} voxels that are NaN or infinite, which is nearly all of the image.")
    inside = int(np.count_nonzero(fill_holes(~bad) & bad))
    if inside > MAX_ENCLOSED * (bad.size - count):
        raise InputError(f"{path} has {inside} NaN or infinite voxels inside the head; repair the image first.")
    return (f"has {count} voxels that are NaN or infinite; they are treated as background",)


def check_contrast(path: Path, array: npt.NDArray[Any]) -> None:
    """Raise InputError when an image (T, H, W), finite, shows nothing, or is a label map."""
    low, high = float(array.min()), float(array.max())
    if low == high:
        raise InputError(f"{path} is empty: every voxel is {low:g}.")
    values = _few_values(array)
    if values is None:
        return
    background = background_value(array)
    if len(values) <= MAX_LABELS_FEW or _flat_fraction(array, background or 0.0) > FLAT_FRACTION:
        raise InputError(f"{path} is a label map ({len(values)} different whole numbers), not an image.")


def check_labels(path: Path, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the label map as integers. Raises InputError when its values are not whole numbers."""
    if np.issubdtype(array.dtype, np.integer):
        return array
    labels: npt.NDArray[Any] = np.rint(array)
    # a slope that was rounded to 0.99999994 moves large labels most
    if np.any(np.abs(array - labels) > ROUNDING * (1 + np.abs(labels))) or np.any(np.abs(labels) > np.iinfo("i4").max):
        raise InputError(f"{path} is not a label map: some values are not whole numbers.")
    whole: npt.NDArray[np.int32] = labels.astype(np.int32)
    return whole


def acquisition_warnings(volume: Volume) -> tuple[str, ...]:
    """What a reader of the results should know about how the image was taken; empty for ordinary 3-D scans."""
    thickest = max(volume.spacing)
    if thickest < THICK_SLICE_MM:
        return ()
    return (f"The slices are {thickest:.1f} mm apart; thin structures and volumes are less certain.",)


def _product(sizes: Sequence[int]) -> int:
    product = 1
    for n in sizes:
        product *= int(n)
    return product


def _few_values(array: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
    """Return the distinct values if all are whole numbers and not too many for labels, otherwise None."""
    # A thin sample settles it for nearly every image, before all voxels are looked at.
    for step in (5, 1):
        sample = array[::step, ::step, ::step]
        if not np.array_equal(sample, np.rint(sample)):
            return None
        low, high = int(sample.min()), int(sample.max())
        if high - low < 2**16:
            found = np.bincount((sample.ravel() - low).astype(np.int32))
            values = np.flatnonzero(found) + low
        else:
            values = np.unique(sample)
        if len(values) > MAX_LABELS_FLAT:
            return None
    return values


def _flat_fraction(array: npt.NDArray[Any], background: float) -> float:
    """Of neighbours that are both other than the background, the part that is equal; the smallest over three axes.

    The smallest, because a scan repeated along one axis (interpolated slices) is flat only along that one.
    """
    fractions: list[float] = []
    for axis in range(3):
        behind, ahead = (np.take(array, range(s, array.shape[axis] - 1 + s), axis=axis) for s in (0, 1))
        inside = (behind != background) & (ahead != background)
        pairs = max(1, int(np.count_nonzero(inside)))
        fractions.append(int(np.count_nonzero((behind == ahead) & inside)) / pairs)
    return min(fractions)
