"""Heads painted from the atlas, whose place in the brain frame is known; and things that are no heads."""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy import ndimage

from asa.geometry import resample
from asa.geometry.atlas import head_atlas
from asa.geometry.search import rotation_matrix
from asa.volume import Grid, StorageOrder, Volume

# Brightness of white matter, grey matter, ventricles, sulcal CSF, bone, soft tissue.
CONTRASTS = {
    "t1": (1.0, 0.65, 0.2, 0.2, 0.1, 0.9),
    "t1gd": (1.0, 0.65, 0.2, 0.25, 0.1, 0.9),
    "t2": (0.35, 0.5, 1.0, 1.0, 0.05, 0.4),
    "flair": (0.55, 0.75, 0.1, 0.1, 0.05, 0.5),
}


def true_matrix(pitch: float = 0, roll: float = 0, yaw: float = 0, shear: float = 0.0) -> np.ndarray:
    """Frame mm → scan mm of a head of ordinary size."""
    matrix = np.eye(4)
    tilt = np.eye(3)
    tilt[1, 2] = shear
    matrix[:3, :3] = rotation_matrix(pitch, roll, yaw) @ tilt @ np.diag([0.9, 0.95, 0.86])
    matrix[:3, 3] = (6, -12, 20)
    return matrix


def box(spacing: tuple[float, ...] = (2, 2, 2)) -> Grid:
    """240 mm each way."""
    affine = np.eye(4)
    affine[:3, :3] = np.fliplr(np.diag(spacing[::-1]))
    affine[:3, 3] = -np.array([120, 130, 110])
    t, h, w = (int(240 / s) for s in spacing)
    return Grid((t, h, w), affine)


def head(
    matrix: np.ndarray,
    contrast: str = "t1",
    *,
    stripped: bool = False,
    spacing: tuple[float, ...] = (2, 2, 2),
    person: int | None = None,
    noise: float = 0.02,
) -> Volume:
    """A scan (T, H, W) with ``spacing`` mm in which the atlas lies as ``matrix`` (frame mm → scan mm) says.

    person: whose sulci it has; None: the atlas' own, washed out as those of an average are.
    """
    volume = painted(contrast, stripped, person)
    scan = resample(volume, box(spacing), matrix=np.linalg.inv(matrix))
    grain = np.random.default_rng(0).normal(0, noise, scan.array.shape)
    values = np.abs(scan.array + grain) * 700
    if stripped and person is not None:
        values[scan.array < 0.02] = 0
    return Volume(values.astype(np.float32), scan.grid)


@cache
def painted(contrast: str, stripped: bool, person: int | None) -> Volume:
    """The atlas in one contrast, on its own grid."""
    atlas = head_atlas()
    order = StorageOrder.of(atlas.affine)
    weights = np.array(CONTRASTS[contrast])
    if stripped:
        weights[4:] = 0
    maps = atlas.maps if person is None else folded(person)
    array = np.tensordot(weights, maps, axes=1).astype(np.float32)
    return Volume(order.to_array(array), order.grid(array.shape, atlas.affine))


@cache
def folded(person: int) -> np.ndarray:
    """Tissue maps of one person: each voxel is one tissue, drawn by a smooth random field from the atlas' odds."""
    maps = head_atlas().maps
    rng = np.random.default_rng(person)
    field = ndimage.gaussian_filter(rng.normal(size=maps.shape[1:]), 1.5)
    ranks = np.empty(field.size)
    ranks[np.argsort(field, axis=None)] = (np.arange(field.size) + 0.5) / field.size
    odds = np.cumsum(np.concatenate([maps, 1 - maps.sum(axis=0, keepdims=True)]), axis=0)
    chosen = (ranks.reshape(field.shape) > odds).sum(axis=0)
    return np.stack([chosen == tissue for tissue in range(len(maps))]).astype(np.float32)


def noise_block() -> Volume:
    """Air, as a scanner without a patient sees it."""
    values = np.abs(np.random.default_rng(1).normal(0, 50, box((4, 4, 4)).shape))
    return Volume(values.astype(np.float32), box((4, 4, 4)))


def phantom() -> Volume:
    """A bottle of the size of a head, filled with water and with a grain of noise."""
    grid = box((4, 4, 4))
    x, y, z = (grid.to_world(np.indices(grid.shape).reshape(3, -1).T) - grid.centre).T
    bottle = ((x**2 + y**2 < 85**2) & (np.abs(z) < 85)).reshape(grid.shape)
    values = np.where(bottle, 800, 0) + np.random.default_rng(2).normal(0, 15, grid.shape)
    return Volume(np.abs(values).astype(np.float32), grid)


def knee() -> Volume:
    """Two bones in muscle under fat, with a bright joint between them."""
    grid = box((4, 4, 4))
    x, y, z = (grid.to_world(np.indices(grid.shape).reshape(3, -1).T) - grid.centre).T
    radius = np.hypot(x / 70, y / 65)
    values = np.select([radius < 0.85, radius < 1], [300.0, 900.0], 0.0)
    shaft = 22 + 18 * np.exp(-((np.abs(z) - 12) ** 2) / 600)
    bone = np.hypot(x, y + 5) < shaft
    values[bone] = 850
    values[bone & (np.hypot(x, y + 5) > shaft - 4)] = 30
    values[(np.abs(z) < 5) & (np.hypot(x, y + 5) < 42)] = 150
    values[np.hypot(x, y - 50) < 14] = 700  # the kneecap
    values = values.reshape(grid.shape) + np.random.default_rng(3).normal(0, 15, grid.shape)
    return Volume(np.abs(values).astype(np.float32), grid)


def in_motion(scan: Volume, share: float = 0.4) -> Volume:
    """The scan of a head that nodded: a share of the lines of k-space, in runs, were taken in two other poses."""
    rng = np.random.default_rng(4)
    spectra = [np.fft.fft(scan.array, axis=1)]
    for degrees, shift_mm in ((8, 5), (-6, -7)):
        nod = np.eye(4)
        nod[:3, :3] = rotation_matrix(degrees, 0, 0)
        nod[:3, 3] = scan.grid.centre - nod[:3, :3] @ scan.grid.centre + (0, shift_mm, shift_mm)
        spectra.append(np.fft.fft(resample(scan, scan.grid, 1, nod).array, axis=1))
    lines = scan.array.shape[1]
    pose = np.repeat(rng.choice(3, size=lines // 6 + 1, p=[1 - share, share / 2, share / 2]), 6)[:lines]
    mixed = np.choose(pose[None, :, None], spectra)
    return scan.with_array(np.abs(np.fft.ifft(mixed, axis=1)).astype(np.float32))
