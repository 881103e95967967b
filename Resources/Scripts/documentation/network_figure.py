"""The diagram of both networks, with the sizes that the presets give."""

from __future__ import annotations

from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from asa.nn.autoencoder import autoencoder_preset
from asa.nn.config import segmenter_preset

FILL = {"data": "#eceff1", "encoder": "#c5cae9", "decoder": "#ffe0b2", "convolution": "#c8e6c9"}


def box(axes: Axes, at: tuple[float, float], size: tuple[float, float], text: str, kind: str) -> None:
    """A rounded box with text, ``at`` its lower left corner."""
    axes.add_patch(
        FancyBboxPatch(at, *size, boxstyle="round,pad=0,rounding_size=0.08", facecolor=FILL[kind], edgecolor="#546e7a")
    )
    axes.text(at[0] + size[0] / 2, at[1] + size[1] / 2, text, ha="center", va="center", fontsize=8)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    """An arrow between two points."""
    axes.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": "#546e7a", "lw": 1.1})


def network() -> Figure:
    """Above: pre-training. Below: segmentation."""
    figure = Figure(figsize=(9, 5.4), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=[1, 1.7])
    for axes in (above, below):
        axes.set_axis_off()
        axes.set_aspect("equal")
    pretraining(above)
    segmentation(below)
    return figure


def pretraining(axes: Axes) -> None:
    """The masked auto-encoder from left to right."""
    config = autoencoder_preset("paper")
    encoder, decoder = config.encoder, config.decoder
    side = encoder.frame[0] * encoder.patch
    axes.set(xlim=(0, 12.4), ylim=(-0.1, 2.6))
    axes.set_title(f"Pre-training: masked auto-encoder (preset paper, {side}³ voxels)", loc="left")
    steps = [
        (0.0, 1.5, f"image\n{side}³", "data"),
        (1.9, 1.7, f"patches of {encoder.patch}³\n25 % visible\n+ SPE", "data"),
        (4.0, 2.1, f"SW-ViT encoder\n{encoder.depth} blocks, {encoder.dim} wide\nvisible patches only", "encoder"),
        (6.5, 1.7, "back to the grid\nmask tokens\n+ SPE", "data"),
        (8.6, 1.9, f"decoder\n{decoder.depth} blocks, {decoder.dim} wide\nall patches", "decoder"),
        (10.9, 1.5, "voxels of the\nhidden patches", "data"),
    ]
    for x, wide, text, kind in steps:
        box(axes, (x, 1.2), (wide, 1.1), text, kind)
    for (x, wide, *_), (to, *_) in pairwise(steps):
        arrow(axes, (x + wide, 1.75), (to, 1.75))
    box(axes, (6.5, 0), (5.9, 0.75), "loss: squared error of hidden patches, weighted by VHOG", "data")
    arrow(axes, (11.65, 1.2), (11.65, 0.75))
    box(axes, (0, 0), (5.0, 0.75), "VHOG importance of every patch, from the image itself", "data")
    arrow(axes, (0.75, 1.2), (0.75, 0.75))
    arrow(axes, (5.0, 0.375), (6.5, 0.375))


def segmentation(axes: Axes) -> None:
    """The U-Net over the encoder: taps on the left, up-blocks on the right."""
    config = segmenter_preset("paper", in_channels=4, classes=4)
    axes.set(xlim=(0, 12.4), ylim=(-0.2, 5.4))
    axes.set_title("Segmentation: U-Net over the pre-trained encoder", loc="left")
    depth = config.encoder.depth
    box(axes, (0, 4.4), (1.5, 0.7), "image", "data")
    box(axes, (0, 0.2), (1.5, 3.4), f"SW-ViT\nencoder\n{depth} blocks\n(pre-trained)", "encoder")
    arrow(axes, (0.75, 4.4), (0.75, 3.6))
    taps = [f"after block {tap}" for tap in config.taps] + [f"after block {depth}, normalised"]
    levels = len(config.widths)
    for level, width in enumerate(config.widths):
        y = 4.4 - level * 0.84
        source = "convolutions of the image" if level == 0 else taps[level - 1]
        box(axes, (2.9, y), (5.2, 0.62), f"1/{2**level}: {width} channels, {source}", "convolution")
        arrow(axes, (1.5, 4.75 if level == 0 else min(y + 0.31, 3.4)), (2.9, y + 0.31))
        if level < levels - 1:
            box(axes, (8.9, y), (1.9, 0.62), f"up-block, {width}", "decoder")
            arrow(axes, (8.1, y + 0.31), (8.9, y + 0.31))
            arrow(axes, (9.85, y - 0.22), (9.85, y))
    bottom = 4.4 - (levels - 1) * 0.84 + 0.31
    axes.plot([8.1, 9.85], [bottom, bottom], color="#546e7a", lw=1.1)
    axes.plot([9.85, 9.85], [bottom, bottom + 0.31], color="#546e7a", lw=1.1)
    box(axes, (11.1, 4.4), (1.3, 0.62), "classes", "data")
    arrow(axes, (10.8, 4.71), (11.1, 4.71))
