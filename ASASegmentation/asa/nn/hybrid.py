"""Segmentation network whose deep levels are taken from the encoder (config ``hybrid``)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asa.nn.config import SegmenterConfig
from asa.nn.encoder import Encoder, Origin, patch_grid
from asa.nn.released import ReleasedSegmenter
from asa.nn.segmenter import ConvUnit, ResidualBlock, Segmenter, TokenTap, UpBlock, space_to_depth

INJECTION_DROPOUT = 0.15  # share of training samples whose tokens are those of pre-training, without image features


class HybridSegmenter(Segmenter):
    """U-Net over the ASA encoder in which convolutions of the image end at 1/4.

    Their features are added to the tokens of the encoder (as ViT-Adapter does, Chen et al., ICLR 2023), so that the
    network has fine borders from convolutions, and everything that needs more than their small field of view (where
    in the brain, what lies on the other side) from attention. The addition starts at zero: at first the encoder sees
    what it saw in pre-training.
    """

    def __init__(self, config: SegmenterConfig) -> None:
        nn.Module.__init__(self)
        if not config.subpixel or config.pyramid or len(config.widths) != 5 or len(config.taps) != 3:
            raise ValueError("A hybrid network has sub-pixel output, no pyramid, five levels and three taps.")
        self.config = config
        self.subpixel = True
        widths, dim, norm = config.widths, config.encoder.dim, config.norm
        channels = config.encoder.in_channels
        self.encoder = Encoder(config.encoder)
        self.stem = ConvUnit(8 * channels, widths[1], norm)
        self.down = ConvUnit(widths[1], widths[2], norm, stride=2)
        self.mirror = ConvUnit(channels, widths[2], norm) if config.mirror else None
        self.image_block = ResidualBlock(widths[2], widths[2], norm)
        self.inject = nn.Sequential(ConvUnit(widths[2], widths[3], norm, stride=2), nn.Conv3d(widths[3], dim, 1))
        nn.init.zeros_(self.inject[1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.inject[1].bias)  # type: ignore[arg-type]
        self.taps = nn.ModuleList(TokenTap(dim, widths[level], level, norm) for level in (1, 2, 3, 4))
        self.deepest = ResidualBlock(widths[4], widths[4], norm)
        self.ups = nn.ModuleList(
            UpBlock(widths[level], widths[level - 1], norm, light=level == 2) for level in (2, 3, 4)
        )
        coarse = widths[2 : 1 + config.deep_supervision]
        self.heads = nn.ModuleList(
            [nn.Conv3d(widths[1], 8 * config.classes, 1), *(nn.Conv3d(width, config.classes, 1) for width in coarse)]
        )

    def features(self, image: Tensor, origin: Origin = (0, 0, 0)) -> list[Tensor]:
        """Decoder features at 1/2, 1/4, 1/8 and 1/16."""
        grid = patch_grid(image.shape, self.config.encoder.patch)
        fine: Tensor = self.stem(space_to_depth(image))
        middle = self.down(fine)
        if self.mirror is not None:
            middle = middle + self.mirror(self.asymmetry(image, origin))
        middle = self.image_block(middle)
        added = self.inject(middle).flatten(2).transpose(1, 2)
        if self.training:
            kept = torch.rand(len(image), 1, 1, device=image.device) >= INJECTION_DROPOUT
            added = added * kept.to(added.dtype)
        last, states = self.encoder.encode(self.encoder.tokens(image, origin) + added, grid, self.config.taps)
        half, quarter, eighth, sixteenth = (
            tap(self.volume(tokens, grid)) for tap, tokens in zip(self.taps, (*states, last), strict=True)
        )
        outputs = [self.deepest(sixteenth)]
        for up, skip in zip(reversed(self.ups), (eighth, middle + quarter, fine + half), strict=True):
            outputs.append(up(outputs[-1], skip))
        return outputs[::-1]

    def volume(self, tokens: Tensor, grid: tuple[int, int, int]) -> Tensor:
        """Return tokens (B, N, D) as maps (B, D, T, H, W) in the memory layout that convolutions like."""
        maps: Tensor = tokens.transpose(1, 2).unflatten(2, grid)
        return maps.contiguous(memory_format=torch.channels_last_3d) if self.config.norm == "batch" else maps

    def asymmetry(self, image: Tensor, origin: Origin) -> Tensor:
        """Each modality less its mirror image, at 1/4: (B, C, T/4, H/4, W/4); 0 where the crop lies off the midline."""
        small = F.avg_pool3d(image, 4)
        width, frame = image.shape[-1] // self.config.encoder.patch, self.config.encoder.frame[2]
        origins = origin if isinstance(origin, list) else [origin] * len(image)
        centred = torch.tensor([2 * o[2] + width == frame for o in origins], device=image.device)
        return (small - small.flip(-1)) * centred.view(-1, 1, 1, 1, 1).to(small.dtype)


def build_segmenter(config: SegmenterConfig) -> Segmenter:
    """Return the network that a configuration describes."""
    if config.layout == "released":
        return ReleasedSegmenter(config)
    return HybridSegmenter(config) if config.hybrid else Segmenter(config)
