"""Augmentation of labelled crops: one resampling for the geometry, then intensities, for all channels jointly.

A crop knows where it starts in the brain frame. Rotation and scaling turn about the crop's own centre, so its place
stays; mirroring left and right moves it to the mirrored place, whose symmetric position codes are the mirrored codes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from asa.seeds import chance, uniform

Shape = tuple[int, int, int]
Range = tuple[float, float]
Flips = tuple[bool, bool, bool]
SLAB = 8  # slices of a crop that are sampled at a time: what belongs to them stays in the processor's cache


@dataclass(frozen=True)
class AugmentSettings:
    """Ranges and probabilities; rotation, scaling, flips and gamma are the recipe of the paper's Table 1.

    Attributes:
        rotation_deg: largest rotation about each axis, either way.
        rotation_p: probability of a rotation.
        scale: factor by which the head grows.
        scale_p: probability of scaling.
        flip: axes that are mirrored half of the time: "w" (left-right), "thw", or "" for none.
        gamma: exponent on intensities scaled to 0...1; mean and spread are kept.
        gamma_p: probability of such an exponent.
        inverted_gamma_p: probability of such an exponent on the inverted intensities.
        brightness: factor on intensities, one for each channel.
        brightness_p: probability of another brightness.
        contrast: factor on the distance to the mean; values stay between their extremes.
        contrast_p: probability of another contrast.
        noise: largest standard deviation of Gaussian noise, in units of the z-score.
        noise_p: probability of noise.
        blur: standard deviation of a Gaussian, in voxels.
        blur_p: probability of blur.
        low_resolution: factor of the resolution that a crop is reduced to and brought back from.
        low_resolution_p: probability of a lower resolution.
        channel_p: probability with which blur and low resolution, once drawn, touch a channel; below 1 each channel
            draws its own strength.
    """

    __pydantic_config__: ClassVar[Mapping[str, Any]] = {"extra": "forbid"}

    rotation_deg: float = 30.0
    rotation_p: float = 0.2
    scale: Range = (0.7, 1.4)
    scale_p: float = 0.2
    flip: str = "w"
    gamma: Range = (0.7, 1.5)
    gamma_p: float = 0.3
    inverted_gamma_p: float = 0.0
    brightness: Range = (0.75, 1.25)
    brightness_p: float = 0.0
    contrast: Range = (0.75, 1.25)
    contrast_p: float = 0.0
    noise: float = 0.3
    noise_p: float = 0.0
    blur: Range = (0.5, 1.0)
    blur_p: float = 0.0
    low_resolution: Range = (0.5, 1.0)
    low_resolution_p: float = 0.0
    channel_p: float = 1.0

    def __post_init__(self) -> None:
        if set(self.flip) - set("thw"):
            raise ValueError(f"Flip names axes of 'thw', not '{self.flip}'.")


def draw_matrix(rng: Generator, s: AugmentSettings) -> npt.NDArray[np.float64] | None:
    """3x3 that maps offsets (t, h, w) in the augmented crop to offsets in the scan; None where nothing changes."""
    turned, scaled = chance(rng, s.rotation_p), chance(rng, s.scale_p)
    angles = [math.radians(uniform(rng, -s.rotation_deg, s.rotation_deg)) for _ in range(3)]
    factor = uniform(rng, *s.scale)
    matrix = np.eye(3)
    if turned:
        for axis, angle in enumerate(angles):
            i, j = (k for k in range(3) if k != axis)
            turn = np.eye(3)
            turn[i, i] = turn[j, j] = math.cos(angle)
            turn[i, j], turn[j, i] = -math.sin(angle), math.sin(angle)
            matrix = matrix @ turn
    if scaled:
        matrix = matrix / factor
    return matrix if turned or scaled else None


def draw_flips(rng: Generator, axes: str) -> Flips:
    """Return which axes (t, h, w) are mirrored: each of ``axes`` half of the time."""
    t, h, w = (chance(rng, 0.5) and name in axes for name in "thw")
    return t, h, w


def mirrored_start(start: Shape, crop: Shape, scan: Shape, flips: Flips) -> Shape:
    """Where a crop that was mirrored lies in the mirrored scan."""
    t, h, w = (n - c - s if flip else s for s, c, n, flip in zip(start, crop, scan, flips, strict=True))
    return t, h, w


def cut(
    image: npt.NDArray[Any],
    labels: npt.NDArray[np.uint8],
    start: Shape,
    crop: Shape,
    matrix: npt.NDArray[Any] | None,
    flips: Flips = (False, False, False),
) -> tuple[Tensor, Tensor]:
    """Return a crop of a scan, resampled once if ``matrix`` asks for it; only the part of the scan it touches is read.

    Args:
        image: (C, T, H, W), possibly memory-mapped.
        labels: (T, H, W).
        start: first voxel of the crop, which lies inside the scan before it is turned or mirrored.
        matrix: as :func:`draw_matrix` gives it.
        flips: axes along which what was cut out is mirrored.

    Returns:
        Image (C, *crop) float32 with linear interpolation, labels (*crop) uint8 with nearest neighbours; beyond the
        scan the image repeats its border (background, in a brain frame) and labels are 0.
    """
    if matrix is None:
        box = tuple(slice(s, s + n) for s, n in zip(start, crop, strict=True))
        axes = [axis - 3 for axis, flip in enumerate(flips) if flip]
        return flipped(owned(image[(slice(None), *box)]), axes).float(), flipped(owned(labels[box]), axes)
    half = (np.asarray(crop) - 1) / 2
    centre = np.asarray(start) + half
    pull = matrix * np.where(flips, -1.0, 1.0)  # an offset in the mirrored crop is the negative one in the crop
    reach = np.abs(pull) @ half
    low = np.clip(np.floor(centre - reach) - 1, 0, np.asarray(labels.shape) - 2).astype(int)
    high = np.clip(np.ceil(centre + reach) + 2, low + 2, labels.shape).astype(int)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    source, truth = owned(image[(slice(None), *box)]), labels[box]
    if np.count_nonzero(pull) == 3 and np.diagonal(pull).all():
        places = [c - o + d * (np.arange(n) - h) for c, o, d, n, h in
                  zip(centre, low, np.diagonal(pull), crop, half, strict=True)]  # fmt: skip
        return scaled(source, places), scaled_labels(truth, places)
    return turned(source.float(), pull, centre - low, crop), turned_labels(truth, pull, centre - low, crop)


def owned(array: npt.NDArray[Any]) -> Tensor:
    """Return a copy as a tensor: memory-mapped arrays cannot be written to."""
    return torch.from_numpy(np.array(array))


def flipped(x: Tensor, axes: list[int]) -> Tensor:
    """Mirrored along ``axes``; two-byte floats as integers, for which PyTorch does it three times faster."""
    if not axes:
        return x
    return x.view(torch.int16).flip(axes).view(torch.float16) if x.dtype == torch.float16 else x.flip(axes)


def scaled(source: Tensor, places: list[npt.NDArray[np.float64]]) -> Tensor:
    """Linear interpolation of (C, T, H, W) at the places (in voxels) along each axis: three small steps, no grid."""
    for axis, place in enumerate(places):
        size = source.shape[axis + 1]
        inside = np.clip(place, 0, size - 1)
        lower = np.clip(np.floor(inside), 0, size - 2).astype(np.int64)
        weight = torch.from_numpy((inside - lower).astype(np.float32))
        index = torch.from_numpy(lower)
        if axis == 2:  # picking along the fastest axis is slower than multiplying by a matrix with two values a column
            columns = torch.arange(len(place))
            matrix = torch.zeros(size, len(place))
            matrix[index, columns] = 1 - weight
            matrix[index + 1, columns] += weight
            return source @ matrix
        below = source.index_select(axis + 1, index).float()
        above = source.index_select(axis + 1, index + 1).float()
        source = below.lerp_(above, weight.view([-1 if k == axis else 1 for k in range(3)]))
    return source


def scaled_labels(labels: npt.NDArray[np.uint8], places: list[npt.NDArray[np.float64]]) -> Tensor:
    """Nearest label at the places along each axis; 0 outside."""
    for axis, place in enumerate(places):
        nearest = np.rint(place).astype(np.int64)
        size = labels.shape[axis]
        labels = labels.take(np.clip(nearest, 0, size - 1), axis)
        labels[(slice(None),) * axis + ((nearest < 0) | (nearest >= size),)] = 0
    return torch.from_numpy(labels)


def turned(source: Tensor, pull: npt.NDArray[Any], centre: npt.NDArray[Any], crop: Shape) -> Tensor:
    """Linear interpolation of (C, T, H, W), which repeats its border; each side has two voxels or more.

    The slices lie under each other as one tall picture, of which two neighbouring slices are sampled in two dimensions:
    PyTorch does that several times faster than sampling in three. Places are exact to some thousandths of a voxel, as
    float32 coordinates of a picture of many thousand rows are.

    Args:
        source: contiguous, float32.
        pull: offsets from the crop's centre -> offsets in the source.
        centre: centre of the crop in the source.
    """
    channels, depth, height, width = source.shape
    rows = (depth - 1) * height
    slices = source.as_strided((2, channels, rows, width), (height * width, depth * height * width, width, 1))
    found = torch.empty(channels, *crop)
    for first in range(0, crop[0], SLAB):
        part = (slice(first, min(first + SLAB, crop[0])), slice(0, crop[1]), slice(0, crop[2]))
        t, h, w = voxel_places(pull, centre, crop, part)
        below = t.clamp_(0, depth - 1).floor().clamp_(max=depth - 2)
        weight = t.sub_(below)
        grid = torch.stack((w.mul_(2 / (width - 1)), h.clamp_(0, height - 1).add_(below, alpha=height)), -1)
        grid[..., 1].mul_(2 / (rows - 1))
        pair = F.grid_sample(
            slices,
            grid.sub_(1).view(1, -1, crop[2], 2).expand(2, -1, -1, -1),
            mode="bilinear",
            padding_mode="border",
            align_corners=True,
        ).view(2, channels, *t.shape)
        torch.lerp(pair[0], pair[1], weight, out=found[:, part[0]])
    return found


def turned_labels(
    labels: npt.NDArray[np.uint8], pull: npt.NDArray[Any], centre: npt.NDArray[Any], crop: Shape
) -> Tensor:
    """Nearest label at each place of a crop, 0 outside; only what can meet a label is looked at, a tumour being small.

    Args:
        labels: (T, H, W) of the box the crop is taken from.
        pull: offsets from the crop's centre -> offsets in the box.
        centre: centre of the crop in the box.
    """
    found = torch.zeros(crop, dtype=torch.uint8)
    ranges = [np.flatnonzero(labels.any(axis=tuple(k for k in range(3) if k != axis))) for axis in range(3)]
    if not all(len(used) for used in ranges):
        return found
    ends = np.array(list(itertools.product(*((used[0] - 1, used[-1] + 1) for used in ranges))), float)
    corners = (ends - centre) @ np.linalg.inv(pull).T + (np.asarray(crop) - 1) / 2
    first = np.clip(np.floor(corners.min(0)), 0, crop).astype(int)
    last = np.clip(np.ceil(corners.max(0)) + 1, first, crop).astype(int)
    part = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
    if found[part].numel():
        source = torch.from_numpy(np.pad(labels, 1))  # the rim of 0 is what lies outside
        t, h, w = (
            place.round_().add_(1).clamp_(0, size - 1).int()
            for place, size in zip(voxel_places(pull, centre, crop, part), source.shape, strict=True)
        )
        found[part] = source.view(-1)[(t * source.shape[1] + h) * source.shape[2] + w]
    return found


def voxel_places(
    pull: npt.NDArray[Any], centre: npt.NDArray[Any], crop: Shape, part: tuple[slice, ...]
) -> tuple[Tensor, Tensor, Tensor]:
    """Where each voxel of a part of a crop lies in the box it is taken from: its t, h and w there, in voxels."""
    offsets = [
        torch.arange(s.start, s.stop, dtype=torch.float32) - (n - 1) / 2 for s, n in zip(part, crop, strict=True)
    ]
    along = []
    for row, start in zip(pull, centre, strict=True):
        t, h, w = (offset * float(step) for offset, step in zip(offsets, row, strict=True))
        along.append(t[:, None, None] + (h[:, None] + (w + float(start))))
    return along[0], along[1], along[2]


def intensities(rng: Generator, image: Tensor, s: AugmentSettings) -> Tensor:
    """Noise, blur, brightness, contrast, low resolution and gamma, each with its probability, on (C, T, H, W)."""
    if chance(rng, s.noise_p):
        image = image + uniform(rng, 0, s.noise) * torch.randn(image.shape, generator=rng)
    if chance(rng, s.blur_p):
        image = on_channels(rng, image, s.channel_p, lambda part: gaussian_blur(part, uniform(rng, *s.blur)))
    if s.brightness_p and chance(rng, s.brightness_p):
        image = image * torch.tensor([uniform(rng, *s.brightness) for _ in image]).view(-1, 1, 1, 1)
    if s.contrast_p and chance(rng, s.contrast_p):
        image = contrasted(image, torch.tensor([uniform(rng, *s.contrast) for _ in image]))
    if chance(rng, s.low_resolution_p):
        image = on_channels(rng, image, s.channel_p, lambda part: coarsened(rng, part, s.low_resolution))
    if chance(rng, s.gamma_p):
        image = power(image, uniform(rng, *s.gamma))
    if s.inverted_gamma_p and chance(rng, s.inverted_gamma_p):
        image = -power(-image, uniform(rng, *s.gamma))
    return image


def on_channels(rng: Generator, image: Tensor, share: float, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Change (C, T, H, W) at once or, with a share below 1, that share of its channels one by one."""
    if share == 1:
        return change(image)
    return torch.cat([change(part) if chance(rng, share) else part for part in image.split(1)])


def coarsened(rng: Generator, image: Tensor, factors: Range) -> Tensor:
    """Return (C, T, H, W) reduced to a lower resolution by nearest neighbours and brought back linearly."""
    size = [max(2, round(n * factor)) for n in image.shape[1:] for factor in [uniform(rng, *factors)]]
    coarse = F.interpolate(image[None], size, mode="nearest-exact")
    return F.interpolate(coarse, list(image.shape[1:]), mode="trilinear")[0]


def contrasted(image: Tensor, factors: Tensor) -> Tensor:
    """Return each channel of (C, T, H, W) stretched about its mean by its factor (C,), within its extremes."""
    flat = image.flatten(1)
    mean, low, high = flat.mean(1, keepdim=True), flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    return ((flat - mean) * factors[:, None] + mean).clamp(low, high).view(image.shape)


def power(image: Tensor, gamma: float) -> Tensor:
    """Intensities of each channel to the power of ``gamma`` between their extremes, mean and spread kept."""
    flat = image.flatten(1)
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    # x^gamma as 2^(gamma log x), which is twice as fast but for zeros (background), of which logarithms are slow
    changed = (flat - low).mul_(1 / (high - low).clamp(min=1e-6)).clamp_(min=1e-9).log2_().mul_(gamma).exp2_()
    mean, spread = _moments(flat)
    new_mean, new_spread = _moments(changed)
    factor = spread / new_spread.clamp(min=1e-6)
    return changed.mul_(factor).add_(mean - new_mean * factor).view(image.shape)


def _moments(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and spread of each row, (C, 1) each; several times faster than ``std_mean`` on long rows."""
    mean = rows.mean(1, keepdim=True)
    square = torch.linalg.vector_norm(rows, dim=1, keepdim=True).square() / rows.shape[1]
    return mean, (square - mean.square()).clamp(min=0).sqrt()


def gaussian_blur(image: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of (C, T, H, W), an axis at a time; ``sigma`` in voxels."""
    radius = max(1, math.ceil(3 * sigma))
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    blurred = image[:, None]
    for axis in range(3):
        shape = [1, 1, 1, 1, 1]
        shape[axis + 2] = -1
        padding = [0] * 6
        padding[4 - 2 * axis] = padding[5 - 2 * axis] = radius
        blurred = F.conv3d(F.pad(blurred, padding, mode="replicate"), kernel.view(shape))
    return blurred[:, 0]


def drop_modalities(rng: Generator, image: Tensor, probability: float) -> Tensor:
    """Set each channel of (C, T, H, W) to 0, its mean, with this probability; at least one is kept.

    A network trained this way also works for a scan that lacks a modality, whose channel is then 0 as well.
    """
    dropped = torch.rand(len(image), generator=rng) < probability
    if dropped.all():
        dropped[int(torch.randint(len(image), (), generator=rng))] = False
    return image * ~dropped.view(-1, 1, 1, 1)
