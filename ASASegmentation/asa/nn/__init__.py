"""Networks: position encoding, windowed attention, SW-ViT encoder, segmentation U-Net."""

from asa.nn.autoencoder import AutoencoderConfig, MaskedAutoencoder, autoencoder_preset
from asa.nn.config import (
    DecoderConfig,
    EncoderConfig,
    SegmenterConfig,
    decoder_preset,
    encoder_preset,
    segmenter_preset,
)
from asa.nn.encoder import Encoder, inflate_channels, patchify, unpatchify
from asa.nn.hybrid import HybridSegmenter, build_segmenter
from asa.nn.position import PositionEncoding
from asa.nn.segmenter import Segmenter, parameter_count

__all__ = [
    "AutoencoderConfig",
    "DecoderConfig",
    "Encoder",
    "EncoderConfig",
    "HybridSegmenter",
    "MaskedAutoencoder",
    "PositionEncoding",
    "Segmenter",
    "SegmenterConfig",
    "autoencoder_preset",
    "build_segmenter",
    "decoder_preset",
    "encoder_preset",
    "inflate_channels",
    "parameter_count",
    "patchify",
    "segmenter_preset",
    "unpatchify",
]
