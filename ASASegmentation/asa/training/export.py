"""Checkpoint -> model folder that inference and the GUI list."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from asa.files import atomic_path, write_json, write_text
from asa.models import CARD, DESCRIPTION, FORMAT, WEIGHTS
from asa.training import checkpoint


def export_model(source: Path, folder: Path, description: dict[str, Any], card: str = "") -> None:
    """Write model.safetensors (half precision where that holds), model.json and CARD.md.

    Args:
        source: checkpoint of a segmentation run; the moving average of its weights is taken where there is one.
        folder: model folder, made if missing.
        description: what model.json says beside format and network: name, task, modalities, data, scores ...
        card: text of the model card.

    Raises:
        ModelError: the checkpoint cannot be read.
        OutputError: no room or no permission.
    """
    tensors, record = checkpoint.load(source)
    prefix = "average." if any(k.startswith("average.") for k in tensors) else "model.network."
    weights = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    halved = {name: halve(tensor) for name, tensor in weights.items()}
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / WEIGHTS) as temporary:
        save_file(halved, temporary)
    network = record["network"]
    write_json(folder / DESCRIPTION, {"format": FORMAT, **description, "network": network, "steps": record["step"]})
    if card:
        write_text(folder / CARD, card)


def halve(tensor: Tensor) -> Tensor:
    """A tensor in half precision; as it is where it is no float or has values beyond 65504, which would be infinite.

    Variances of batch normalisation can be that large; an infinite one silences its channel without any error.
    """
    if not tensor.is_floating_point():
        return tensor
    half = tensor.to(torch.float16)
    return half.contiguous() if bool(torch.isfinite(half).all()) else tensor.contiguous()
