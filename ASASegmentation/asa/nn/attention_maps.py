"""Attention between the patches of an encoder, for visualisation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, cast

import torch
from torch import Tensor

from asa.nn.attention import Block
from asa.nn.encoder import Encoder, patch_grid, run_in_line
from asa.nn.position import Grid3, patch_coordinates


class AttentionMaps(NamedTuple):
    """Attention of every block of an encoder, for each of its N tokens.

    Attributes:
        weights: (blocks, heads, N, S) float16: the attention of a token to each position of its window; rows sum to 1.
        keys: (K, N, S) int64: the token in each of these places, -1 for padding, of block b in ``keys[b % K]``: [0] in
            LW-MSA blocks, [1] in SLW-MSA blocks, and two more for each further order of the encoder's tokens.
    """

    weights: Tensor
    keys: Tensor


@torch.inference_mode()
def attention_maps(encoder: Encoder, image: Tensor, origin: Grid3 = (0, 0, 0)) -> AttentionMaps:
    """Attention of the encoder while it looks at the whole of one image (1, C, T, H, W).

    ``origin``: where the image starts in the frame grid, in patches.
    """
    x = encoder.tokens(image, origin)
    tokens, grid = x.shape[1], patch_grid(image.shape, encoder.config.patch)
    period = 2 * len(encoder.config.orders)
    weights, keys = [], []
    for number, block in enumerate(cast("list[Block]", list(encoder.blocks))):
        attention = block.attention
        line = encoder.line(number, grid, None, x.device)
        order = torch.arange(tokens, device=x.device) if line is None else line[0]
        row = _rows(attention.keys(tokens), tokens)[order.argsort().cpu()]  # of each token, in grid order
        seen = attention.weights(block.norm1(x[:, order]))[0].transpose(1, 2).flatten(0, 1)  # (padded tokens, heads, S)
        weights.append(seen[row.to(seen.device)].transpose(0, 1).half().cpu())
        if number < period:
            places = attention.keys(tokens)[row // attention.window]
            keys.append(torch.where(places >= 0, order.cpu()[places.clamp_min(0)], -1))
        x = run_in_line(block, x, line, recompute=False)
    return AttentionMaps(torch.stack(weights), torch.stack(keys * 2 if len(keys) == 1 else keys))


def attention_in_crops(encoder: Encoder, image: Tensor, crop: Grid3, corners: Iterable[Grid3]) -> AttentionMaps:
    """The same for an encoder that was trained on crops: each token as in the crop whose middle it is nearest to.

    Args:
        image: (1, C, T, H, W), at the frame's origin.
        crop: voxels of a crop.
        corners: where the crops start, in voxels; together they cover the image.
    """
    patch = encoder.config.patch
    grid = patch_grid(image.shape, patch)
    numbers = torch.arange(grid[0] * grid[1] * grid[2]).view(grid)
    nearest = torch.full((numbers.numel(),), float("inf"))
    weights = keys = torch.empty(0)
    for corner in corners:
        t, h, w = (slice(c, c + n) for c, n in zip(corner, crop, strict=True))
        a, b, c = (slice(s.start // patch, s.stop // patch) for s in (t, h, w))
        maps = attention_maps(encoder, image[..., t, h, w].contiguous(), (a.start, b.start, c.start))
        if not weights.numel():
            weights = maps.weights.new_zeros((*maps.weights.shape[:2], numbers.numel(), maps.weights.shape[3]))
            keys = maps.keys.new_full((len(maps.keys), numbers.numel(), maps.weights.shape[3]), -1)
        here = numbers[a, b, c]
        size = (here.shape[0], here.shape[1], here.shape[2])
        away = [x - (n - 1) / 2 for x, n in zip(patch_coordinates(size), size, strict=True)]
        distance = torch.stack(away).abs().amax(0)
        nearer = distance < nearest[here.flatten()]
        own = here.flatten()[nearer]
        nearest[own] = distance[nearer]
        weights[:, :, own] = maps.weights[:, :, nearer]
        found = maps.keys[:, nearer]
        keys[:, own] = torch.where(found >= 0, here.flatten()[found.clamp_min(0)], -1)
    return AttentionMaps(weights, keys)


def _rows(keys: Tensor, tokens: int) -> Tensor:
    """Where each token lies in the windows laid end to end: (N,) int64."""
    places = keys.flatten()
    row = torch.empty(tokens, dtype=torch.int64)
    real = places >= 0
    row[places[real]] = torch.arange(len(places))[real]
    return row
