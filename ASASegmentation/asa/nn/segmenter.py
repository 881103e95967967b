"""U-Net over the ASA encoder (paper Fig. 3)."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from asa.nn.config import SegmenterConfig
from asa.nn.encoder import Encoder, Origin, patch_grid

Norm = Literal["instance", "batch"]

SLAB = 64  # slices at 1/1 that a fused network computes at once; 32 take a sixth longer, all at once take no less


def make_norm(kind: Norm, channels: int) -> nn.Module:
    """3-D normalisation with learned scale and shift."""
    if kind == "batch":
        return nn.BatchNorm3d(channels, momentum=0.05)
    return nn.InstanceNorm3d(channels, affine=True)


class ConvUnit(nn.Module):
    """3x3x3 convolution, normalisation, leaky ReLU (0.01)."""

    def __init__(self, inputs: int, outputs: int, norm: Norm, stride: int = 1, *, active: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, 3, stride=stride, padding=1, bias=norm == "batch")
        self.norm = make_norm(norm, outputs)
        self.act = nn.LeakyReLU(0.01) if active else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.norm(self.conv(x)))
        return y

    def fuse(self) -> None:
        """Fold batch normalisation into the convolution (inference only)."""
        if isinstance(self.norm, nn.BatchNorm3d):
            self.conv = fuse_conv_bn_eval(self.conv, self.norm)
            self.norm = nn.Identity()


class ResidualBlock(nn.Module):
    """Two convolution units around a shortcut (1x1x1 where the channels change)."""

    def __init__(self, inputs: int, outputs: int, norm: Norm) -> None:
        super().__init__()
        self.first = ConvUnit(inputs, outputs, norm)
        self.second = ConvUnit(outputs, outputs, norm, active=False)
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv3d(inputs, outputs, 1)
        self.act = nn.LeakyReLU(0.01)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.second(self.first(x)) + self.shortcut(x))
        return y


class TokenTap(nn.Sequential):
    """Hidden state on the 1/8 grid -> features at ``level`` of the pyramid (level l is 1/2^l resolution)."""

    def __init__(self, dim: int, width: int, level: int, norm: Norm) -> None:
        layers: list[nn.Module]
        if level < 3:
            middle = [max(width, dim // 2)] * (2 - level)
            widths = [dim, *middle, width]
            layers = [nn.ConvTranspose3d(a, b, 2, stride=2) for a, b in pairwise(widths)]
        elif level == 3:
            layers = [ConvUnit(dim, dim, norm), ConvUnit(dim, width, norm)]
        else:
            widths = [dim, *[width] * (level - 3)]
            layers = [ConvUnit(a, b, norm, stride=2) for a, b in pairwise(widths)]
        super().__init__(*layers)


class UpBlock(nn.Module):
    """Transposed convolution by 2, concatenation with the skip, residual block."""

    def __init__(self, inputs: int, outputs: int, norm: Norm, *, light: bool = False) -> None:
        super().__init__()
        self.up = nn.ConvTranspose3d(inputs, outputs, 2, stride=2)
        block = ConvUnit if light else ResidualBlock
        self.block = block(2 * outputs, outputs, norm)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        y: Tensor = self.block(torch.cat((self.up(x), skip), dim=1))
        return y


class Segmenter(nn.Module):
    """Segmentation network: ASA encoder, skips from its hidden states, convolutional decoder.

    Input (B, C, T, H, W) in the brain frame, axes multiples of 32; output logits (B, classes, T, H, W).
    """

    slabs = False  # whether the finest level is computed slab by slab

    def __init__(self, config: SegmenterConfig) -> None:
        super().__init__()
        self.config = config
        widths, dim, norm = config.widths, config.encoder.dim, config.norm
        levels = range(1, len(widths))
        if len(config.taps) != len(widths) - 2 or list(config.taps) != sorted(config.taps):
            raise ValueError("Taps must name one encoder block, in order, for each level but the first and the last.")
        self.encoder = Encoder(config.encoder)
        light = config.pyramid  # at full resolution convolutions cost more than the whole transformer
        channels, self.subpixel = config.encoder.in_channels, config.subpixel
        if config.subpixel:
            self.stem: nn.Module = ConvUnit(8 * channels, widths[1], norm)
        else:
            self.stem = (ConvUnit if light else ResidualBlock)(channels, widths[0], norm)
        finest = 1 if config.subpixel else 0
        self.taps = nn.ModuleList(TokenTap(dim, widths[level], level, norm) for level in levels)
        self.downs = nn.ModuleList(
            ConvUnit(widths[level - 1], widths[level], norm, stride=2) if level > finest else nn.Identity()
            for level in levels
            if config.pyramid
        )
        # 1/2, 1/4 and 1/16 get a residual block; 1/8 and the last have convolutions enough in their tap
        self.blocks = nn.ModuleList(
            ResidualBlock(widths[level], widths[level], norm)
            if (config.pyramid or level in (1, 2, 4)) and level > finest
            else nn.Identity()
            for level in levels
        )
        self.ups = nn.ModuleList(
            UpBlock(widths[level], widths[level - 1], norm, light=light and level == finest + 1)
            if level > finest
            else nn.Identity()
            for level in levels
        )
        coarse = widths[finest + 1 : 1 + config.deep_supervision]
        self.heads = nn.ModuleList(
            [
                nn.Conv3d(widths[finest], config.classes * (8 if config.subpixel else 1), 1),
                *(nn.Conv3d(width, config.classes, 1) for width in coarse),
            ]
        )

    def features(self, image: Tensor, origin: Origin = (0, 0, 0)) -> list[Tensor]:
        """Decoder features at 1/1 (but for sub-pixel networks), 1/2, 1/4, ... (finest first)."""
        coarse, skip = self.coarse_features(image, origin)
        return [self.ups[self.subpixel](coarse[0], skip), *coarse]

    def coarse_features(self, image: Tensor, origin: Origin) -> tuple[list[Tensor], Tensor]:
        """Decoder features but the finest (finest first), and what the finest are made of besides them."""
        grid = patch_grid(image.shape, self.config.encoder.patch)
        last, states = self.encoder.encode(self.encoder.tokens(image, origin), grid, self.config.taps)
        fine: Tensor = self.stem(space_to_depth(image) if self.subpixel else image)
        skips = [fine]
        for level, state in enumerate((*states, last)):
            volume = state.transpose(1, 2).unflatten(2, grid)
            if self.config.norm == "batch":  # convolutions of few channels are several times faster this way
                volume = volume.contiguous(memory_format=torch.channels_last_3d)
            x = self.taps[level](volume)
            if self.config.pyramid:
                x = x + self.downs[level](skips[-1])
            skips.append(self.blocks[level](x))
        outputs = [skips.pop()]
        for up in reversed(self.ups[self.subpixel + 1 :]):
            outputs.append(up(outputs[-1], skips.pop()))
        return outputs[::-1], skips.pop()

    def forward(self, image: Tensor, origin: Origin = (0, 0, 0)) -> Tensor:
        """Return logits (B, classes, T, H, W) at full resolution."""
        if self.slabs:
            coarse, skip = self.coarse_features(image, origin)
            half = coarse[0]
            del coarse
            return self.in_slabs(half, skip)
        return self.finest(self.features(image, origin)[0])

    def in_slabs(self, half: Tensor, skip: Tensor) -> Tensor:
        """Return logits from features at 1/2 and the skip at 1/1, a slab of slices at a time.

        The values are those of all slices at once: the finest level of a fused network has one convolution of 3×3×3,
        so a slice beyond each end of a slab suffices, and two make whole slices at 1/2. The maps at 1/1 would take
        most of the memory of a segmentation.
        """
        slices = skip.shape[2]
        logits: Tensor | None = None
        for start in range(0, slices, SLAB):
            first, last = max(start - 2, 0), min(start + SLAB + 2, slices)
            features = self.ups[0](half[:, :, first // 2 : last // 2], skip[:, :, first:last])
            part = self.heads[0](features)[:, :, start - first :][:, :, :SLAB]
            if logits is None:
                logits = part.new_empty((*part.shape[:2], *skip.shape[2:]))
            logits[:, :, start : start + SLAB] = part
        assert logits is not None
        return logits

    def finest(self, features: Tensor) -> Tensor:
        """Return logits at full resolution from the finest features."""
        logits: Tensor = self.heads[0](features)
        return depth_to_space(logits) if self.subpixel else logits

    def forward_deep(self, image: Tensor, origin: Origin = (0, 0, 0)) -> list[Tensor]:
        """Return logits at 1/1, 1/2 (but for sub-pixel networks), 1/4, ... for deep supervision, finest first."""
        features = self.features(image, origin)
        coarse = [head(x) for head, x in zip(self.heads[1:], features[1:], strict=False)]
        return [self.finest(features[0]), *coarse]

    def fuse(self) -> Segmenter:
        """Prepare the network for inference, in place: fold batch normalisation into convolutions, and save memory.

        It must be in evaluation mode.
        """
        for module in self.modules():
            if isinstance(module, ConvUnit):
                module.fuse()
            elif isinstance(module, nn.LeakyReLU):
                module.inplace = True  # nothing else uses what it is given: a map less in memory
        self.slabs = self.config.norm == "batch" and self.config.pyramid and not self.subpixel
        return self


def space_to_depth(image: Tensor) -> Tensor:
    """(B, C, T, H, W) -> (B, 8C, T/2, H/2, W/2): the eight voxels of each 2x2x2 block side by side."""
    split = image.unflatten(-1, (-1, 2)).unflatten(-3, (-1, 2)).unflatten(-5, (-1, 2))  # B C t 2 h 2 w 2
    deep: Tensor = split.permute(0, 1, 3, 5, 7, 2, 4, 6).flatten(1, 4)
    return deep


def depth_to_space(maps: Tensor) -> Tensor:
    """Inverse of :func:`space_to_depth`: (B, 8K, T, H, W) -> (B, K, 2T, 2H, 2W)."""
    split = maps.unflatten(1, (-1, 2, 2, 2))  # B K 2 2 2 t h w
    wide: Tensor = split.permute(0, 1, 5, 2, 6, 3, 7, 4).flatten(6, 7).flatten(4, 5).flatten(2, 3)
    return wide


def parameter_count(module: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(p.numel() for p in module.parameters())
