"""Shading in which two visits differ, taken out of both.

Coils brighten what is near them, and the head lies otherwise in them at each visit. A model that follows intensities
takes that for a change of tissue.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

# Shading is smooth over centimetres; what is smaller is anatomy, or a change.
SMOOTH_MM = 20.0
BLOCK = 4  # voxels of 1 mm
# Logarithm of the ratio of both from its median beyond which a voxel is no shading: a lesion, or the rim of the brain.
MOST = 0.4
# Part of the median brightness below which a ratio says nothing: fluid in a FLAIR, air.
DARK = 0.2

Map = npt.NDArray[np.floating]


def even_shading(first: Map, second: Map, inside: npt.NDArray[np.bool_]) -> tuple[Map, Map]:
    """Return two images with the smooth part of their ratio shared between them.

    Args:
        first: image (T, H, W) of voxels of 1 mm, not negative.
        second: image of the same head in the same place.
        inside: where the brain is.

    Returns:
        Both, each multiplied by a smooth field; unchanged where they have no brain in common.
    """
    known = inside & (first > 0) & (second > 0)
    if not known.any():
        return first, second
    for image in (first, second):
        known &= image > DARK * np.median(image[inside])
    ratio = np.zeros(first.shape, np.float32)
    ratio[known] = np.log(second[known] / first[known])
    middle = float(np.median(ratio[known])) if known.any() else 0.0
    known &= np.abs(ratio - middle) < MOST
    weight = _blocks(known.astype(np.float32))
    summed = _blocks(np.where(known, ratio - middle, 0).astype(np.float32))
    sigma = SMOOTH_MM / BLOCK
    smooth = ndimage.gaussian_filter(summed, sigma) / np.maximum(ndimage.gaussian_filter(weight, sigma), 1e-3)
    zoomed = ndimage.zoom(smooth, BLOCK, order=1, mode="nearest", grid_mode=True)
    field = zoomed[tuple(slice(n) for n in first.shape)] / 2
    return first * np.exp(field), second * np.exp(-field)


def _blocks(array: Map) -> Map:
    """Sums over blocks of voxels, (T, H, W) padded to whole blocks."""
    padded = np.pad(array, [(0, -n % BLOCK) for n in array.shape])
    t, h, w = (n // BLOCK for n in padded.shape)
    sums: Map = padded.reshape(t, BLOCK, h, BLOCK, w, BLOCK).sum(axis=(1, 3, 5))
    return sums
