"""Segmentation network with the convolutions of the authors' release (config ``layout: released``)."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asa.nn.config import SegmenterConfig
from asa.nn.encoder import Encoder, Origin, patch_grid
from asa.nn.segmenter import Segmenter


class PlainResidualBlock(nn.Module):
    """Two bias-free 3x3x3 convolutions around a shortcut; instance normalisation learns no scale and no shift.

    The shortcut is a normalised 1x1x1 convolution where the channels change.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Conv3d(inputs, outputs, 3, padding=1, bias=False)
        self.second = nn.Conv3d(outputs, outputs, 3, padding=1, bias=False)
        self.shortcut = None if inputs == outputs else nn.Conv3d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        inner = F.leaky_relu(F.instance_norm(self.first(x)), 0.01)
        outer = x if self.shortcut is None else F.instance_norm(self.shortcut(x))
        return F.leaky_relu(F.instance_norm(self.second(inner)) + outer, 0.01)


def halve(inputs: int, outputs: int) -> nn.Conv3d:
    """Convolution of the eight voxels of each block of 2x2x2 (no overlap, no bias)."""
    return nn.Conv3d(inputs, outputs, 2, stride=2, bias=False)


def double(inputs: int, outputs: int) -> nn.ConvTranspose3d:
    """Transposed convolution: each voxel becomes a block of 2x2x2 (no overlap, no bias)."""
    return nn.ConvTranspose3d(inputs, outputs, 2, stride=2, bias=False)


class ReleasedSegmenter(Segmenter):
    """U-Net over the ASA encoder whose levels are built as in the authors' release.

    Image -> 1/1; hidden states after the blocks of ``config.taps`` -> 1/2, 1/4, 1/8, 1/16; normalised output -> 1/32.
    Half of all parameters are in the tap of the last level.
    """

    def __init__(self, config: SegmenterConfig) -> None:
        nn.Module.__init__(self)
        plain = (config.pyramid, config.subpixel, config.hybrid, config.mirror, config.norm) == (
            *(False,) * 4,
            "instance",
        )
        if not plain or len(config.widths) != 6 or len(config.taps) != 4:
            raise ValueError("The released layout has six levels, four taps, instance normalisation and no options.")
        self.config, self.subpixel = config, False
        widths, dim = config.widths, config.encoder.dim
        full, half, quarter, eighth, sixteenth, last = widths
        self.encoder = Encoder(config.encoder)
        self.stem = PlainResidualBlock(config.encoder.in_channels, full)
        self.taps = nn.ModuleList(
            [
                nn.Sequential(double(dim, half), double(half, half), PlainResidualBlock(half, half)),
                double(dim, quarter),
                PlainResidualBlock(dim, eighth),
                halve(dim, sixteenth),
                nn.Sequential(halve(dim, last), halve(last, last), PlainResidualBlock(last, last)),
            ]
        )
        self.ups = nn.ModuleList(double(b, a) for a, b in itertools.pairwise(widths))
        self.joins = nn.ModuleList(PlainResidualBlock(2 * a, a) for a in widths[:-1])
        self.heads = nn.ModuleList(
            nn.Conv3d(width, config.classes, 1) for width in widths[: 1 + config.deep_supervision]
        )

    def features(self, image: Tensor, origin: Origin = (0, 0, 0)) -> list[Tensor]:
        """Decoder features at 1/1, 1/2, 1/4, 1/8 and 1/16."""
        grid = patch_grid(image.shape, self.config.encoder.patch)
        last, states = self.encoder.encode(self.encoder.tokens(image, origin), grid, self.config.taps)
        skips = [self.stem(image)]
        for tap, tokens in zip(self.taps, (*states, last), strict=True):
            skips.append(tap(tokens.transpose(1, 2).unflatten(2, grid)))
        outputs = [skips.pop()]
        for up, join, skip in zip(reversed(self.ups), reversed(self.joins), reversed(skips), strict=True):
            outputs.append(join(torch.cat((up(outputs[-1]), skip), dim=1)))
        return outputs[:0:-1]
