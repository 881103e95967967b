"""Registry of all segmentation networks, ASA's own and the baselines, behind one interface."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from asa.errors import DependencyError, InputError, install_command
from asa.nn.baselines.nnformer import NNFormer
from asa.nn.baselines.resenc import ResEncUNet, blocks_of, stage_widths
from asa.nn.baselines.transbts import TransBTS
from asa.nn.config import EncoderConfig, Layout, SegmenterConfig, segmenter_preset
from asa.nn.encoder import Origin
from asa.nn.hybrid import build_segmenter
from asa.nn.position import Grid3, Scheme
from asa.nn.segmenter import Segmenter

Size = Literal["paper", "starter", "small"]
MULTIPLE = 32  # of which the sides of a crop must be multiples, whatever the network


@dataclass(frozen=True)
class NetworkSpec:
    """What rebuilds a network; plain JSON with :meth:`to_dict`.

    Attributes:
        name: a key of :data:`NETWORKS`.
        in_channels, classes: channels of the image and of the logits.
        crop: (T, H, W) voxels the network is trained on; some of the networks accept no other size.
        size: ``paper``: as published; ``small``: shrunken, to rehearse on a CPU; ``starter``: ASA's CPU preset.
        frame: patch grid of the brain frame (ASA only).
        position: position encoding (ASA only).
        layout: convolutions of ASA's preset ``paper``; see :class:`asa.nn.SegmenterConfig`.
    """

    name: str
    in_channels: int
    classes: int
    crop: Grid3 = (128, 128, 128)
    size: Size = "paper"
    frame: Grid3 = (16, 16, 16)
    position: Scheme = "symmetric"
    layout: Layout = "released"

    def to_dict(self) -> dict[str, Any]:
        """For checkpoints and run.yaml."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> NetworkSpec:
        """Inverse of :meth:`to_dict`; lists, as JSON gives them, become tuples.

        Earlier versions recorded no layout: theirs was ``own``.

        Raises:
            TypeError: a key that this version does not know.
        """
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return NetworkSpec(**{"layout": "own", **plain})


class PlainNetwork(nn.Module):
    """A network that sees a crop and does not know where in the brain it lies."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, image: Tensor, origin: Origin = (0, 0, 0)) -> Tensor:
        """Return logits (B, classes, T, H, W) of an image (B, C, T, H, W); ``origin`` changes nothing."""
        return self.forward_deep(image, origin)[0]

    def forward_deep(self, image: Tensor, origin: Origin = (0, 0, 0)) -> list[Tensor]:
        """Logits to be supervised, finest first; nnFormer, DynUNet and ResEncUNet give several while training.

        Those of DynUNet are all at full resolution.
        """
        logits: Tensor | list[Tensor] = self.body(image)
        if isinstance(logits, list):
            return logits
        return list(logits.unbind(1)) if logits.ndim == image.ndim + 1 else [logits]


Network = Segmenter | PlainNetwork


def monai_network(kind: str, /, **arguments: Any) -> PlainNetwork:
    """Return a network of ``monai.networks.nets``.

    Raises:
        DependencyError: MONAI, or einops which its transformers use, is not installed.
    """
    try:
        nets = importlib.import_module("monai.networks.nets")
        return PlainNetwork(getattr(nets, kind)(**arguments))
    except ImportError as error:
        # MONAI's own error for a missing einops is an ImportError too
        raise DependencyError(
            f"{kind} needs MONAI and einops. Install them with: {install_command('train')}"
        ) from error


def asa_config(spec: NetworkSpec) -> SegmenterConfig:
    """Sizes of the U-Net over the ASA encoder."""
    if spec.size != "small":
        return segmenter_preset(
            spec.size,
            in_channels=spec.in_channels,
            classes=spec.classes,
            frame=spec.frame,
            position=spec.position,
            layout=spec.layout,
        )
    encoder = EncoderConfig(
        spec.frame, spec.in_channels, dim=48, depth=4, heads=4, window=32, mlp_ratio=2.0, position=spec.position
    )
    widths = (8, 16, 24, 32, 48)
    return SegmenterConfig(encoder, spec.classes, widths, taps=(1, 2, 3), pyramid=True)


def asa_network(spec: NetworkSpec) -> Segmenter:
    """Return the U-Net over the ASA encoder."""
    return build_segmenter(asa_config(spec))


def nnformer(spec: NetworkSpec) -> PlainNetwork:
    """nnFormer."""
    if spec.size == "paper":
        return PlainNetwork(NNFormer(spec.in_channels, spec.classes))
    sizes: dict[str, Any] = {"embedding": 24, "heads": (1, 2, 4, 8), "decoder_heads": (2, 4, 8)}
    return PlainNetwork(NNFormer(spec.in_channels, spec.classes, **sizes, windows=(4, 4, 4, 4)))


def transbts(spec: NetworkSpec) -> PlainNetwork:
    """TransBTS."""
    if spec.size == "paper":
        return PlainNetwork(TransBTS(spec.in_channels, spec.classes, spec.crop))
    sizes = {"width": 8, "dim": 64, "heads": 4, "hidden": 128, "layers": 2}
    return PlainNetwork(TransBTS(spec.in_channels, spec.classes, spec.crop, **sizes))


def unetr(spec: NetworkSpec) -> PlainNetwork:
    """UNETR (Hatamizadeh et al., WACV 2022), from MONAI."""
    paper = spec.size == "paper"
    network = monai_network(
        "UNETR",
        in_channels=spec.in_channels,
        out_channels=spec.classes,
        img_size=spec.crop,
        feature_size=16 if paper else 8,
        hidden_size=768 if paper else 48,
        mlp_dim=3072 if paper else 96,
        num_heads=12 if paper else 4,
    )
    for name, parameter in network.named_parameters():
        if "cross_attn" in name:  # MONAI builds these norms and never uses them; several processes would wait for them
            parameter.requires_grad_(False)
    return network


def swinunetr(spec: NetworkSpec) -> PlainNetwork:
    """SwinUNETR (Hatamizadeh et al., BrainLes 2021), from MONAI.

    Raises:
        InputError: a crop of which its deepest level keeps one voxel, which has no spread to normalise by.
    """
    if all(side <= MULTIPLE for side in spec.crop):
        raise InputError(f"swinunetr needs a crop of more than {MULTIPLE} voxels along one axis or more.")
    return monai_network(
        "SwinUNETR",
        in_channels=spec.in_channels,
        out_channels=spec.classes,
        feature_size=48 if spec.size == "paper" else 12,
    )


def dynunet(spec: NetworkSpec) -> PlainNetwork:
    """The residual U-Net that nnU-Net plans for a crop, from MONAI: halved while 4 voxels are left, 5 times at most."""
    halvings = min(5, (min(spec.crop) // 4).bit_length() - 1)
    strides = [1] + [2] * halvings
    filters = (32, 64, 128, 256, 320, 320) if spec.size == "paper" else (8, 12, 16, 24, 32, 32)
    return monai_network(
        "DynUNet",
        spatial_dims=3,
        in_channels=spec.in_channels,
        out_channels=spec.classes,
        kernel_size=[3] * len(strides),
        strides=strides,
        upsample_kernel_size=strides[1:],
        filters=filters[: len(strides)],
        res_block=True,
        deep_supervision=True,
        deep_supr_num=min(3, halvings - 1),
    )


def resenc(spec: NetworkSpec) -> PlainNetwork:
    """Residual-encoder U-Net, size L of nnU-Net."""
    base = 32 if spec.size == "paper" else 4
    widths = stage_widths(base, spec.crop)
    return PlainNetwork(ResEncUNet(spec.in_channels, spec.classes, widths, blocks_of(base)))


def segresnet(spec: NetworkSpec) -> PlainNetwork:
    """SegResNet (Myronenko, BrainLes 2018) without its auto-encoder branch, from MONAI."""
    return monai_network(
        "SegResNet",
        in_channels=spec.in_channels,
        out_channels=spec.classes,
        init_filters=32 if spec.size == "paper" else 8,
        blocks_down=(1, 2, 2, 4),
        blocks_up=(1, 1, 1),
    )


NETWORKS: dict[str, Callable[[NetworkSpec], Network]] = {
    "asa": asa_network,
    "unetr": unetr,
    "nnformer": nnformer,
    "transbts": transbts,
    "swinunetr": swinunetr,
    "dynunet": dynunet,
    "resenc": resenc,
    "segresnet": segresnet,
}


def build_network(spec: NetworkSpec) -> Network:
    """Return the network that ``spec`` describes, with fresh weights.

    Raises:
        InputError: no such network or size, or a crop that does not divide into patches and strides.
        DependencyError: an optional package is missing.
    """
    if spec.name not in NETWORKS:
        raise InputError(f"Unknown network '{spec.name}'; choose from {', '.join(NETWORKS)}.")
    if spec.size == "starter" and spec.name != "asa":
        raise InputError(f"Network '{spec.name}' has the sizes paper and small; starter is a preset of asa.")
    if any(side % MULTIPLE or side <= 0 for side in spec.crop):
        shown = "x".join(map(str, spec.crop))
        raise InputError(f"A crop of {shown} voxels is not possible; each side must be a multiple of {MULTIPLE}.")
    return NETWORKS[spec.name](spec)
