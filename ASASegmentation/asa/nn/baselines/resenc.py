"""Residual-encoder U-Net, size L (Isensee et al., MICCAI 2024: nnU-Net revisited), and its masked pre-training.

Not one of the paper's compared systems: a current yardstick. With four channels and four classes it has 102,353,972
parameters at crops of 128^3.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from asa.nn.autoencoder import AutoencoderConfig, spread, visible_patches
from asa.nn.encoder import Origin, patch_grid, patchify, unpatchify
from asa.nn.position import Grid3

WIDTHS = (1, 2, 4, 8, 10, 10)  # of the stages, in units of the first
BLOCKS = (1, 3, 4, 6, 6, 6)
SLOPE = 0.01


def stage_widths(base: int, crop: Grid3) -> tuple[int, ...]:
    """Channels of each stage: halved while four voxels are left, five times at most."""
    halvings = min(len(WIDTHS) - 1, (min(crop) // 4).bit_length() - 1)
    return tuple(base * factor for factor in WIDTHS[: halvings + 1])


class ConvNorm(nn.Module):
    """Convolution (3x3x3 or 1x1x1) and instance normalisation with learned scale and shift."""

    def __init__(self, inputs: int, outputs: int, size: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, size, stride=stride, padding=size // 2, bias=size > 1)
        self.norm = nn.InstanceNorm3d(outputs, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x))
        return y


class PooledResidualBlock(nn.Module):
    """Two convolutions around a shortcut, which is pooled by its mean where the first has a stride (ResNet-D)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first, self.second = ConvNorm(inputs, outputs, stride=stride), ConvNorm(outputs, outputs)
        nn.init.zeros_(self.second.norm.weight)  # each block starts as its shortcut
        self.pool = nn.AvgPool3d(stride) if stride > 1 else nn.Identity()
        self.shortcut = ConvNorm(inputs, outputs, size=1) if inputs != outputs else nn.Identity()
        self.act = nn.LeakyReLU(SLOPE)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.second(self.act(self.first(x))) + self.shortcut(self.pool(x)))
        return y


class ResidualEncoder(nn.Module):
    """A stem and stages of residual blocks, each but the first at half the resolution of the one before."""

    def __init__(self, in_channels: int, widths: Sequence[int], blocks: Sequence[int]) -> None:
        super().__init__()
        self.stem = nn.Sequential(ConvNorm(in_channels, widths[0]), nn.LeakyReLU(SLOPE))
        self.stages = nn.ModuleList()
        before = widths[0]
        for number, (width, count) in enumerate(zip(widths, blocks, strict=False)):
            first = PooledResidualBlock(before, width, 2 if number else 1)
            self.stages.append(nn.Sequential(first, *(PooledResidualBlock(width, width, 1) for _ in range(count - 1))))
            before = width

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the features of each stage, finest first."""
        found = [self.stem(image)]
        for stage in self.stages:
            found.append(stage(found[-1]))
        return found[1:]


class ResEncUNet(nn.Module):
    """Residual encoder and a decoder with one convolution a level.

    Args:
        in_channels: channels of the image.
        classes: channels of the logits.
        widths: channels of the stages; see :func:`stage_widths`.
        blocks: residual blocks of the stages; more than there are stages are not used.
    """

    def __init__(self, in_channels: int, classes: int, widths: Sequence[int], blocks: Sequence[int] = BLOCKS) -> None:
        super().__init__()
        self.encoder = ResidualEncoder(in_channels, widths, blocks)
        pairs = list(itertools.pairwise(widths))
        self.ups = nn.ModuleList(nn.ConvTranspose3d(b, a, 2, stride=2) for a, b in pairs)
        self.joins = nn.ModuleList(nn.Sequential(ConvNorm(2 * a, a), nn.LeakyReLU(SLOPE)) for a, _ in pairs)
        self.heads = nn.ModuleList(nn.Conv3d(a, classes, 1) for a, _ in pairs)
        for module in self.modules():
            if isinstance(module, (nn.Conv3d, nn.ConvTranspose3d)):
                nn.init.kaiming_normal_(module.weight, a=SLOPE)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def decoded(self, image: Tensor) -> list[Tensor]:
        """Return the features of the decoder's levels, finest first."""
        *skips, x = self.encoder(image)
        found = []
        for up, join, skip in zip(reversed(self.ups), reversed(self.joins), reversed(skips), strict=True):
            x = join(torch.cat((up(x), skip), dim=1))
            found.append(x)
        return found[::-1]

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return logits (B, classes, T, H, W); while training, those of all coarser levels follow."""
        shown = self.heads if self.training else self.heads[:1]
        return [head(x) for head, x in zip(shown, self.decoded(image), strict=False)]


class MaskedUNet(nn.Module):
    """Reconstructs hidden patches of an image, which it sees as zeros, with a residual-encoder U-Net.

    It is called as :class:`asa.nn.MaskedAutoencoder` is. Of its configuration only patch size, frame, channels and the
    encoder's width count: the first stage is a twelfth as wide, 32 channels with preset ``paper``.
    """

    typical = None

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        encoder = config.encoder
        base, smallest = encoder.dim // 12, min(encoder.frame) * encoder.patch
        widths = stage_widths(base, (smallest, smallest, smallest))
        self.body = ResEncUNet(encoder.in_channels, encoder.in_channels, widths, blocks_of(base))
        self.body.heads = self.body.heads[:1]

    @property
    def encoder(self) -> ResidualEncoder:
        """What fine-tuning takes over."""
        return self.body.encoder

    def forward(self, image: Tensor, mask: Tensor, _origin: Origin = (0, 0, 0), absent: Tensor | None = None) -> Tensor:
        """Return the voxels of every patch: (B, C, T, H, W) -> (B, N, C*patch^3).

        Args:
            mask: (B, N) bool, True where a patch is hidden.
            absent: (B, N) bool, True where a patch is hidden and not to be reconstructed.
        """
        patch = self.config.encoder.patch
        hidden = mask if absent is None else mask | absent
        grid = patch_grid(image.shape, patch)
        seen = patchify(image, patch).masked_fill(hidden[:, :, None], 0.0)
        finest = self.body.decoded(unpatchify(seen, grid, patch))[0]
        return patchify(self.body.heads[0](finest), patch)

    def hidden(self, image: Tensor, mask: Tensor, origin: Origin, absent: Tensor | None) -> Tensor:
        """Voxels of the hidden patches alone, in grid order (B, hidden, C*patch^3); arguments of :meth:`forward`."""
        patches: Tensor = self(image, mask, origin, absent)
        return patches.gather(1, spread(visible_patches(~mask), patches))


def blocks_of(base: int) -> tuple[int, ...]:
    """Residual blocks of each stage: as published for 32 channels at full resolution, one each in smaller networks."""
    return BLOCKS if base >= 32 else (1,) * len(BLOCKS)
