"""Selection of hidden patches."""

from __future__ import annotations

import torch
from torch import Tensor

from asa.nn.encoder import patchify


def random_mask(tokens: int, ratio: float, generator: torch.Generator, allowed: Tensor | None = None) -> Tensor:
    """Hide a share of the patches of one image uniformly at random: (N,) bool on the CPU, True where hidden.

    Args:
        tokens: patches of the image, N.
        ratio: share to hide, of all patches or of the ``allowed`` ones; at least one is hidden and one is visible.
        generator: on the CPU; the same state gives the same mask on every device.
        allowed: (N,) bool; only these may be hidden. Without any True in it all may.

    Raises:
        ValueError: fewer than two patches, or a ratio outside (0, 1).
    """
    if tokens < 2 or not 0 < ratio < 1:
        raise ValueError(f"Cannot hide a share of {ratio} of {tokens} patches.")
    order = torch.rand(tokens, generator=generator)
    count = tokens
    if allowed is not None and bool(allowed.any()):
        order = order.masked_fill(~allowed, 2.0)  # behind every allowed patch
        count = int(allowed.sum())
    hidden = min(max(1, round(ratio * count)), tokens - 1)
    mask = torch.zeros(tokens, dtype=torch.bool)
    mask[order.argsort()[:hidden]] = True
    return mask


def brain_patches(image: Tensor, patch: int) -> Tensor:
    """Patches that are not all background: (B, C, T, H, W) -> (B, N) bool.

    Background is the lowest value of each channel, which air and the padding around a stripped brain share.
    """
    low = image.amin((2, 3, 4), keepdim=True)
    return patchify((image > low).float(), patch).any(-1)
