"""Intensity normalisation, shared by training and inference."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from asa.geometry import Alignment, to_frame
from asa.preprocessing.n4 import log_bias_field
from asa.volume import Volume
from asa.volume.masks import fill_holes

LIMIT = 5.0  # standard deviations; what is further out is a vessel, an implant or noise
N4_FLOOR = 0.05  # added to standardised intensities: N4 takes logarithms, and the darkest tissue is 0
BIAS_STEP = 4  # voxels of the grid on which the bias field is found: it is smooth, and N4 on all voxels takes minutes

Map = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


def zscore(image: Map) -> Map:
    """Intensities (T, H, W) in the brain frame -> mean 0, SD 1 over the foreground, clipped to +-5.

    Foreground: brighter than a tenth of the 99th percentile of what is above zero, so that padding and air count for
    as little in a raw head as in a stripped brain. The generator of training images scales the same way.
    """
    mean, spread = foreground_scale(image)
    return scaled_by(image, mean, spread)


def foreground_scale(image: Map) -> tuple[float, float]:
    """Return the mean and SD that :func:`zscore` scales by; an image without anything above zero has SD 0."""
    above = image[image > 0]
    if above.size == 0:
        return 0.0, 0.0
    foreground = above[above > 0.1 * np.percentile(above[:: max(1, above.size // 200_000)], 99)]
    return float(foreground.mean()), float(foreground.std())


def scaled_by(image: Map, mean: float, spread: float) -> Map:
    """Return an image, or a part of it, with the scale of the whole; zero where that has no foreground."""
    if spread == 0.0 and mean == 0.0:
        return np.zeros_like(image)
    scaled: Map = np.clip((image - mean) / max(spread, 1e-6), -LIMIT, LIMIT).astype(np.float32)
    return scaled


def zscore_brain(image: Map, brain: Mask) -> Map:
    """Intensities (T, H, W) -> mean 0, SD 1 within ``brain`` (T, H, W), clipped to +-5; 0 outside it.

    Where a series does not reach all of the brain, ``brain`` must leave out what it does not reach: there it is 0, the
    mean, as a missing modality is everywhere.
    """
    inside = image[brain]
    scaled = np.zeros(image.shape, np.float32)
    if inside.size:
        spread = max(float(inside.std(dtype=np.float64)), 1e-6)
        scaled[brain] = np.clip((inside - float(inside.mean(dtype=np.float64))) / spread, -LIMIT, LIMIT)
    return scaled


def zscore_stripped(image: Map) -> Map:
    """:func:`zscore_brain` of a stripped scan in the brain frame: its brain is what is above zero, without holes."""
    return zscore_brain(image, fill_holes(image > 0))


def correct_bias(image: Map, brain: Mask) -> Map:
    """Divide an image (T, H, W) by the shading of the coils, as N4 finds it within ``brain`` (T, H, W).

    Without it, what lies nearest to the coil (cerebellum, temporal lobes) is as bright as oedema. Nothing changes where
    there is too little brain to tell.
    """
    every = (slice(None, None, BIAS_STEP),) * 3
    if np.count_nonzero(brain[every]) < 100 or not (image[brain] > 0).any():
        return image
    field = log_bias_field(image[every], brain[every], image.shape)
    corrected: Map = np.divide(image, np.exp(field, out=field), dtype=np.float32)
    return corrected


def brain_input(image: Map, brain: Mask, *, corrects: bool) -> Map:
    """What a network of a standardised brain z-score sees of an image (T, H, W) in the brain frame; 0 outside it."""
    return zscore_brain(correct_bias(image + N4_FLOOR, brain) if corrects else image, brain)


def zscore_corrected(image: Map) -> Map:
    """:func:`zscore_stripped` after :func:`correct_bias`."""
    return zscore_stripped(correct_bias(image, image > 0))


def stripped_brain(scan: Volume, alignment: Alignment, shown: Mask | None = None) -> Mask:
    """Brain mask (T, H, W) on the brain frame of a scan that was stripped, without holes.

    ``shown``: voxels of the scan that are not background; without it, those that are not 0.
    """
    inside = (scan.array != 0 if shown is None else shown).astype(np.float32)
    return fill_holes(to_frame(scan.with_array(inside), alignment).array > 0.5)
