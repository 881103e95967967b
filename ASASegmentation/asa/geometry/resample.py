"""Resample volumes to other grids."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from asa.volume import Grid, Volume
from asa.volume.grid import Affine

# From full width at half maximum to standard deviation of a Gaussian.
FWHM_TO_SIGMA = 1 / 2.3548
# Below this ratio of spacings, linear interpolation itself blurs enough.
SMOOTH_FROM_RATIO = 1.25
# Voxels from the centre of an outer voxel to where a volume ends.
EDGE = 0.5 + 1e-4


def resample(
    volume: Volume, grid: Grid, order: int = 1, matrix: npt.ArrayLike | None = None, fill: float = 0.0
) -> Volume:
    """Return the values of ``volume`` at the voxels of ``grid``.

    order: degree of the spline: 0 nearest neighbour (label maps), 1 linear, 3 cubic. From 1 on, an axis that gets
        coarser is smoothed first, so that fine voxels are averaged instead of skipped.
    matrix: 4×4 in RAS mm, maps points of the world of ``grid`` to points of the world of ``volume``; none: they share
        one world.
    fill: value outside the field of view of ``volume`` (beyond the outer faces of its voxels).

    Returns a volume of the same type of numbers (float64 becomes float32), in a plain storage order.
    """
    to_world = grid.affine if matrix is None else np.asarray(matrix, dtype=np.float64) @ grid.affine
    pull: Affine = np.linalg.inv(volume.grid.affine) @ to_world
    source = volume.array.astype(np.float32, copy=False) if volume.array.dtype.kind == "f" else volume.array
    if volume.grid.shape == grid.shape and np.abs(pull - np.eye(4)).max() < 1e-6:
        return Volume(source.copy(), grid)
    if order >= 1:
        source = _smooth_for(source.astype(np.float32, copy=False), pull)
    if order > 1:
        source = ndimage.spline_filter(source, order=order, output=np.float32, mode="nearest")

    out = np.full(grid.shape, fill, dtype=source.dtype)
    box = _reached(pull, volume.grid.shape, grid.shape)
    part = out[box]
    if part.size:
        offset = pull[:3, :3] @ [s.start for s in box] + pull[:3, 3]
        ndimage.affine_transform(source, pull[:3, :3], offset, part.shape, part, order, mode="nearest", prefilter=False)
        _blank_outside(part, pull[:3, :3], offset, volume.grid.shape, fill)
    if order >= 1 and volume.array.dtype.kind != "f":
        out = _rounded(out, volume.array.dtype)
    return Volume(out, grid)


def coarsen(volume: Volume, size_mm: float) -> Volume:
    """Means over blocks of whole voxels, as many along each axis as fit into ``size_mm``; float32.

    The cheapest way to a small copy of a large scan. Voxels left over at the far end of an axis are dropped.
    """
    blocks = [max(1, int(size_mm / spacing + 0.01)) for spacing in volume.spacing]
    shape = [n // b for n, b in zip(volume.grid.shape, blocks, strict=True)]
    array = volume.array[tuple(slice(n * b) for n, b in zip(shape, blocks, strict=True))]
    for axis in (2, 1, 0):
        split = (*array.shape[:axis], shape[axis], blocks[axis], *array.shape[axis + 1 :])
        array = array.reshape(split).mean(axis=axis + 1, dtype=np.float32)
    affine = volume.grid.affine.copy()
    affine[:3, :3] *= blocks
    affine[:3, 3] = volume.grid.to_world((np.asarray(blocks) - 1) / 2)
    return Volume(array, Grid((shape[0], shape[1], shape[2]), affine))


def _smooth_for(source: npt.NDArray[np.float32], pull: Affine) -> npt.NDArray[np.float32]:
    """Blurs each axis to the resolution of the target grid; an axis that does not get coarser stays as it is."""
    step = np.abs(pull[:3, :3]).max(axis=1)
    sigma = [FWHM_TO_SIGMA * np.sqrt(r * r - 1) if r > SMOOTH_FROM_RATIO else 0.0 for r in step]
    if not any(sigma):
        return source
    smooth: npt.NDArray[np.float32] = ndimage.gaussian_filter(source, sigma, mode="nearest", truncate=3.0)
    return smooth


def _reached(pull: Affine, source: tuple[int, ...], target: tuple[int, ...]) -> tuple[slice, ...]:
    """Return the box of target voxels that can fall inside the source; a scan often covers a part of a grid only."""
    ends = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in source], indexing="ij")).reshape(3, -1)
    push = np.linalg.inv(pull)
    corners = push[:3, :3] @ ends + push[:3, 3:]
    low = np.clip(np.floor(corners.min(axis=1)), 0, target).astype(int)
    high = np.clip(np.ceil(corners.max(axis=1)) + 1, low, target).astype(int)
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))


def _blank_outside(
    part: npt.NDArray[Any],
    linear: npt.NDArray[np.float64],
    offset: npt.NDArray[np.float64],
    source: tuple[int, ...],
    fill: float,
) -> None:
    """Set to ``fill`` the voxels that fall beyond the outer faces of the source, in place, slice by slice."""
    t, h, w = (np.arange(n, dtype=np.float32) for n in part.shape)
    rows = linear.astype(np.float32)
    for index, plane in zip(t, part, strict=True):
        outside = np.zeros(plane.shape, dtype=bool)
        for axis in range(3):
            along_h = rows[axis, 1] * h + np.float32(offset[axis] + linear[axis, 0] * index)
            at = along_h[:, None] + rows[axis, 2] * w
            outside |= (at < -EDGE) | (at > source[axis] - 1 + EDGE)
        plane[outside] = fill


def _rounded(values: npt.NDArray[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    limits = np.iinfo(dtype)
    rounded: npt.NDArray[Any] = np.clip(np.rint(values), limits.min, limits.max).astype(dtype)
    return rounded
