"""Checkpoint -> model folder that inference and the GUI list."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from asa.files import atomic_path, write_json, write_text
from asa.models import CARD, DESCRIPTION, FORMAT, WEIGHTS
from asa.training import checkpoint


def export_model(source: Path, folder: Path, description: dict[str, Any], card: str = "") -> None:
    """Write model.safetensors (half precision), model.json and CARD.md.

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
    halved = {k: v.to(torch.float16).contiguous() if v.is_floating_point() else v for k, v in weights.items()}
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / WEIGHTS) as temporary:
        save_file(halved, temporary)
    network = record["network"]
    write_json(folder / DESCRIPTION, {"format": FORMAT, **description, "network": network, "steps": record["step"]})
    if card:
        write_text(folder / CARD, card)
