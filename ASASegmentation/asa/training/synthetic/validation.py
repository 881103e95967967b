"""Dice over crops, to validate models trained on synthetic heads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from asa.nn.objective import Batch


class Source(Protocol):
    """Where crops come from."""

    def collate(self, indices: Sequence[int]) -> Batch:
        """Return images (B, C, T, H, W), targets (B, T, H, W) and crop origins."""


def pooled_dice(
    network: nn.Module,
    source: Source,
    count: int,
    names: Sequence[str],
    masks: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
) -> dict[str, float]:
    """Dice of each of K structures, called ``names``, over the crops 0 to ``count`` - 1; ``score`` is their mean.

    ``masks``: logits (1, C, T, H, W) and target (1, T, H, W) of a crop -> what was found and what is there, each
    (K, T, H, W) bool.
    """
    device = next(network.parameters()).device
    overlap, size = torch.zeros(len(names)), torch.zeros(len(names))
    for index in range(count):
        batch = source.collate([index])
        image = batch["image"].to(device).contiguous(memory_format=torch.channels_last_3d)
        shown, truth = masks(network(image, batch["origins"]).cpu(), batch["target"])
        overlap += (shown & truth).flatten(1).sum(1)
        size += shown.flatten(1).sum(1) + truth.flatten(1).sum(1)
    dice = (2 * overlap / size.clamp(min=1)).tolist()
    return {"score": sum(dice) / len(dice), **{f"dice {n}": d for n, d in zip(names, dice, strict=True)}}
