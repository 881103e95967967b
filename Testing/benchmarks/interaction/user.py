"""A simulated user: a click in the deepest point of the largest error."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from asa.refinement import Mark
from asa.volume import Grid

Mask = npt.NDArray[np.bool_]


def next_click(current: Mask, truth: Mask, segment: str, grid: Grid) -> Mark | None:
    """Return the point with which the user corrects a segmentation next, or None where nothing is wrong.

    The largest connected component (6-neighbourhood) of missing and of excess voxels together, and in it the voxel
    farthest from its border in mm; the first in storage order of several, so that a run can be repeated.

    Args:
        current: (T, H, W), the segment as it is.
        truth: (T, H, W), as it should be.
        segment: its name.
        grid: of both.
    """
    wrong = current != truth
    found = ndimage.find_objects(wrong.astype(np.uint8))
    if not found:
        return None
    box = found[0]
    pieces, _ = ndimage.label(wrong[box])
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    piece = pieces == sizes.argmax()
    part = ndimage.find_objects(piece.astype(np.uint8))[0]
    depth = ndimage.distance_transform_edt(np.pad(piece[part], 1), sampling=grid.spacing)[1:-1, 1:-1, 1:-1]
    deepest = np.unravel_index(depth.argmax(), depth.shape)
    place = [int(at) + a.start + b.start for at, a, b in zip(deepest, part, box, strict=True)]
    right, anterior, superior = map(float, grid.to_world(place))
    return Mark("point", segment, "add" if truth[tuple(place)] else "remove", ((right, anterior, superior),))
