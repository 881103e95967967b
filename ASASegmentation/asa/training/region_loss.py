"""Loss of a network with one sigmoid output per region, for tasks with overlapping regions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Regions = Sequence[Sequence[int]]


def region_masks(labels: Tensor, regions: Regions) -> Tensor:
    """Integer labels (B, T, H, W) -> masks (B, R, T, H, W) of unions of label values."""
    return torch.stack([torch.isin(labels, torch.tensor(list(r), device=labels.device)) for r in regions], dim=1)


def region_deep_supervision(
    outputs: Sequence[Tensor], target: Tensor, regions: Regions, positive_weight: float = 1.0
) -> dict[str, Tensor]:
    """Soft Dice over the batch + binary cross-entropy at every resolution, weights halving by level.

    Args:
        outputs: logits (B, R, ...) at 1/1, 1/2, ..., or all at 1/1.
        target: labels (B, T, H, W); coarser levels take every second, fourth, ... voxel.
        regions: label values of each of the R regions.
        positive_weight: of a voxel in a region, in the cross-entropy; above 1 where regions are tiny.
    """
    masks = region_masks(target, regions).float()
    more = torch.tensor(positive_weight, device=target.device)
    weights = [0.5**level for level in range(len(outputs))]
    losses: dict[str, Tensor] = {}
    combined = torch.zeros((), device=target.device)
    for level, (logits, weight) in enumerate(zip(outputs, weights, strict=True)):
        step = target.shape[-1] // logits.shape[-1]
        wanted, scores = masks[..., ::step, ::step, ::step], logits.float()
        shown = scores.sigmoid()
        axes = (0, 2, 3, 4)
        overlap, size = (shown * wanted).sum(axes), shown.sum(axes) + wanted.sum(axes)
        dice = 1 - ((2 * overlap + 1) / (size + 1)).mean()
        cross_entropy = F.binary_cross_entropy_with_logits(scores, wanted, pos_weight=more)
        combined = combined + weight / sum(weights) * (dice + cross_entropy)
        if level == 0:
            losses = {"dice_loss": dice.detach(), "cross_entropy": cross_entropy.detach()}
    return {"loss": combined, **losses}
