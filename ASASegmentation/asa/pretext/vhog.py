"""Volumetric histogram of oriented gradients: how informative a patch is (paper section 2.1, Eq. 1)."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from asa.nn.encoder import patch_grid

WeightMode = Literal["paper", "magnitude", "product"]
WEIGHT_MODES: tuple[str, ...] = get_args(WeightMode)


def central_differences(image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Filter mask [-1, 0, 1] along each axis of (..., T, H, W), the image being zero outside.

    Returns:
        (g_x, g_y, g_z), each shaped like ``image``: x runs left-right (W), y posterior-anterior (H), z
        inferior-superior (T).
    """
    padded = F.pad(image, (1, 1, 1, 1, 1, 1))
    inner = slice(1, -1)
    g_x = padded[..., inner, inner, 2:] - padded[..., inner, inner, :-2]
    g_y = padded[..., inner, 2:, inner] - padded[..., inner, :-2, inner]
    g_z = padded[..., 2:, inner, inner] - padded[..., :-2, inner, inner]
    return g_x, g_y, g_z


def orientation(g_x: Tensor, g_y: Tensor, g_z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Eq. 1: theta = arccos(g_z / |g|), phi = |atan2(g_y, g_x)|, both in [0, pi], and |g|. Where |g| = 0, theta = 0."""
    magnitude = (g_x.square() + g_y.square() + g_z.square()).sqrt()
    # the least normal number keeps 0/0 away and changes no other quotient
    cosine = g_z / magnitude.clamp_min(torch.finfo(g_z.dtype).tiny)
    theta = cosine.clamp(-1, 1).acos().where(magnitude > 0, torch.zeros_like(magnitude))
    return theta, torch.atan2(g_y, g_x).abs(), magnitude


@torch.no_grad()
def histograms(image: Tensor, patch: int, bins: int = 9) -> Tensor:
    """Orientation histogram of each patch: (B, C, T, H, W) -> (B, N, bins*bins), theta slower than phi.

    Every voxel adds |g| to the bin (floor(theta*b/pi), floor(phi*b/pi)) of its patch, the angle pi falling into the
    last bin. Channels add up. One scatter-add over all voxels of the batch.
    """
    batch = image.shape[0]
    t, h, w = patch_grid(image.shape, patch)
    theta, phi, magnitude = orientation(*central_differences(image))
    row = (theta * (bins / math.pi)).long().clamp_(max=bins - 1)
    column = (phi * (bins / math.pi)).long().clamp_(max=bins - 1)

    def along(axis: int, size: int) -> Tensor:
        shape = [1, 1, 1, 1, 1]
        shape[axis] = -1
        return (torch.arange(size * patch, device=image.device) // patch).view(shape)

    sample = torch.arange(batch, device=image.device).view(-1, 1, 1, 1, 1)
    place = ((sample * t + along(2, t)) * h + along(3, h)) * w + along(4, w)
    place = (place * bins + row) * bins + column
    counts = torch.zeros(batch * t * h * w * bins * bins, dtype=magnitude.dtype, device=image.device)
    counts.scatter_add_(0, place.flatten(), magnitude.flatten())
    return counts.view(batch, t * h * w, bins * bins)


def importance(image: Tensor, patch: int, bins: int = 9, mode: WeightMode = "paper") -> Tensor:
    """Importance of each patch, not yet normalised: (B, C, T, H, W) -> (B, N).

    ``paper``: mean of the L2-normalised histogram, in [1/b^2, 1/b]: how many orientations a patch has, however faint.
    ``magnitude``: mean of the histogram itself: how strong its edges are. ``product``: both multiplied.
    A patch without any gradient has importance 0 in every mode.

    Raises:
        ValueError: unknown mode.
    """
    if mode not in WEIGHT_MODES:
        raise ValueError(f"unknown weight mode '{mode}'; choose from {', '.join(WEIGHT_MODES)}")
    histogram = histograms(image, patch, bins)
    strength = histogram.mean(-1)
    if mode == "magnitude":
        return strength
    variety = F.normalize(histogram, dim=-1, eps=torch.finfo(histogram.dtype).tiny).mean(-1)
    return variety if mode == "paper" else variety * strength


def masked_weights(importance: Tensor, mask: Tensor) -> Tensor:
    """p_i of Eq. 2: importance divided by its sum over the hidden patches; (B, N), zero on visible patches.

    The weights of an image sum to 1 over its hidden patches; where all of them have importance 0 they are equal.
    """
    hidden = mask.to(importance.dtype)
    chosen = importance * hidden
    total = chosen.sum(1, keepdim=True)
    uniform = hidden / hidden.sum(1, keepdim=True)
    return torch.where(total > 0, chosen / total.clamp_min(torch.finfo(total.dtype).tiny), uniform)
