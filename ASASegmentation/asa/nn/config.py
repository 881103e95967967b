"""Architecture settings and the two presets."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from asa.nn.position import Grid3, Order, Scheme


@dataclass(frozen=True)
class EncoderConfig:
    """SW-ViT encoder.

    Attributes:
        frame: patch grid (T, H, W) of the brain frame that the model knows.
        orders: axes of the patch grid from the slowest to the fastest, by which tokens are put in line before they are
            cut into windows; block pairs take turns. The paper's only order is ``thw``, by which a window holds one
            or two rows along W and nothing ever passes along T.
        double_softmax: attention weights go through a second softmax, as in the release.
        late_bias: position bias and window mask are added between the two softmaxes, as in the release; needs
            ``double_softmax``.
    """

    frame: Grid3 = (16, 16, 16)
    in_channels: int = 1
    patch: int = 8
    dim: int = 384
    depth: int = 12
    heads: int = 12
    window: int = 32
    mlp_ratio: float = 4.0
    position: Scheme = "symmetric"
    double_softmax: bool = False
    orders: tuple[Order, ...] = ("thw",)
    late_bias: bool = False

    def __post_init__(self) -> None:
        if self.late_bias and not self.double_softmax:
            raise ValueError("Option late_bias needs double_softmax: only two softmaxes have something between them.")


@dataclass(frozen=True)
class DecoderConfig:
    """Decoder of the masked auto-encoder.

    Attributes:
        typical: it predicts how a head differs from the mean of the training scans at the same place, instead of
            learning that mean as well. Not in the paper.
        visible_codes: position codes are added to the visible tokens again, as in MAE and in the release; the paper
            names mask tokens only.
    """

    dim: int = 384
    depth: int = 8
    heads: int = 12
    typical: bool = False
    visible_codes: bool = False


Layout = Literal["own", "released"]


@dataclass(frozen=True)
class SegmenterConfig:
    """U-Net over the encoder (paper Fig. 3).

    Attributes:
        classes: output channels (background included where the task uses softmax).
        widths: channels at 1/1, 1/2, 1/4, ... of the input resolution; six levels as published.
        taps: encoder blocks after which hidden states feed the levels between the first and the last (1/2, 1/4,
            1/8, 1/16; blocks 3, 5, 7 and 9 in the release); the encoder's normalised output feeds the last level.
        layout: convolutions of each level: ``released``, as in the authors' release, or ``own``, which spreads the
            parameters more evenly over the levels (see :class:`asa.nn.released.ReleasedSegmenter`).
        pyramid: also carry the image itself down to 1/8 by strided convolutions (not in the paper; small
            models trained from few heads learn fine borders much faster with it).
        subpixel: no convolutions at full resolution; each voxel of the 1/2 stage answers for the eight it covers
            (sub-pixel convolution, Shi et al., CVPR 2016). Several times cheaper; ``widths[0]`` is not used then.
        norm: ``instance`` as published, or ``batch`` (folds into the convolutions at inference).
        deep_supervision: number of coarser outputs trained in addition to the full-resolution one.
        hybrid: the image's own convolutions end at 1/4, where their features are added to the encoder's tokens; what
            lies at 1/8 and below is the encoder's alone. Needs ``subpixel``; excludes ``pyramid``.
        mirror: at 1/4 the network also sees each modality less its mirror image; crops must be as wide as the frame
            allows on both sides of the midline (see :meth:`asa.nn.segmenter.Segmenter.mirrored`).
    """

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    classes: int = 4
    widths: tuple[int, ...] = (24, 48, 96, 192, 384, 768)
    taps: tuple[int, ...] = (2, 4, 6, 8)
    pyramid: bool = False
    subpixel: bool = False
    hybrid: bool = False
    mirror: bool = False
    norm: Literal["instance", "batch"] = "instance"
    deep_supervision: int = 3
    layout: Layout = "own"

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary for model.json and checkpoints."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> SegmenterConfig:
        """Inverse of :meth:`to_dict`; lists (as JSON gives them) become tuples.

        Raises:
            TypeError: a key that this version does not know.
        """
        encoder = dict(values["encoder"])
        encoder = {k: tuple(v) if isinstance(v, list) else v for k, v in encoder.items()}
        rest: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k != "encoder"}
        return SegmenterConfig(encoder=EncoderConfig(**encoder), **rest)


AXIAL: tuple[Order, ...] = ("thw", "twh", "hwt")  # windows along W, H and T in turn
STARTER_FRAME: Grid3 = (20, 24, 20)  # 160 x 192 x 160 mm in patches of 8: every adult head, aligned to MNI152


def encoder_preset(name: str, **changes: Any) -> EncoderConfig:
    """Return the encoder of a preset.

    Args:
        name: ``paper``, the published sizes; ``starter``, for two CPU cores; ``brain``, of the same size with
            windows along all three axes.
        changes: fields to override.

    Raises:
        KeyError: unknown preset.
    """
    presets = {
        "paper": EncoderConfig(),
        "starter": EncoderConfig(frame=STARTER_FRAME, dim=192, depth=8, heads=6),
        "brain": EncoderConfig(frame=STARTER_FRAME, dim=192, depth=8, heads=6, orders=AXIAL),
    }
    return dataclasses.replace(presets[name], **changes)


def decoder_preset(name: str) -> DecoderConfig:
    """Auto-encoder decoder of a preset."""
    small = DecoderConfig(dim=192, depth=4, heads=6)
    return {"paper": DecoderConfig(), "starter": small, "brain": dataclasses.replace(small, typical=True)}[name]


def segmenter_preset(
    name: str,
    *,
    in_channels: int,
    classes: int,
    subpixel: bool = False,
    layout: Layout = "released",
    **encoder_changes: Any,
) -> SegmenterConfig:
    """Segmentation network of a preset for ``in_channels`` modalities and ``classes`` outputs.

    ``layout`` concerns the preset ``paper``; the others have their own.
    """
    encoder = encoder_preset(name, in_channels=in_channels, **encoder_changes)
    if name == "paper" and layout == "released":
        return SegmenterConfig(encoder=encoder, classes=classes, taps=(3, 5, 7, 9), deep_supervision=4, layout=layout)
    if name == "paper":
        return SegmenterConfig(encoder=encoder, classes=classes)
    if name == "brain":
        return SegmenterConfig(
            encoder=encoder,
            classes=classes,
            widths=(16, 32, 64, 128, 160),
            taps=(2, 4, 6),
            hybrid=True,
            mirror=True,
            subpixel=True,
            norm="batch",
        )
    return SegmenterConfig(
        encoder=encoder,
        classes=classes,
        widths=(16, 32, 64, 128, 160),
        taps=(2, 4, 6),
        pyramid=True,
        subpixel=subpixel,
        norm="batch",
    )
