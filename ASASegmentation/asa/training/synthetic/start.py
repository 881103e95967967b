"""Initial weights for training a shipped model: an earlier checkpoint, or a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from asa.errors import ModelError
from asa.models import find_model, load_network
from asa.nn import Segmenter, inflate_channels
from asa.runs.folder import Run
from asa.training import checkpoint
from asa.training.pretraining.pretrained import Pretrained


def start_from(network: nn.Module, source: str, modalities: Sequence[str], run: Run) -> None:
    """Weights of a checkpoint of the same network (its moving average where there is one), or of a model.

    Of a model comes what fits; a network that is not ours takes nothing from one.

    Raises:
        ModelError: no such model, or the checkpoint is of another network.
    """
    path = Path(source)
    if path.is_file():
        tensors, _ = checkpoint.load(path)
        checkpoint.load_weights(network, tensors, checkpoint.weights_prefix(tensors), source)
    elif isinstance(network, Segmenter):
        run.log(f"{transfer(network, source, modalities)} tensors initialised from model '{source}'.")


def take_encoder(network: Segmenter, source: str, run: Run) -> None:
    """Weights of a pre-trained encoder; the patch embedding of its one channel is inflated for several.

    Raises:
        ModelError: no such pre-training run, or its encoder is of another size.
    """
    known, weights = Pretrained.open(Path(source)).encoder()
    own = network.config.encoder
    if dataclasses.replace(known, in_channels=own.in_channels) != own:
        raise ModelError(f"The encoder of {source} differs in size from the requested network; choose its preset.")
    inflated = {**weights, "embed.weight": inflate_channels(weights["embed.weight"], own.in_channels)}
    checkpoint.load_weights(network.encoder, inflated, "", source)
    run.log(f"Encoder initialised from {source}.")


def transfer(network: Segmenter, source: str, modalities: Sequence[str]) -> int:
    """Take over every tensor of a model whose name and shape fit; returns how many.

    Of a model of several modalities the channels of ``modalities`` are taken, and of one with more outputs the first
    ones (the outermost region). The patch embedding of one channel is inflated for several.
    """
    model = find_model(source)
    known, own = load_network(model).state_dict(), network.state_dict()
    embed, stem = "encoder.embed.weight", "stem.conv.weight"
    if len(model.modalities) == 1:
        known[embed] = inflate_channels(known[embed], len(modalities))
    elif set(modalities) <= set(model.modalities):
        chosen = [model.modalities.index(m) for m in modalities]
        for name in (embed, stem):
            known[name] = known[name].unflatten(1, (len(model.modalities), -1))[:, chosen].flatten(1, 2)
    for name in own:
        if name.startswith("heads.") and name in known:
            known[name] = known[name][: len(own[name])]
    fitting = {name: value for name, value in known.items() if name in own and own[name].shape == value.shape}
    network.load_state_dict({**own, **fitting})
    return len(fitting)
