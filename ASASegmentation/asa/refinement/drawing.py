"""Marks -> voxels of a grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from asa.errors import InputError
from asa.refinement.marks import Mark
from asa.volume import Grid

Indices = npt.NDArray[np.intp]
MAX_VOXELS = 2_000_000  # of a box; at 1 mm that is more than a whole brain
MAX_BOX = 60_000_000  # voxels of the box around a scribble or lasso


@dataclass(frozen=True)
class Drawn:
    """A mark on a grid.

    Attributes:
        voxels: (N, 3) indices (t, h, w), unique and sorted: what the user said something about.
        box: whether no other voxel may change.
        certain: whether every one of ``voxels`` belongs to the segment, or does not; of a box to add, only some do.
    """

    voxels: Indices
    box: bool = False
    certain: bool = True


def draw(mark: Mark, grid: Grid, name: str = "The mark") -> Drawn:
    """Find the voxels of a mark.

    Args:
        mark: in RAS mm.
        grid: of the segmentation.
        name: what messages call the mark.

    Raises:
        InputError: it lies outside the grid, has no points, marks too much, or is a lasso in no plane.
    """
    if not mark.points:
        raise InputError(f"{name} has no points; draw it again.")
    points = np.asarray(mark.points, np.float64)
    if not np.isfinite(points).all():
        raise InputError(f"{name} has coordinates that are not finite; draw it again.")
    if not grid.contains(points).all():
        outside = points[~grid.contains(points)][0]
        place = ", ".join(f"{one:.1f}" for one in outside)
        raise InputError(f"{name} lies outside the image, at {place} mm (R, A, S); nothing was changed.")
    if mark.kind == "box":
        return _box(mark, points, grid, name)
    if mark.kind == "lasso":
        return Drawn(_lasso(points, grid, name))
    centres = _line(points, grid)
    return Drawn(_dilated(centres, mark.radius_mm, grid, name))


def _nearest(indices: npt.NDArray[np.float64], grid: Grid) -> Indices:
    """Unique, sorted voxels nearest to fractional indices (N, 3)."""
    # rounding half away from the middle of the grid, so that a mirrored mark takes the mirrored voxel
    middle = (np.asarray(grid.shape) - 1) / 2
    offset = indices - middle
    rounded = middle + np.sign(offset) * (np.ceil(np.abs(offset) - 0.5 - middle % 1 - 1e-6) + middle % 1)
    voxels = np.clip(np.rint(rounded).astype(np.intp), 0, np.asarray(grid.shape) - 1)
    return np.unique(voxels, axis=0)


def _line(points: npt.NDArray[np.float64], grid: Grid) -> Indices:
    """Voxels along a line through points (N, 3) in RAS mm."""
    places = grid.to_index(points)
    if len(places) > 1:
        steps = np.maximum(1, np.ceil(2 * np.abs(np.diff(places, axis=0)).max(axis=1))).astype(int)
        parts = [
            a + (b - a) * np.arange(n)[:, None] / n for a, b, n in zip(places[:-1], places[1:], steps, strict=True)
        ]
        places = np.concatenate([*parts, places[-1:]])
    return _nearest(places, grid)


def _dilated(centres: Indices, radius_mm: float, grid: Grid, name: str) -> Indices:
    """Voxels within a radius of voxels (N, 3)."""
    matrix = grid.affine[:3, :3]
    reach = np.floor(radius_mm / np.asarray(grid.spacing)).astype(int)
    if not reach.any():
        return centres
    sides = [np.arange(-n, n + 1) for n in reach]
    ball = np.stack(np.meshgrid(*sides, indexing="ij"), -1).reshape(-1, 3)
    ball = ball[np.linalg.norm(ball @ matrix.T, axis=1) <= radius_mm + 1e-6]
    low = np.maximum(centres.min(axis=0) - reach, 0)
    high = np.minimum(centres.max(axis=0) + reach + 1, grid.shape)
    inside = np.zeros(high - low, bool)
    if inside.size > MAX_BOX:
        raise InputError(f"{name} extends through the whole image; draw several shorter ones.")
    for centre in centres:
        near = centre + ball
        near = near[((near >= low) & (near < high)).all(axis=1)] - low
        inside[tuple(near.T)] = True
    dilated: Indices = np.argwhere(inside) + low
    return dilated


def _box(mark: Mark, points: npt.NDArray[np.float64], grid: Grid, name: str) -> Drawn:
    """Voxels between two opposite corners, along the axes of the grid."""
    ends = np.concatenate([_nearest(place[None], grid) for place in grid.to_index(points)])
    low, high = ends.min(axis=0), ends.max(axis=0) + 1
    if np.prod(high - low) > MAX_VOXELS:
        raise InputError(f"{name} covers {np.prod(high - low)} voxels, more than any lesion; draw a smaller one.")
    voxels = np.stack(np.meshgrid(*[np.arange(a, b) for a, b in zip(low, high, strict=True)], indexing="ij"), -1)
    return Drawn(voxels.reshape(-1, 3), box=True, certain=not mark.adds)


def _lasso(points: npt.NDArray[np.float64], grid: Grid, name: str) -> Indices:
    """Voxels inside a closed polygon, as thick as one voxel; the polygon may lie in any plane."""
    centre = points.mean(axis=0)
    _, sizes, axes = np.linalg.svd(points - centre, full_matrices=False)
    thickness = float(np.abs(axes[2] @ grid.affine[:3, :3]).max())
    if np.abs((points - centre) @ axes[2]).max() > thickness:
        raise InputError(f"{name}: the points of a lasso must lie in one plane; draw it in one slice view.")
    if sizes[1] < 1e-3:
        return _line(np.concatenate([points, points[:1]]), grid)
    low = np.maximum(np.floor(grid.to_index(points).min(axis=0)).astype(int) - 1, 0)
    high = np.minimum(np.ceil(grid.to_index(points).max(axis=0)).astype(int) + 2, grid.shape)
    if np.prod(high - low) > MAX_BOX:
        raise InputError(f"{name} extends through the whole image; draw several smaller ones.")
    voxels = np.stack(np.meshgrid(*[np.arange(a, b) for a, b in zip(low, high, strict=True)], indexing="ij"), -1)
    voxels = voxels.reshape(-1, 3)
    offset = grid.to_world(voxels) - centre
    flat = np.abs(offset @ axes[2]) <= 0.5 * thickness + 1e-6
    inside = _in_polygon(offset[flat] @ axes[:2].T, (points - centre) @ axes[:2].T)
    outline = _line(np.concatenate([points, points[:1]]), grid)
    return np.unique(np.concatenate([voxels[flat][inside], outline]), axis=0)


def _in_polygon(places: npt.NDArray[np.float64], corners: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Whether places (N, 2) lie inside a polygon (M, 2), by the even-odd rule."""
    inside = np.zeros(len(places), bool)
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        crosses = (ay > places[:, 1]) != (by > places[:, 1])
        if crosses.any():
            at = ax + (places[crosses, 1] - ay) / (by - ay) * (bx - ax)
            inside[crosses] ^= places[crosses, 0] < at
    return inside
