"""What a pre-training run leaves behind: the whole objective to look at, the encoder to fine-tune."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from asa.data.scan_store import Shape
from asa.errors import ModelError
from asa.models import DESCRIPTION, WEIGHTS, check_digest, open_model
from asa.nn import AutoencoderConfig, EncoderConfig
from asa.nn.weights import check_weights
from asa.pretext import Method, Reconstruction, ReconstructionOptions, make_objective
from asa.runs.folder import Run
from asa.training import checkpoint


def describe(
    method: Method, config: AutoencoderConfig, options: ReconstructionOptions, crop: Shape | None = None
) -> dict[str, Any]:
    """JSON that a checkpoint carries to be rebuilt from."""
    return {"method": method, "autoencoder": config.to_dict(), "options": dataclasses.asdict(options), "crop": crop}


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """A pre-trained network on disk.

    Attributes:
        source: the file its weights come from.
        step: optimiser steps it was trained for.
        crop: voxels (T, H, W) it was shown at a time; None for its whole frame.
        weights: of the network of the objective: encoder, decoder or classifier.
    """

    source: Path
    step: int
    method: Method
    config: AutoencoderConfig
    options: ReconstructionOptions
    crop: Shape | None
    weights: dict[str, Tensor]

    @staticmethod
    def open(path: Path) -> Pretrained:
        """Read a run folder (its best checkpoint, otherwise the last), one checkpoint, or an exported model folder.

        Raises:
            ModelError: missing, damaged, not of a pre-training run, or with weights that are not finite.
        """
        if (path / DESCRIPTION).is_file():
            source = path / WEIGHTS
            model = open_model(path)
            described = model.description
            check_digest(model)
            try:
                weights = {k: v.float() for k, v in load_file(source).items()}
            except (SafetensorError, OSError) as error:
                raise ModelError(f"{source} cannot be read: {error}") from error
            network, step = described.network, described.steps
            if "autoencoder" not in network:
                raise ModelError(f"Model '{described.name}' is a segmentation model, not a pre-training run.")
        else:
            source = find_checkpoint(path)
            tensors, record = checkpoint.load(source)
            prefix = checkpoint.NETWORK
            weights = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            network, step = record.get("network", {}), record["step"]
        check_weights(weights, source)
        try:
            config = AutoencoderConfig.from_dict(network["autoencoder"])
            options, crop = ReconstructionOptions(**network["options"]), network.get("crop")
            return Pretrained(source, step, network["method"], config, options, crop and tuple(crop), weights)
        except (KeyError, TypeError) as error:
            raise ModelError(f"{source} is not a pre-training run supported by this version ({error}).") from error

    def reconstruction(self) -> Reconstruction:
        """Return the auto-encoder with its weights, in evaluation mode.

        Raises:
            ModelError: this method reconstructs nothing, or the weights are of another network.
        """
        objective = make_objective(self.method, self.config, self.options)
        if not isinstance(objective, Reconstruction):
            raise ModelError(f"{self.source} was pre-trained with '{self.method}', which does not reconstruct images.")
        checkpoint.load_weights(objective.network, self.weights, "", str(self.source))
        return objective.eval()

    def encoder(self) -> tuple[EncoderConfig, dict[str, Tensor]]:
        """Architecture and weights of the encoder, whatever the objective was: what fine-tuning starts from.

        Raises:
            ModelError: it is not an ASA encoder but that of a residual-encoder U-Net.
        """
        if self.method == "resenc":
            raise ModelError(f"{self.source} is the encoder of a residual-encoder U-Net; set network: resenc.")
        prefix = "encoder."
        return self.config.encoder, {
            name.removeprefix(prefix): value for name, value in self.weights.items() if name.startswith(prefix)
        }


def find_checkpoint(path: Path) -> Path:
    """Return the best checkpoint of a run folder, otherwise its last; a file is returned as it is.

    Raises:
        ModelError: there is none.
    """
    if path.is_file():
        return path
    for name in ("best", "last"):
        if (found := Run(path).checkpoint_path(name)).is_file():
            return found
    if (path / DESCRIPTION).is_file():
        raise ModelError(f"{path} is an exported model. Use the run from which it was exported.")
    raise ModelError(f"{path} contains no checkpoint: it is not the folder of a trained run.")
