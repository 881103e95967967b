"""Whole-volume prediction during and after training, in overlapping windows of the crop's size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from asa.nn.baselines import Network
from asa.nn.position import Grid3, place_in_frame
from asa.nn.sliding_window import blend_windows, window_starts

PATCH = 8
Output = Literal["classes", "regions"]


@dataclass(frozen=True)
class WindowSettings:
    """In which windows a whole volume is predicted, and what of.

    Attributes:
        crop: voxels of a window: what the network was trained on.
        output: ``classes``, one of which each voxel has, or overlapping ``regions``.
        overlap: share of a window that its neighbour sees too.
    """

    crop: Grid3
    output: Output = "classes"
    overlap: float = 0.5


def activation(output: Output) -> Callable[[Tensor], Tensor]:
    """Convert logits (B, K, ...) to probabilities: a sigmoid for each of ``regions``, or a softmax over ``classes``."""
    return torch.sigmoid if output == "regions" else lambda logits: torch.softmax(logits, 1)


def predict(
    network: Network,
    image: Tensor,
    window: Grid3,
    frame: Grid3,
    activation: Callable[[Tensor], Tensor],
    device: torch.device,
    overlap: float = 0.5,
) -> Tensor:
    """Return the probabilities (K, T, H, W) on the CPU of an image (C, T, H, W) in the brain frame.

    Args:
        window: voxels the network was trained on.
        frame: patch grid its position codes know.
        activation: logits (1, K, ...) -> probabilities.
        overlap: share of a window that its neighbour sees too.
    """
    scan = (image.shape[1], image.shape[2], image.shape[3])
    starts = [window_starts(n, w, PATCH, overlap) for n, w in zip(scan, window, strict=True)]

    def run(box: tuple[slice, slice, slice], corner: Grid3) -> Tensor:
        place = place_in_frame(corner, window, scan, frame)
        return activation(network(image[(None, slice(None), *box)].to(device), place).float())[0].cpu()

    return blend_windows(scan, window, starts, run)
