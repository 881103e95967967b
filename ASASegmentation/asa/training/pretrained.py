"""What a pre-training run leaves behind: the whole objective to look at, the encoder to fine-tune."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from torch import Tensor

from asa.errors import ModelError
from asa.nn import AutoencoderConfig, EncoderConfig
from asa.pretext import Method, Reconstruction, ReconstructionOptions, make_objective
from asa.training import checkpoint
from asa.training.run import Run

ENCODER = "model.network.encoder."


def describe(method: Method, config: AutoencoderConfig, options: ReconstructionOptions) -> dict[str, Any]:
    """JSON that a checkpoint carries to be rebuilt from."""
    return {"method": method, "autoencoder": config.to_dict(), "options": dataclasses.asdict(options)}


def find_checkpoint(path: Path, name: str = "best") -> Path:
    """Checkpoint ``name`` of a run folder, or ``last`` if it has no such; a file is taken as it is.

    Raises:
        ModelError: there is none.
    """
    if path.is_file():
        return path
    for candidate in (name, "last"):
        if (found := Run(path).checkpoint_path(candidate)).is_file():
            return found
    raise ModelError(f"{path} holds no checkpoint; it must be a run folder or a checkpoint of one")


def load_reconstruction(path: Path) -> tuple[Reconstruction, dict[str, Any]]:
    """The auto-encoder of a run (its best checkpoint) or of a checkpoint, in evaluation mode, and its record.

    Raises:
        ModelError: missing, damaged, or not a run that reconstructs.
    """
    source = find_checkpoint(path)
    tensors, record = checkpoint.load(source)
    method, config, options = _read_description(record, source)
    objective = make_objective(method, config, options)
    if not isinstance(objective, Reconstruction):
        raise ModelError(f"{source} was pre-trained with '{method}', which reconstructs nothing")
    checkpoint.load_weights(objective, tensors, "model.", str(source))
    return objective.eval(), record


def load_encoder(path: Path) -> tuple[EncoderConfig, dict[str, Tensor]]:
    """Architecture and weights of the pre-trained encoder of a run or checkpoint, whatever its objective was.

    Raises:
        ModelError: missing, damaged, or not of a pre-training run.
    """
    source = find_checkpoint(path)
    tensors, record = checkpoint.load(source)
    _, config, _ = _read_description(record, source)
    weights = {k.removeprefix(ENCODER): v for k, v in tensors.items() if k.startswith(ENCODER)}
    if not weights:
        raise ModelError(f"{source} holds no encoder")
    return config.encoder, weights


def _read_description(record: dict[str, Any], source: Path) -> tuple[Method, AutoencoderConfig, ReconstructionOptions]:
    network = record.get("network", {})
    try:
        config = AutoencoderConfig.from_dict(network["autoencoder"])
        return network["method"], config, ReconstructionOptions(**network["options"])
    except (KeyError, TypeError) as error:
        raise ModelError(f"{source} is not of a pre-training run this version knows ({error})") from error
