"""Copies of a scan as another visit would have shown the same head: moved, on other voxels, shaded and noisy."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from asa.geometry import resample
from asa.geometry.search import rotation_matrix
from asa.volume import Grid, Volume

# How far a patient lies otherwise, and what a scanner's coil, noise, contrast and protocol add; chosen beforehand, from
# what scans of one protocol show, and never on a rescan.
TURN_DEGREES, SHIFT_MM = 10.0, 10.0
SHADING, NOISE, GAMMA = 0.2, (0.01, 0.03), (0.9, 1.1)
SPACINGS_MM = ((1.0, 1.0, 1.0), (1.2, 1.0, 1.0), (1.0, 1.2, 1.2), (0.9, 0.9, 1.1))


def altered(scan: Volume, seed: int) -> Volume:
    """Return a copy of a scan, the same for the same seed; what is exactly zero stays zero."""
    rng = np.random.default_rng(seed)
    grid = _grid(scan.grid, SPACINGS_MM[seed % len(SPACINGS_MM)])
    move = np.eye(4)
    move[:3, :3] = rotation_matrix(*rng.uniform(-TURN_DEGREES, TURN_DEGREES, 3))
    centre = scan.grid.centre
    move[:3, 3] = centre - move[:3, :3] @ centre + rng.uniform(-SHIFT_MM, SHIFT_MM, 3)
    empty = scan.with_array((scan.array == 0).astype(np.float32))
    values = np.maximum(resample(scan, grid, 3, move).array, 0)
    outside = resample(empty, grid, 1, move, 1.0).array > 0.5
    bright = float(np.percentile(values[~outside], 99))
    values = bright * (values / bright) ** rng.uniform(*GAMMA)
    values *= np.exp(_smooth(grid.shape, rng))
    level = rng.uniform(*NOISE) * bright
    values = np.hypot(values + rng.normal(0, level, grid.shape), rng.normal(0, level, grid.shape))  # Rician
    values[outside] = 0
    return Volume(values.astype(np.float32), grid)


def _grid(grid: Grid, spacing: tuple[float, float, float]) -> Grid:
    """Return a grid of another spacing, along R, A, S, around the same place, 10 mm larger at each side."""
    low, high = grid.corners.min(axis=0) - SHIFT_MM, grid.corners.max(axis=0) + SHIFT_MM
    sizes = np.array(spacing)[::-1]
    x, y, z = np.ceil((high - low) / sizes).astype(int).tolist()
    affine = np.eye(4)
    affine[:3, :3] = np.fliplr(np.diag(sizes))
    affine[:3, 3] = low + sizes / 2
    return Grid((z, y, x), affine)


def _smooth(shape: tuple[int, int, int], rng: np.random.Generator) -> np.ndarray:
    """Return a smooth field (T, H, W) from -SHADING to SHADING."""
    coarse = rng.normal(size=(4, 4, 4))
    field = ndimage.zoom(coarse, [n / 4 for n in shape], order=3, mode="nearest", grid_mode=True)
    return SHADING * field / np.abs(field).max()
