"""Whole-volume prediction while training: overlapping windows of the crop's size, blended with Gaussian weights."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from asa.nn.baselines import Network
from asa.nn.position import Grid3
from asa.nn.position import place_in_frame as place_in_frame

PATCH = 8


def activation(output: str) -> Callable[[Tensor], Tensor]:
    """Logits (B, K, ...) -> probabilities: a sigmoid for each of ``regions``, or a softmax over ``classes``."""
    return torch.sigmoid if output == "regions" else lambda logits: torch.softmax(logits, 1)


def window_starts(size: int, window: int, overlap: float = 0.5) -> list[int]:
    """First voxels, multiples of a patch, of windows that cover ``size`` and overlap by this share at least."""
    count = math.ceil((size - window) / (window * (1 - overlap))) + 1
    return sorted({round(i * (size - window) / max(1, count - 1) / PATCH) * PATCH for i in range(count)})


def gaussian(window: Grid3) -> Tensor:
    """Weights (T, H, W), highest in the middle; sigma is an eighth of the side."""
    axes = [torch.exp(-0.5 * ((torch.arange(n) - (n - 1) / 2) / (n / 8)) ** 2).clamp(min=1e-3) for n in window]
    return axes[0][:, None, None] * axes[1][:, None] * axes[2]


def predict(
    network: Network,
    image: Tensor,
    window: Grid3,
    frame: Grid3,
    activation: Callable[[Tensor], Tensor],
    device: torch.device,
    overlap: float = 0.5,
) -> Tensor:
    """Probabilities (K, T, H, W) on the CPU of an image (C, T, H, W) in the brain frame.

    Args:
        window: voxels the network was trained on.
        frame: patch grid its position codes know.
        activation: logits (1, K, ...) -> probabilities.
        overlap: share of a window that its neighbour sees too.
    """
    scan = (image.shape[1], image.shape[2], image.shape[3])
    weight = gaussian(window)
    total: Tensor | None = None
    norm = torch.zeros(scan)
    for start in itertools.product(*(window_starts(n, w, overlap) for n, w in zip(scan, window, strict=True))):
        box = tuple(slice(s, s + w) for s, w in zip(start, window, strict=True))
        place = place_in_frame((start[0], start[1], start[2]), window, scan, frame)
        part = activation(network(image[(None, slice(None), *box)].to(device), place).float())[0].cpu() * weight
        total = torch.zeros(len(part), *scan) if total is None else total
        total[(slice(None), *box)] += part
        norm[box] += weight
    assert total is not None
    return total / norm
