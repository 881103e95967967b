"""Who attends to whom in an encoder, as numbers to look at."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor

from asa.nn.attention import Block
from asa.nn.encoder import Encoder


class AttentionMaps(NamedTuple):
    """Attention of every block of an encoder, for each of its N tokens.

    Attributes:
        weights: (blocks, heads, N, S) float16: how much a token takes from each place of its window; rows sum to 1.
        keys: (2, N, S) int64: the token in each of these places, -1 for padding; [0] in LW-MSA blocks (the first,
            third ...), [1] in SLW-MSA blocks.
    """

    weights: Tensor
    keys: Tensor


@torch.inference_mode()
def attention_maps(encoder: Encoder, image: Tensor) -> AttentionMaps:
    """Attention of the encoder while it looks at the whole of one image (1, C, T, H, W) at the frame's origin."""
    x = encoder.tokens(image)
    tokens = x.shape[1]
    weights, keys = [], []
    for number, block in enumerate(cast("list[Block]", list(encoder.blocks))):
        attention = block.attention
        row = _rows(attention.keys(tokens), tokens)
        found = attention.weights(block.norm1(x))[0].transpose(1, 2).flatten(0, 1)  # (padded tokens, heads, S)
        weights.append(found[row.to(found.device)].transpose(0, 1).half().cpu())
        if number < 2:
            keys.append(attention.keys(tokens)[row // attention.window])
        x = block(x)
    return AttentionMaps(torch.stack(weights), torch.stack(keys * 2 if len(keys) == 1 else keys))


def _rows(keys: Tensor, tokens: int) -> Tensor:
    """Where each token lies in the windows laid end to end: (N,) int64."""
    places = keys.flatten()
    row = torch.empty(tokens, dtype=torch.int64)
    real = places >= 0
    row[places[real]] = torch.arange(len(places))[real]
    return row
