"""The network of a run, its first weights, and which of them learn how fast."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from asa.data.case_store import CaseStore
from asa.errors import InputError, ModelError
from asa.nn import Encoder, Segmenter, build_segmenter, inflate_channels
from asa.nn.baselines import Network, NetworkSpec, asa_config, build_network
from asa.nn.position import Grid3
from asa.tasks import TASKS
from asa.training import checkpoint
from asa.training.finetuning.residual import RESIDUAL, pretrained_unet
from asa.training.finetuning.settings import FinetuneSettings
from asa.training.finetuning.whole_volume import PATCH
from asa.training.pretraining.pretrained import Pretrained


def make_network(settings: FinetuneSettings, spec: NetworkSpec) -> tuple[Network, Grid3, dict[str, Any]]:
    """Return the network with its first weights, the frame grid its codes know, and the JSON that rebuilds it.

    Raises:
        InputError: no such network, or one that takes no pre-trained encoder.
        ModelError: the pre-trained encoder is damaged or does not suit the network.
        DependencyError: an optional package is missing.
    """
    of_encoder = {
        "init": bool(settings.init) and settings.network != RESIDUAL,
        "freeze_encoder": settings.freeze_encoder,
        "freeze_blocks": settings.freeze_blocks > 0,
        "layer_decay": settings.layer_decay < 1,
    }
    if settings.network != "asa" and (asked := [name for name, used in of_encoder.items() if used]):
        raise InputError(
            f"{' and '.join(asked)} need the ASA encoder, which network '{settings.network}' does not have."
        )
    if settings.init and settings.network == RESIDUAL:
        network: Network = pretrained_unet(spec, Path(settings.init))
    else:
        network = pretrained_network(spec, Path(settings.init)) if settings.init else build_network(spec)
    if not isinstance(network, Segmenter):
        return network, spec.frame, spec.to_dict()
    frame = network.config.encoder.frame
    if any(c // PATCH > f for c, f in zip(settings.crop, frame, strict=True)):
        raise InputError(f"Crop {settings.crop} is larger than the network's frame of {frame} patches of {PATCH}.")
    freeze(network.encoder, settings.freeze_blocks)
    if settings.freeze_encoder:
        network.encoder.requires_grad_(False)
    return network, frame, network.config.to_dict()


def pretrained_network(spec: NetworkSpec, source: Path) -> Segmenter:
    """Return the segmenter around a pre-trained encoder, whose sizes, frame and position codes it takes over.

    The patch embedding of the one channel seen in pre-training is inflated for several; one of as many channels as
    the cases have is taken as it is.

    Raises:
        ModelError: the encoder is damaged, too shallow or too coarse for the segmenter, or of other channels.
    """
    known, weights = Pretrained.open(source).encoder()
    encoder = dataclasses.replace(known, in_channels=spec.in_channels)
    config = dataclasses.replace(asa_config(spec), encoder=encoder)
    if encoder.patch != PATCH or encoder.depth < max(config.taps):
        raise ModelError(
            f"The encoder of {source} has {encoder.depth} blocks on patches of {encoder.patch}; a segmenter of size "
            f"'{spec.size}' needs {max(config.taps)} blocks or more on patches of {PATCH}."
        )
    if known.in_channels not in (1, spec.in_channels):
        raise ModelError(
            f"The encoder of {source} was trained on {known.in_channels} modalities, the cases have "
            f"{spec.in_channels}; use one of a single modality, or cases with the same ones."
        )
    network = build_segmenter(config)
    if known.in_channels == 1:
        weights = {**weights, "embed.weight": inflate_channels(weights["embed.weight"], spec.in_channels)}
    checkpoint.load_weights(network.encoder, weights, "", str(source))
    return network


def freeze(encoder: Encoder, blocks: int) -> None:
    """Keep the patch embedding and the first ``blocks`` blocks as they are.

    Raises:
        InputError: there are not as many.
    """
    depth = len(encoder.blocks)
    if blocks > depth:
        raise InputError(f"freeze_blocks is {blocks}, but the encoder has only {depth} blocks.")
    if blocks:
        for part in (encoder.embed, encoder.position, *encoder.blocks[:blocks]):
            part.requires_grad_(False)


def layer_scale(name: str, depth: int, decay: float) -> float:
    """Factor on the learning rate of a parameter of :class:`SegmentationObjective`, by its place in the encoder.

    1 outside the encoder and for its last norm, ``decay`` for its last block, ``decay^depth`` for its first, and once
    more for patch embedding and position codes: what lies deeper was learned from more data and changes less.
    """
    parts = name.split(".")
    if parts[:2] != ["network", "encoder"] or parts[2] == "norm":
        return 1.0
    above = depth - int(parts[3]) if parts[2] == "blocks" else depth + 1
    return float(decay**above)


def network_spec(settings: FinetuneSettings, store: CaseStore) -> NetworkSpec:
    """Return the network of the settings, for the cases of a store."""
    task = TASKS[store.dataset.task]
    outputs = len(task.regions) if settings.output == "regions" else 1 + max(label.value for label in task.labels)
    whole = (store.shape[0] // PATCH, store.shape[1] // PATCH, store.shape[2] // PATCH)
    channels = len(store.modalities)
    return NetworkSpec(
        settings.network, channels, outputs, settings.crop, settings.size, whole, settings.position, settings.layout
    )
