"""nnFormer (Zhou et al., IEEE TIP 2023): attention in 3-D windows, U-shaped; as described there and as released.

With four channels and four classes it has 37,606,726 parameters, and 37,754,190 with the two coarser heads of deep
supervision.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WRAPPED, PADDING = 1, 2


def window_partition(x: Tensor, window: int) -> Tensor:
    """(B, T, H, W, C), sides multiples of ``window`` -> (B, windows, window^3, C)."""
    batch, t, h, w, channels = x.shape
    split = x.view(batch, t // window, window, h // window, window, w // window, window, channels)
    return split.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(batch, -1, window**3, channels)


def window_join(x: Tensor, sides: Sequence[int], window: int) -> Tensor:
    """Inverse of :func:`window_partition`: (B, windows, window^3, C) -> (B, T, H, W, C)."""
    t, h, w = (side // window for side in sides)
    split = x.view(x.shape[0], t, h, w, window, window, window, x.shape[-1])
    return split.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(x.shape[0], *sides, x.shape[-1])


def zones(grid: Sequence[int], window: int, shifts: Sequence[int]) -> Tensor:
    """Zone of each voxel of each window, (windows, window^3): attention stays within a zone.

    After the roll by ``-shifts`` a window at the end of an axis holds voxels from both ends of the grid, and padding;
    along each axis they are separated from the others, so that only neighbours interact.
    """
    total = torch.zeros(1, 1, 1, dtype=torch.long)
    for axis, (size, shift) in enumerate(zip(grid, shifts, strict=True)):
        padded = -(-size // window) * window
        here = torch.arange(padded)
        zone = torch.where(here >= padded - shift, WRAPPED, 0)
        zone[(here + shift) % padded >= size] = PADDING
        total = total * 3 + zone.view([-1 if i == axis else 1 for i in range(3)])
    return window_partition(total[None, ..., None], window)[0, ..., 0]


def relative_entries(window: int) -> Tensor:
    """Entry of the table of position biases for each pair of voxels of a window, (window^3, window^3).

    The released network counts a step along T as 3w - 1 and one along H as 2w - 1 entries, so that several offsets
    share an entry and most of the (2w - 1)^3 entries are never used. Results were published with it, so it is kept.
    """
    axis = torch.arange(window)
    place = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).flatten(1)
    offset = place[:, :, None] - place[:, None, :] + window - 1
    return offset[0] * (3 * window - 1) + offset[1] * (2 * window - 1) + offset[2]


class DropPath(nn.Module):
    """Stochastic depth: while training, a branch is left out for a share of the samples and the others are scaled."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) -> the same."""
        if not self.training or not self.share:
            return x
        kept = torch.rand(len(x), *[1] * (x.ndim - 1), device=x.device) >= self.share
        return x * kept.to(x.dtype) / (1 - self.share)


class VolumeAttention(nn.Module):
    """Multi-head attention within windows of ``window``^3 voxels, with a learned relative position bias.

    Args:
        dim: embedding width.
        heads: number of heads.
        window: side of a window, in voxels of this level.
        shifted: move the windows by half their side (along axes longer than one window).
        skip: queries are the input itself, keys and values come from another volume: the paper's skip attention.
    """

    offset: Tensor

    def __init__(self, dim: int, heads: int, window: int, *, shifted: bool = False, skip: bool = False) -> None:
        super().__init__()
        self.heads, self.window, self.shifted, self.skip = heads, window, shifted, skip
        self.project_in = nn.Linear(dim, (2 if skip else 3) * dim)
        self.project_out = nn.Linear(dim, dim)
        self.bias = nn.Parameter(nn.init.trunc_normal_(torch.empty((2 * window - 1) ** 3, heads), std=0.02))
        self.register_buffer("offset", relative_entries(window), persistent=False)

    def split(self, x: Tensor, shifts: Sequence[int], parts: int) -> Tensor:
        """(B, T, H, W, parts*C) -> (parts, B, windows*heads, S, C/heads)."""
        padding = [n for size in reversed(x.shape[1:4]) for n in (0, -size % self.window)]
        x = F.pad(x, (0, 0, *padding)).roll([-s for s in shifts], dims=(1, 2, 3))
        x = window_partition(x, self.window).unflatten(-1, (parts, self.heads, -1))
        return x.permute(3, 0, 1, 4, 2, 5).flatten(2, 3)

    def forward(self, x: Tensor, source: Tensor | None = None) -> Tensor:
        """(B, T, H, W, C) -> the same; ``source``: where keys and values come from, with ``skip``."""
        grid, window = x.shape[1:4], self.window
        shifts = [window // 2 if self.shifted and size > window else 0 for size in grid]
        if source is not None:
            (q,), (k, v) = self.split(x, shifts, 1), self.split(self.project_in(source), shifts, 2)
        else:
            q, k, v = self.split(self.project_in(x), shifts, 3)
        zone = zones(grid, window, shifts).to(x.device)
        bias = self.bias[self.offset].permute(2, 0, 1)[None]
        bias = bias.masked_fill((zone[:, :, None] != zone[:, None, :])[:, None], float("-inf"))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.flatten(0, 1)[None].to(q.dtype))
        out = out.unflatten(1, (-1, self.heads)).transpose(2, 3).flatten(3)
        sides = [-(-size // window) * window for size in grid]
        out = window_join(out, sides, window).roll(shifts, dims=(1, 2, 3))
        y: Tensor = self.project_out(out[:, : grid[0], : grid[1], : grid[2]])
        return y


class VolumeBlock(nn.Module):
    """Pre-norm attention and perceptron (ratio 4), each around a shortcut.

    Args:
        dim: as in :class:`VolumeAttention`.
        heads: the same.
        window: the same.
        shifted: the same.
        skip: the same.
        drop_path: share of training samples for which a branch is left out.
    """

    def __init__(
        self, dim: int, heads: int, window: int, drop_path: float, *, shifted: bool = False, skip: bool = False
    ) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = VolumeAttention(dim, heads, window, shifted=shifted, skip=skip)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, source: Tensor | None = None) -> Tensor:
        """(B, T, H, W, C) -> the same; with ``source``, skip attention, whose shortcut is the sum of both."""
        if source is None:
            x = x + self.drop_path(self.attention(self.norm1(x)))
        else:
            x = x + source + self.drop_path(self.attention(self.norm1(x), self.norm1(source)))
        y: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return y


class ChannelsLast(nn.Module):
    """A convolution on (B, T, H, W, C) tensors."""

    def __init__(self, convolution: nn.Module) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.convolution(x.movedim(-1, 1)).movedim(1, -1)
        return y


def convolution(inputs: int, outputs: int, stride: int) -> ChannelsLast:
    """3x3x3 convolution on (B, T, H, W, C)."""
    return ChannelsLast(nn.Conv3d(inputs, outputs, 3, stride=stride, padding=1))


class NNFormer(nn.Module):
    """Convolutional embedding by 4, four stages of windowed attention, three decoder stages with skip attention.

    Args:
        in_channels: channels of the image.
        classes: channels of the logits.
        embedding: width of the first stage; it doubles from stage to stage.
        heads: of the four stages.
        decoder_heads: of the three decoder stages, from the finest to the coarsest.
        windows: of the four stages; the decoder's are those of the first three.
        drop_path: stochastic depth of the last block of the encoder and of the decoder; it grows linearly to there.
        deep_supervision: also heads at 1/2 and 1/4 of the resolution, used while training.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        *,
        embedding: int = 96,
        heads: Sequence[int] = (3, 6, 12, 24),
        decoder_heads: Sequence[int] = (6, 12, 24),
        windows: Sequence[int] = (4, 4, 8, 4),
        drop_path: float = 0.2,
        deep_supervision: bool = True,
    ) -> None:
        super().__init__()
        widths = [embedding * 2**stage for stage in range(len(heads))]
        half = embedding // 2
        self.embed = nn.Sequential(
            convolution(in_channels, half, 2), nn.GELU(), nn.LayerNorm(half),
            convolution(half, half, 1), nn.GELU(), nn.LayerNorm(half),
            convolution(half, embedding, 2), nn.GELU(), nn.LayerNorm(embedding),
            convolution(embedding, embedding, 1), nn.LayerNorm(embedding),
        )  # fmt: skip
        drops = pairs(rising(drop_path, 2 * len(heads)))
        self.stages = nn.ModuleList(
            nn.Sequential(VolumeBlock(*level, first), VolumeBlock(*level, second, shifted=True))
            for level, (first, second) in zip(zip(widths, heads, windows, strict=True), drops, strict=True)
        )
        steps = list(itertools.pairwise(widths))
        self.downs = nn.ModuleList(nn.Sequential(nn.GELU(), nn.LayerNorm(a), convolution(a, b, 2)) for a, b in steps)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in widths)
        self.ups = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(b), ChannelsLast(nn.ConvTranspose3d(b, a, 2, stride=2)))
            for a, b in reversed(steps)
        )
        drops = pairs(rising(drop_path, 2 * len(steps)))
        levels = list(zip(widths[:-1], decoder_heads, windows[:-1], strict=True))[::-1]  # the coarsest comes first
        self.skips, self.blocks = nn.ModuleList(), nn.ModuleList()
        for level, (first, second) in zip(levels, drops, strict=True):
            self.skips.append(VolumeBlock(*level, first, skip=True))
            self.blocks.append(VolumeBlock(*level, second, shifted=True))
        self.heads = nn.ModuleList(
            ChannelsLast(nn.ConvTranspose3d(width, classes, 4, stride=4))
            for width in (widths[:-1] if deep_supervision else widths[:1])
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return logits (B, classes, T, H, W) of an image (B, C, T, H, W) whose sides are multiples of 32.

        While training, those at 1/2 and 1/4 of the resolution follow.
        """
        x = self.embed(image.movedim(1, -1))
        sources = []
        for number, (stage, norm) in enumerate(zip(self.stages, self.norms, strict=True)):
            x = stage(x)
            sources.append(norm(x))
            if number < len(self.downs):
                x = self.downs[number](x)
        x = sources.pop()
        found = []
        for up, skip, block in zip(self.ups, self.skips, self.blocks, strict=True):
            x = block(skip(up(x), sources.pop()))
            found.append(x)
        shown = self.heads if self.training else self.heads[:1]
        return [head(x).movedim(-1, 1).contiguous() for head, x in zip(shown, reversed(found), strict=False)]


def rising(largest: float, count: int) -> list[float]:
    """Stochastic depth of each of ``count`` blocks: from 0 in equal steps to ``largest``."""
    return [largest * number / (count - 1) for number in range(count)]


def pairs(values: Sequence[float]) -> list[tuple[float, float]]:
    """Each stage's two values out of those of all blocks."""
    return list(zip(values[::2], values[1::2], strict=True))
