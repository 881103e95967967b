"""A model folder of task tissue whose small network has random weights: what it finds means nothing."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from asa.nn import EncoderConfig, Segmenter, SegmenterConfig


def tiny_config(frame: tuple[int, int, int] = (20, 24, 20)) -> SegmenterConfig:
    """The network for a frame of so many patches."""
    return SegmenterConfig(
        encoder=EncoderConfig(frame=frame, dim=12, depth=2, heads=2),
        classes=5,
        widths=(2, 3, 4, 5),
        taps=(1, 2),
        pyramid=True,
        norm="batch",
    )


def write_tiny_model(folder: Path, config: SegmenterConfig, *, half: bool = False) -> Path:
    """Write the model into ``folder``, with ``half`` in half precision as those that ship; return the folder."""
    folder.mkdir(exist_ok=True)
    torch.manual_seed(1)
    weights = Segmenter(config).state_dict()
    if half:
        weights = {name: one.half() if one.is_floating_point() else one for name, one in weights.items()}
    save_file(weights, folder / "model.safetensors")
    info = {"format": 1, "name": "tiny", "task": "tissue", "modalities": ["t1"], "network": config.to_dict()}
    (folder / "model.json").write_text(json.dumps(info))
    return folder
