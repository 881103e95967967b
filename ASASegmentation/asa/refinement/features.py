"""Image features of the energy: standardised channels, edges, and codes of joint intensities.

Computed once for a session. Voxels finer than `WORKING_MM` are averaged over blocks of whole voxels, so that a crop
around a mark has as many voxels in a scan of 0.3 mm as in one of 1 mm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from asa.errors import InputError
from asa.refinement.solvers import edge_weights
from asa.volume import Grid, Volume
from asa.volume.background import shown_voxels

Map = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

WORKING_MM = 0.9
NOISE_MM = 0.6  # standard deviation of the blur against noise, before intensities are compared
# Bins of each channel, by the number of channels: a code has 16 bits.
BINS = {1: 256, 2: 128, 3: 32, 4: 16}
# Percentage of the voxels that the joint histogram leaves to its first bin, and to its last: less where there are bins
# for it, because all lesions of white matter of a patient may be fewer than 0.5 % of a head.
TAIL = {1: 0.02, 2: 0.02, 3: 0.5, 4: 0.5}
MIN_TISSUE = 1000  # voxels
DARKEST = -4.0  # standard deviations; the background is as dark


@dataclass(frozen=True)
class Features:
    """Images on the working grid.

    Attributes:
        blocks: voxels of the scan in a working voxel, along (T, H, W).
        spacing: mm of the working grid.
        channels: (M, T, H, W), in robust standard deviations of the tissue.
        shown: (T, H, W), voxels that are not background.
        codes: (T, H, W), bin of the joint intensities of all channels.
        shape: bins of the joint histogram along each channel.
        bins_per_sd: of each channel.
        gradient: (T, H, W), change of the intensities per mm.
        weights: of the edges along each axis.
    """

    blocks: tuple[int, int, int]
    spacing: tuple[float, float, float]
    channels: Map
    shown: Mask
    codes: npt.NDArray[np.uint16]
    shape: tuple[int, ...]
    bins_per_sd: tuple[float, ...]
    gradient: Map
    weights: tuple[Map, Map, Map]

    def density(self, counts: npt.NDArray[np.int64], width_sd: float) -> Map:
        """Return the density over the codes, from counts of the codes.

        Args:
            counts: of each code.
            width_sd: of the Gaussian kernel for four channels. It grows with the square root of their number, as
                distances between voxels of one tissue do.
        """
        histogram = counts.reshape(self.shape).astype(np.float32)
        width = width_sd * (len(self.shape) / 4) ** 0.5
        sigma = [width * bins for bins in self.bins_per_sd]
        blurred = ndimage.gaussian_filter(histogram, sigma, mode="nearest", truncate=2.5).ravel()
        total = float(blurred.sum(dtype=np.float64))
        return np.asarray(blurred / total if total else blurred, np.float32)

    def counts(self, codes: npt.NDArray[np.uint16]) -> npt.NDArray[np.int64]:
        """Count codes."""
        return np.bincount(codes, minlength=int(np.prod(self.shape)))


def working_blocks(grid: Grid) -> tuple[int, int, int]:
    """Return how many voxels of a scan, along (T, H, W), make a working voxel."""
    t, h, w = (max(1, int(WORKING_MM / one + 0.6)) for one in grid.spacing)
    return t, h, w


def compute_features(images: Sequence[Volume], contrast: float) -> Features:
    """Compute the features of images that share a grid.

    Args:
        images: 1 to 4, in the order of the task's modalities.
        contrast: see :func:`asa.refinement.solvers.edge_weights`.

    Raises:
        InputError: an image holds NaN or shows nothing, or there are too many.
    """
    if not 1 <= len(images) <= len(BINS):
        raise InputError(f"Refinement takes 1 to {len(BINS)} images of one head, not {len(images)}.")
    grid = images[0].grid
    if not all(image.grid.same_as(grid) for image in images):
        raise InputError("The images are on different grids; resample them to that of the segmentation.")
    blocks = working_blocks(grid)
    t, h, w = (one * block for one, block in zip(grid.spacing, blocks, strict=True))
    spacing = (t, h, w)
    scaled, shown = [], None
    for image in images:
        if not np.isfinite(image.array).all():
            raise InputError("An image has voxels that are NaN or infinite; repair it first.")
        visible, _ = shown_voxels(image.array)
        seen = block_means(visible.astype(np.float32), blocks) >= 0.5
        scaled.append((block_means(image.array.astype(np.float32, copy=False), blocks), seen))
        shown = seen if shown is None else shown | seen
    assert shown is not None
    if np.count_nonzero(shown) < MIN_TISSUE:
        raise InputError("The images are almost constant; check that they are the right ones.")
    bins = BINS[len(images)]
    channels = np.empty((len(images), *shown.shape), np.float32)
    codes = np.zeros(shown.shape, np.uint16)
    bins_per_sd = []
    for channel, (array, seen) in zip(channels, scaled, strict=True):
        channel[:] = _standard(array, seen, spacing)
        low, high = np.percentile(channel[shown], (TAIL[len(images)], 100 - TAIL[len(images)]))
        width = max(float(high - low) / bins, 1e-3)
        bins_per_sd.append(1 / width)
        codes = codes * np.uint16(bins) + np.clip((channel - np.float32(low)) / width, 0, bins - 1).astype(np.uint16)
    return Features(
        blocks=blocks,
        spacing=spacing,
        channels=channels,
        shown=shown,
        codes=codes,
        shape=(bins,) * len(images),
        bins_per_sd=tuple(bins_per_sd),
        gradient=_gradient(channels, spacing),
        weights=edge_weights(channels, spacing, contrast),
    )


def block_means(array: Map, blocks: Sequence[int]) -> Map:
    """Return means over blocks of voxels; the last block of an axis repeats the last voxels."""
    for axis, block in enumerate(blocks):
        if block == 1:
            continue
        missing = -array.shape[axis] % block
        array = np.pad(array, [(0, missing if one == axis else 0) for one in range(3)], mode="edge")
        split = (*array.shape[:axis], array.shape[axis] // block, block, *array.shape[axis + 1 :])
        array = array.reshape(split).mean(axis=axis + 1, dtype=np.float32)
    return array


def _standard(array: Map, seen: Mask, spacing: Sequence[float]) -> Map:
    """Return intensities minus their median, in robust standard deviations of what is seen, without noise.

    Medians and percentiles of all voxels, not of a sample: so a mirrored image has the mirrored result.
    """
    scaled = np.zeros(array.shape, np.float32)
    inside = array[seen]
    if inside.size:
        middle = np.median(inside)
        low, high = np.percentile(inside, (5, 95))
        spread = max(1.4826 * float(np.median(np.abs(inside - middle))), 0.1 * float(high - low), 1e-6)
        scaled[seen] = np.clip((inside - middle) / np.float32(spread), DARKEST, 8)
    scaled[~seen] = DARKEST
    sigma = [NOISE_MM / one if one < 2 * NOISE_MM else 0.0 for one in spacing]
    blurred: Map = ndimage.gaussian_filter(scaled, sigma, mode="nearest", truncate=2.5)
    return blurred


def _gradient(channels: Map, spacing: Sequence[float]) -> Map:
    """Return the length of the gradient of all channels, per mm."""
    squared = np.zeros(channels.shape[1:], np.float32)
    for axis in range(3):
        if channels.shape[axis + 1] < 3:
            continue
        middle = [slice(None)] * 3
        middle[axis] = slice(1, -1)
        ahead = np.take(channels, range(2, channels.shape[axis + 1]), axis + 1)
        behind = np.take(channels, range(channels.shape[axis + 1] - 2), axis + 1)
        squared[tuple(middle)] += (((ahead - behind) * np.float32(0.5 / spacing[axis])) ** 2).sum(axis=0)
    return np.sqrt(squared)
