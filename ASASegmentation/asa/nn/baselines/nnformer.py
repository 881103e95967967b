"""nnFormer (Zhou et al., IEEE TIP 2023), implemented from the paper: attention in 3-D windows, U-shaped.

It has 37.52 million parameters (four channels); the published 37.6 include the two coarser heads of deep supervision,
0.15 million, which predictions do not need.
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
        axis = torch.arange(window)
        place = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).flatten(1)
        offset = place[:, :, None] - place[:, None, :] + window - 1
        side = 2 * window - 1
        self.register_buffer("offset", (offset[0] * side + offset[1]) * side + offset[2], persistent=False)

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
    """Pre-norm attention and perceptron (ratio 4), each around a shortcut."""

    def __init__(self, dim: int, heads: int, window: int, *, shifted: bool = False, skip: bool = False) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.norm_source = nn.LayerNorm(dim) if skip else None
        self.attention = VolumeAttention(dim, heads, window, shifted=shifted, skip=skip)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor, source: Tensor | None = None) -> Tensor:
        """(B, T, H, W, C) -> the same."""
        if source is not None and self.norm_source is not None:
            source = self.norm_source(source)
        x = x + self.attention(self.norm1(x), source)
        y: Tensor = x + self.mlp(self.norm2(x))
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

    The logits are those at full resolution; the coarser heads of the publication's deep supervision are left out.

    Args:
        in_channels: channels of the image.
        classes: channels of the logits.
        embedding: width of the first stage; it doubles from stage to stage.
        heads: of the four stages.
        windows: of the four stages.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        *,
        embedding: int = 96,
        heads: Sequence[int] = (3, 6, 12, 24),
        windows: Sequence[int] = (4, 4, 8, 4),
    ) -> None:
        super().__init__()
        widths = [embedding * 2**stage for stage in range(len(heads))]
        half = embedding // 2
        self.embed = nn.Sequential(
            convolution(in_channels, half, 2), nn.GELU(), nn.LayerNorm(half),
            convolution(half, half, 1), nn.GELU(), nn.LayerNorm(half),
            convolution(half, embedding, 2), nn.GELU(), nn.LayerNorm(embedding),
            convolution(embedding, embedding, 1),
        )  # fmt: skip
        levels = list(zip(widths, heads, windows, strict=True))
        self.stages = nn.ModuleList(
            nn.Sequential(VolumeBlock(*level), VolumeBlock(*level, shifted=True)) for level in levels
        )
        steps = list(itertools.pairwise(widths))
        self.downs = nn.ModuleList(nn.Sequential(nn.LayerNorm(a), convolution(a, b, 2)) for a, b in steps)
        self.ups = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(b), ChannelsLast(nn.ConvTranspose3d(b, a, 2, stride=2)))
            for a, b in reversed(steps)
        )
        self.skips = nn.ModuleList(VolumeBlock(*level, skip=True) for level in reversed(levels[:-1]))
        self.blocks = nn.ModuleList(VolumeBlock(*level, shifted=True) for level in reversed(levels[:-1]))
        self.norm = nn.LayerNorm(embedding)
        self.head = ChannelsLast(nn.ConvTranspose3d(embedding, classes, 4, stride=4))

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (B, classes, T, H, W) of an image (B, C, T, H, W) whose sides are multiples of 32."""
        x = self.stages[0](self.embed(image.movedim(1, -1)))
        sources = []
        for down, stage in zip(self.downs, list(self.stages)[1:], strict=True):
            sources.append(x)
            x = stage(down(x))
        for up, skip, block in zip(self.ups, self.skips, self.blocks, strict=True):
            x = block(skip(up(x), sources.pop()))
        logits: Tensor = self.head(self.norm(x)).movedim(-1, 1).contiguous()
        return logits
