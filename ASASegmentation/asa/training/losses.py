"""Segmentation losses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def dice_cross_entropy(logits: Tensor, target: Tensor, smooth: float = 1.0) -> tuple[Tensor, Tensor]:
    """Soft Dice loss over the batch (foreground classes) and mean cross-entropy.

    Args:
        logits: (B, K, T, H, W).
        target: (B, T, H, W) integer classes, or (B, K, T, H, W) the share of each class in a voxel.
        smooth: voxels added to numerator and denominator, so that an absent class costs nothing when not predicted.
    """
    classes = logits.shape[1]
    rows = logits.movedim(1, -1).reshape(-1, classes).float()
    log_probability = F.log_softmax(rows, dim=-1)
    if target.ndim == logits.ndim:
        shares = target.movedim(1, -1).reshape(-1, classes).float()
        cross_entropy = -(shares * log_probability).sum(-1).mean()
    else:
        labels = target.reshape(-1).long()
        cross_entropy = F.nll_loss(log_probability, labels)
        shares = F.one_hot(labels, classes).to(log_probability.dtype)
    wanted, shown = shares[:, 1:], log_probability.exp()[:, 1:]
    overlap = (shown * wanted).sum(0)
    dice = (2 * overlap + smooth) / (shown.sum(0) + wanted.sum(0) + smooth)
    return 1 - dice.mean(), cross_entropy


def deep_supervision(outputs: Sequence[Tensor], target: Tensor) -> dict[str, Tensor]:
    """Return the Dice + cross-entropy at every resolution, weights halving by level and summing to 1.

    Args:
        outputs: logits (B, K, ...) at 1/1, 1/2, 1/4, ..., or all at 1/1.
        target: (B, T, H, W) integer classes, of which coarser levels take every second, fourth, ... voxel; or shares
            (B, K, T, H, W), of which they take means.
    """
    weights = [0.5**level for level in range(len(outputs))]
    total = sum(weights)
    losses: dict[str, Tensor] = {}
    combined = torch.zeros((), device=target.device)
    for level, (logits, weight) in enumerate(zip(outputs, weights, strict=True)):
        step = target.shape[-1] // logits.shape[-1]
        if target.ndim == logits.ndim:
            wanted = F.avg_pool3d(target, step) if step > 1 else target
        else:
            wanted = target[:, ::step, ::step, ::step]
        dice, cross_entropy = dice_cross_entropy(logits, wanted)
        combined = combined + weight / total * (dice + cross_entropy)
        if level == 0:
            losses = {"dice_loss": dice.detach(), "cross_entropy": cross_entropy.detach()}
    return {"loss": combined, **losses}
