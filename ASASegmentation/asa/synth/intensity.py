"""Random appearance: intensities of structures, smooth fields, resolution, noise (domain randomisation)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from asa.seeds import chance, uniform
from asa.synth.structures import CEREBRAL_WHITE, CORTEX, CSF, IN_BRAIN, STRUCTURES


@dataclass(frozen=True)
class Contrast:
    """Mean and standard deviation of each structure's intensity, (structures,) each, in [0, 1]."""

    mean: Tensor
    spread: Tensor


def draw_contrast(rng: Generator, t1_share: float) -> Contrast:
    """T1-like ordering CSF < GM < WM for ``t1_share`` of the draws, any contrast for the others."""
    kind = uniform(rng, 0, 1)
    if kind < t1_share:
        csf = uniform(rng, 0.03, 0.3)
        grey = uniform(rng, csf + 0.15, 0.68)
        white = uniform(rng, grey + 0.08, min(1.0, grey + 0.45))
    else:
        csf, grey, white = (uniform(rng, 0, 1) for _ in range(3))
    mean = torch.rand(len(STRUCTURES), generator=rng)
    jitter = torch.randn(len(STRUCTURES), generator=rng)
    free = kind > t1_share + 0.75 * (1 - t1_share)  # every structure its own intensity
    for index, structure in enumerate(STRUCTURES):
        if structure.fraction is None or (free and index not in (CEREBRAL_WHITE, CORTEX, CSF)):
            continue
        f = structure.fraction + structure.spread * float(jitter[index])
        mean[index] = grey + f * (white - grey) if f >= 0 else grey + f * (grey - csf)
    mean[0] = 0.0 if chance(rng, 0.7) else uniform(rng, 0, 0.1)
    return Contrast(mean.clamp(0, 1.2), 0.04 * torch.rand(len(STRUCTURES), generator=rng))


def smooth_field(rng: Generator, shape: tuple[int, ...], knots: int, channels: int = 1) -> Tensor:
    """Random field (channels, T, H, W), unit-variance knots ``knots`` to an axis joined trilinearly."""
    coarse = torch.randn(1, channels, knots, knots, knots, generator=rng)
    return F.interpolate(coarse, size=shape, mode="trilinear", align_corners=True)[0]


def gaussian_blur(image: Tensor, sigmas: tuple[float, float, float]) -> Tensor:
    """Separable Gaussian blur of (T, H, W); sigmas in voxels along T, H, W, edges repeated."""
    for axis, sigma in enumerate(sigmas):
        if sigma < 0.15:
            continue
        radius = max(1, round(2.5 * sigma))
        x = torch.arange(-radius, radius + 1, dtype=image.dtype)
        kernel = torch.exp(-0.5 * (x / sigma) ** 2)
        kernel /= kernel.sum()
        # shifted sums: on a CPU several times faster than a one-channel convolution
        padding = [0, 0, 0, 0, 0, 0]
        padding[2 * (2 - axis)] = padding[2 * (2 - axis) + 1] = radius
        padded = F.pad(image[None, None], padding, mode="replicate")[0, 0]
        size = image.shape[axis]
        image = padded.narrow(axis, 0, size) * kernel[0]
        for step in range(1, 2 * radius + 1):
            image.add_(padded.narrow(axis, step, size), alpha=float(kernel[step]))
    return image


def acquire(rng: Generator, image: Tensor, noise: float) -> Tensor:
    """Resolution, slice thickness and noise of a scanner; (T, H, W) -> (T, H, W)."""
    shape = image.shape
    sigmas = tuple(uniform(rng, 0.3, 0.75) for _ in range(3))
    size = list(shape)
    if chance(rng, 0.35):  # thicker slices along one axis
        axis = int(torch.randint(3, (), generator=rng))
        factor = 1 + 4 * uniform(rng, 0, 1) ** 2
        size[axis] = max(8, round(shape[axis] / factor))
        sigmas = tuple(0.4 * factor if a == axis else s for a, s in enumerate(sigmas))
    elif chance(rng, 0.3):  # coarser voxels
        factor = uniform(rng, 1.0, 2.0)
        size = [max(8, round(n / factor)) for n in shape]
        sigmas = tuple(max(s, 0.45 * factor) for s in sigmas)
    image = gaussian_blur(image, (sigmas[0], sigmas[1], sigmas[2]))
    coarse = size != list(shape)
    if coarse:
        image = F.interpolate(image[None, None], size=size, mode="trilinear", align_corners=False)[0, 0]
    image = image + noise * torch.randn(image.shape, generator=rng)
    if coarse:
        image = F.interpolate(image[None, None], size=shape, mode="trilinear", align_corners=False)[0, 0]
    return image


def foreground_scale(counts: Tensor, contrast: Contrast, stripped: bool, noise: float) -> tuple[float, float]:
    """Return the mean and SD that :func:`asa.preprocessing.normalise.zscore` would find on the whole head.

    Computed from the head's voxel ``counts`` per structure, so that a crop is scaled as the whole would be.
    """
    weight = counts.double().clone()
    weight[0] = 0
    if stripped:
        inside = torch.from_numpy(IN_BRAIN)
        sulcal = torch.tensor([s.name == "sulcal CSF" for s in STRUCTURES])
        weight = torch.where(inside, weight, torch.where(sulcal, 0.5 * weight, torch.zeros_like(weight)))
    mean = contrast.mean.double()
    weight = torch.where(mean > 0.1 * mean[weight > 0].max(), weight, torch.zeros_like(weight))
    total = weight.sum()
    centre = (weight * mean).sum() / total
    variance = (weight * ((mean - centre) ** 2 + contrast.spread.double() ** 2)).sum() / total + noise**2
    return float(centre), float(variance.sqrt())
