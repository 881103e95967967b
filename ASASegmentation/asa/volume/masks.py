"""Holes of masks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Mask = npt.NDArray[np.bool_]


def fill_holes(mask: Mask) -> Mask:
    """Fill the holes of a mask (T, H, W); several times faster than SciPy's ``binary_fill_holes``."""
    outside, _ = ndimage.label(~mask)
    edges = [np.take(outside, end, axis).ravel() for axis in range(3) for end in (0, -1)]
    open_air = np.unique(np.concatenate(edges))
    enclosed = np.ones(outside.max() + 1, bool)
    enclosed[open_air] = False
    enclosed[0] = True  # the mask itself
    filled: Mask = enclosed[outside]
    return filled
