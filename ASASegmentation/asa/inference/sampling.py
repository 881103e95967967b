"""Sample maps of the brain frame at the voxels of a scan, slab by slab, so that memory stays bounded on fine grids."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from asa.devices import to_array, to_tensor
from asa.geometry import FRAME, Alignment, share_from_frame
from asa.geometry.resample import EDGE, SMOOTH_FROM_RATIO
from asa.volume import Grid
from asa.volume.grid import Affine

Map = npt.NDArray[np.float32]

SLAB_VALUES = 1 << 24  # of all maps together


def sampled_slabs(maps: Map, alignment: Alignment, grid: Grid) -> Iterator[tuple[slice, Map]]:
    """Yield the maps (N, T, H, W) of the frame at the voxels of slabs of ``grid``: the slices, and (N, t, h, w).

    Values are those of :func:`asa.geometry.share_from_frame`, to within rounding: maps of all classes are interpolated
    at once, on the threads of PyTorch, unless voxels are so thick that their means are taken.
    """
    pull = np.linalg.inv(FRAME.affine) @ np.linalg.inv(alignment.matrix) @ grid.affine
    steps = np.abs(pull[:3, :3]).max(axis=1)
    coarse = max(steps) > SMOOTH_FROM_RATIO or max(grid.spacing) >= 1.5 * max(FRAME.spacing)
    if coarse:
        yield slice(0, grid.shape[0]), np.stack([share_from_frame(one, alignment, grid) for one in maps])
        return
    thickness = max(1, SLAB_VALUES // (len(maps) * grid.shape[1] * grid.shape[2]))
    for start in range(0, grid.shape[0], thickness):
        part = slice(start, min(start + thickness, grid.shape[0]))
        yield part, _interpolated(maps, pull, part, (grid.shape[1], grid.shape[2]))


def _interpolated(maps: Map, pull: Affine, part: slice, plane: tuple[int, int]) -> Map:
    """Interpolate maps (N, T, H, W) at the voxels of some slices; ``pull``: 4×4, voxel → index in the maps."""
    from torch import arange, empty, float32
    from torch.nn.functional import grid_sample

    count = part.stop - part.start
    sizes = np.array(maps.shape[1:])
    ends = [(part.start, part.stop - 1), *((0, n - 1) for n in plane)]
    corners = np.array(list(itertools.product(*ends))) @ pull[:3, :3].T + pull[:3, 3]
    slices, rows, columns = (arange(first, last + 1, dtype=float32) for first, last in ends)
    places = empty(count, 1, *plane, 3)  # a slice is an item of the batch, because threads share that
    outside = None
    for axis, (size, linear, offset) in enumerate(zip(sizes, pull[:3, :3], pull[:3, 3], strict=True)):
        scale = 2 / (size - 1)
        t, h, w = (float(value) for value in linear * scale)
        along = places[..., 2 - axis]
        along.copy_((h * rows[:, None] + w * columns) + (t * slices + float(offset * scale - 1))[:, None, None, None])
        if corners[:, axis].min() < -EDGE or corners[:, axis].max() > size - 1 + EDGE:
            beyond = along.abs() > 1 + EDGE * scale
            outside = beyond if outside is None else outside | beyond
    source = to_tensor(maps)[None].expand(count, -1, -1, -1, -1)
    found = grid_sample(source, places, mode="bilinear", padding_mode="border", align_corners=True)
    if outside is not None:
        found.masked_fill_(outside[:, None], 0.0)
    values: Map = to_array(found[:, :, 0].transpose(0, 1))
    return values
