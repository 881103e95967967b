"""Weights in files of other programs, read without running anything in them, as encoders to fine-tune from."""

from __future__ import annotations

import argparse
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from asa.errors import ModelError, OutputError
from asa.nn import AutoencoderConfig, DecoderConfig, EncoderConfig
from asa.nn.weights import check_weights
from asa.pretext import ReconstructionOptions
from asa.runs.folder import Run
from asa.training import checkpoint
from asa.training.pretraining.pretrained import describe
from asa.training.pretraining.released_weights import released_encoder
from asa.training.session import refuse_other_folder

NESTED = ("model", "state_dict", "network_weights")  # keys under which checkpoints keep the weights themselves


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file or of a PyTorch checkpoint that holds plain values and nothing else.

    ``argparse.Namespace``, in which published checkpoints keep their options, counts as plain: it only has attributes.

    Raises:
        ModelError: missing, damaged, without tensors, or a pickle that would have to run code; nothing of it was run.
    """
    if not path.is_file():
        raise ModelError(f"There is no file {path}.")
    try:
        if path.suffix == ".safetensors":
            stored: dict[str, Tensor] = load_file(path)
            return stored
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        found = f" ({named[1]})" if named else ""
        raise ModelError(
            f"{path} contains more than plain weights{found} and was refused; nothing in it was run. Ask for a file "
            "that holds tensors only."
        ) from error
    except (SafetensorError, OSError, RuntimeError, ValueError, LookupError, EOFError, AttributeError) as error:
        raise ModelError(f"{path} is damaged or not a file of weights: {error}") from error
    tensors = plain_tensors(content)
    if not tensors:
        raise ModelError(f"{path} contains no weights by name.")
    return tensors


def plain_tensors(content: Any) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint by name, wherever it keeps them."""
    if not isinstance(content, Mapping):
        return {}
    for key in NESTED:
        if isinstance(content.get(key), Mapping):
            return plain_tensors(content[key])
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}


def import_weights(source: Path, folder: Path) -> EncoderConfig:
    """Write the encoder of the authors' weights as a run folder that fine-tuning starts from; returns its sizes.

    Only the encoder: the released decoder sees tokens in another order than ours, and fine-tuning does not use it.

    Raises:
        ModelError: as :func:`read_weights`; no encoder in it, or one that does not fit.
        OutputError: the folder contains something, or cannot be written.
    """
    path = Run(folder).checkpoint_path("last")
    refuse_other_folder(folder)
    if path.exists() or Run(folder).checkpoint_path("best").exists():
        raise OutputError(f"{folder} already contains a run; choose a new or an empty folder.")
    config, weights = released_encoder(read_weights(source), str(source))
    check_weights(weights, source)
    decoder = DecoderConfig(dim=config.dim, heads=config.heads)
    described = describe("asa", AutoencoderConfig(config, decoder), ReconstructionOptions())
    tensors = {f"{checkpoint.NETWORK}encoder.{name}": value for name, value in weights.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save(path, tensors, {"step": 0, "network": described, "imported_from": source.name})
    return config
