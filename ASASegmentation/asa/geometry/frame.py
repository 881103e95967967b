"""The brain frame: the 1 mm grid in MNI152 space on which every network operates."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from asa.geometry.atlas import BRAIN_TISSUES, head_atlas
from asa.geometry.register import Alignment
from asa.geometry.resample import resample
from asa.volume import Grid, StorageOrder, Volume

# The brain of the template spans x ±72, y −107…73, z −72…82 mm and lies centred: 7.5 mm of margin left and right, 5.5
# in front and behind, 2.5 above and below. Voxel centres lie at x = −79.5…79.5, so the mid-sagittal plane x = 0 runs
# between the two middle voxels and reversing the last axis is an exact mirror.
FRAME = Grid(
    (160, 192, 160),
    np.array([[0, 0, 1, -79.5], [0, 1, 0, -112.5], [1, 0, 0, -74.5], [0, 0, 0, 1]]),
)

# A voxel is sampled at most so often along an axis; slices thicker than this many mm are sampled more coarsely.
_MOST_SAMPLES = 8


def centre_box(shape: tuple[int, int, int]) -> tuple[slice, slice, slice]:
    """Where the middle of the brain frame, ``shape`` voxels, lies in an array of the whole."""
    t, h, w = (slice((n - kept) // 2, (n - kept) // 2 + kept) for n, kept in zip(FRAME.shape, shape, strict=True))
    return t, h, w


def box_slices(box_mm: Sequence[Sequence[float]]) -> tuple[slice, slice, slice]:
    """Voxels of the brain frame within a box: (lowest, highest) right, anterior and superior of its origin, mm."""
    corners = FRAME.to_index(np.transpose(box_mm))
    low = np.maximum(np.ceil(corners.min(0)), 0).astype(int)
    high = np.floor(corners.max(0)).astype(int) + 1
    t, h, w = (slice(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True))
    return t, h, w


def centre_crop_grid(shape: tuple[int, int, int] = (128, 128, 128)) -> Grid:
    """The middle of the brain frame, ``shape`` voxels of 1 mm; the default is the paper's input, 16³ patches of 8³."""
    affine = FRAME.affine.copy()
    affine[:3, 3] = FRAME.to_world([part.start for part in centre_box(shape)])
    return Grid(shape, affine)


@lru_cache(maxsize=1)
def template_brain() -> npt.NDArray[np.bool_]:
    """Where an aligned head has brain or CSF more likely than not, as stripping leaves it; (160, 192, 160)."""
    return _likely(BRAIN_TISSUES, 0.5)


def template_overlap(brain: npt.NDArray[np.bool_]) -> float:
    """Dice of a brain mask (T, H, W) on the brain frame with the template's brain."""
    template = template_brain()
    return 2 * float((brain & template).sum()) / max(1.0, float(brain.sum() + template.sum()))


@lru_cache(maxsize=1)
def template_white_matter() -> npt.NDArray[np.bool_]:
    """Where an aligned head has white matter and hardly anything else, 113 mL of it; (160, 192, 160)."""
    return _likely(1, 0.9)


def _likely(tissues: int, least: float) -> npt.NDArray[np.bool_]:
    """Where the first ``tissues`` of the atlas together have a probability above ``least``."""
    atlas = head_atlas()
    inside = atlas.maps[:tissues].sum(axis=0)
    order = StorageOrder.of(atlas.affine)
    maps = Volume(order.to_array(inside), order.grid(inside.shape, atlas.affine))
    likely: npt.NDArray[np.bool_] = resample(maps, FRAME).array > least
    return likely


def to_frame(volume: Volume, alignment: Alignment, order: int = 1) -> Volume:
    """Return the volume in the brain frame, (160, 192, 160), zero where the scan does not reach."""
    return resample(volume, FRAME, order, alignment.matrix)


def from_frame(source: Volume | npt.NDArray[Any], alignment: Alignment, grid: Grid, order: int = 1) -> Volume:
    """Return a volume of the brain frame, or an array (160, 192, 160) on its grid, brought back to the grid of a scan.

    Zero where the brain frame does not reach. ``order`` 0 keeps label values.
    """
    volume = source if isinstance(source, Volume) else Volume(source, FRAME)
    return resample(volume, grid, order, np.linalg.inv(alignment.matrix))


def share_from_frame(source: npt.NDArray[np.float32], alignment: Alignment, grid: Grid) -> npt.NDArray[np.float32]:
    """Return the mean of a map of the brain frame over each voxel of the grid of a scan.

    A voxel of a scan with thick slices averages what its slice shows, so its probability of a tissue is the mean over
    the slice, not that of the plane in its middle. Axes whose voxels are close to those of the frame or finer are
    interpolated, as by :func:`from_frame`.

    Args:
        source: (160, 192, 160) on the grid of the brain frame.
        alignment: of the scan.
        grid: grid of the scan, (T, H, W).

    Returns:
        (T, H, W) on ``grid``; zero where the brain frame does not reach.
    """
    sizes = zip(grid.spacing, FRAME.spacing, strict=True)
    samples = [max(1, min(round(size / own), _MOST_SAMPLES)) for size, own in sizes]
    found: npt.NDArray[np.float32] = from_frame(source, alignment, subdivided(grid, samples)).array
    for axis, count in enumerate(samples):
        if count > 1:
            shape = (*found.shape[:axis], grid.shape[axis], count, *found.shape[axis + 1 :])
            found = found.reshape(shape).mean(axis + 1, dtype=np.float32)
    return found


def subdivided(grid: Grid, counts: Sequence[int]) -> Grid:
    """Return the grid with each voxel cut into ``counts`` equal parts along (T, H, W)."""
    parts = np.asarray(counts)
    affine = grid.affine.copy()
    affine[:3, :3] = grid.affine[:3, :3] / parts
    affine[:3, 3] = grid.to_world((1 / parts - 1) / 2)
    t, h, w = (n * part for n, part in zip(grid.shape, parts.tolist(), strict=True))
    return Grid((t, h, w), affine)
