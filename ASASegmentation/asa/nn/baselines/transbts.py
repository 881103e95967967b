"""TransBTS (Wang et al., MICCAI 2021): a transformer within a CNN; as described there and as released.

With four channels, four classes and crops of 128^3 it has 32,723,908 parameters. The release counts 263,680 more that
have no effect: a linear patch embedding (512 x 512) that the convolution replaced, and a LayerNorm behind what the
decoder reads.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asa.nn.position import Grid3

GROUPS = 8
STRIDE = 8  # voxels of a token


class EncoderUnit(nn.Module):
    """Pre-activation residual block: two times group normalisation, ReLU, 3x3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.GroupNorm(GROUPS, channels),
            nn.ReLU(),
            nn.Conv3d(channels, channels, 3, padding=1),
            nn.GroupNorm(GROUPS, channels),
            nn.ReLU(),
            nn.Conv3d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.body(x)
        return y


def conv_norm_relu(inputs: int, outputs: int) -> nn.Sequential:
    """3x3x3 convolution, batch normalisation, ReLU."""
    return nn.Sequential(nn.Conv3d(inputs, outputs, 3, padding=1), nn.BatchNorm3d(outputs), nn.ReLU())


class DecoderUnit(nn.Module):
    """Post-activation residual block: two times 3x3x3 convolution, batch normalisation, ReLU; then the shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv_norm_relu(channels, channels), conv_norm_relu(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.body(x)
        return y


class GlobalLayer(nn.Module):
    """Pre-norm transformer layer with attention among all tokens."""

    def __init__(self, dim: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        # twice, as released: once in the attention and once around it
        self.proj = nn.Sequential(nn.Linear(dim, dim), nn.Dropout(dropout), nn.Dropout(dropout))
        self.mlp = nn.Sequential(
            nn.Linear(dim, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, dim), nn.Dropout(dropout)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0)
        x = x + self.proj(out.transpose(1, 2).flatten(2))
        y: Tensor = x + self.mlp(self.norm2(x))
        return y


class UpUnit(nn.Module):
    """1^3 convolution, transposed convolution by 2, concatenation with the skip, 1^3 convolution, residual block."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.narrow = nn.Conv3d(inputs, outputs, 1)
        self.up = nn.ConvTranspose3d(outputs, outputs, 2, stride=2)
        self.join = nn.Conv3d(2 * outputs, outputs, 1)
        self.block = DecoderUnit(outputs)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        y: Tensor = self.block(self.join(torch.cat((skip, self.up(self.narrow(x))), dim=1)))
        return y


class TransBTS(nn.Module):
    """Convolutional encoder to 1/8, four transformer layers on its tokens, convolutional decoder.

    Args:
        in_channels: channels of the image.
        classes: channels of the logits.
        crop: (T, H, W) voxels of the input, multiples of 8; the learned position codes fix it.
        width: channels at full resolution; they double at each of three strides.
        dim: width of the transformer.
        heads: attention heads of a layer.
        hidden: width of its feed-forward part.
        layers: number of layers.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        crop: Grid3 = (128, 128, 128),
        *,
        width: int = 16,
        dim: int = 512,
        heads: int = 8,
        hidden: int = 4096,
        layers: int = 4,
    ) -> None:
        super().__init__()
        widths = [width, 2 * width, 4 * width, 8 * width]
        deepest = widths[-1]
        self.grid = tuple(side // STRIDE for side in crop)
        self.stem = nn.Sequential(nn.Conv3d(in_channels, width, 3, padding=1), nn.Dropout3d(0.2))
        self.stages = nn.ModuleList(
            nn.Sequential(*(EncoderUnit(channels) for _ in range(count)))
            for channels, count in zip(widths, (1, 2, 2, 4), strict=True)
        )
        self.downs = nn.ModuleList(nn.Conv3d(a, b, 3, stride=2, padding=1) for a, b in itertools.pairwise(widths))
        self.embed = nn.Sequential(nn.BatchNorm3d(deepest), nn.ReLU(), nn.Conv3d(deepest, dim, 3, padding=1))
        tokens = self.grid[0] * self.grid[1] * self.grid[2]
        self.position = nn.Parameter(torch.zeros(1, tokens, dim))
        self.layers = nn.Sequential(nn.Dropout(0.1), *(GlobalLayer(dim, heads, hidden, 0.1) for _ in range(layers)))
        self.reduce = nn.Sequential(
            conv_norm_relu(dim, deepest), conv_norm_relu(deepest, deepest), DecoderUnit(deepest)
        )
        self.ups = nn.ModuleList(UpUnit(b, a) for a, b in reversed(list(itertools.pairwise(widths))))
        self.head = nn.Conv3d(width, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (B, classes, T, H, W) of an image (B, C, T, H, W) of the size ``crop``."""
        x = self.stages[0](self.stem(image))
        skips = []
        for down, stage in zip(self.downs, list(self.stages)[1:], strict=True):
            skips.append(x)
            x = stage(down(x))
        tokens = self.embed(x).flatten(2).transpose(1, 2) + self.position
        x = self.reduce(self.layers(tokens).transpose(1, 2).unflatten(2, self.grid))
        for up in self.ups:
            x = up(x, skips.pop())
        logits: Tensor = self.head(x)
        return logits
