"""A pre-training run, from settings to outcome."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from asa.data.scan_store import ScanStore, read_scan_split, split_by_subject
from asa.errors import InputError
from asa.geometry import FRAME
from asa.nn import MaskedAutoencoder, patchify
from asa.nn.baselines.resenc import MaskedUNet
from asa.pretext import Reconstruction, make_objective
from asa.pretext.objectives import CONTEXT, ContextPrediction
from asa.runs.folder import Run
from asa.runs.tensorboard import add_tensorboard
from asa.synth import HeadGenerator, SynthSettings
from asa.training.heads import open_heads
from asa.training.parallel.distributed import World
from asa.training.pretraining.pretrained import Pretrained, describe
from asa.training.pretraining.previews import PreviewWriter
from asa.training.pretraining.sampling import StoredScans, WithSyntheticHeads
from asa.training.pretraining.settings import PretrainSettings
from asa.training.trainer import Trainer

KIND = "pretraining"


HELD_OUT_SEED = 1  # masks of held-out scans are the same at every validation of every run


def pretrain(settings: PretrainSettings, folder: Path, world: World) -> str:
    """Start or continue the run in ``folder``; returns the trainer's outcome.

    Raises:
        InputError: the store or the split cannot be used.
        ModelError: the folder's checkpoint is damaged or of another network.
        TrainingDiverged: the loss is not a number; the scans of the step are named.
    """
    if settings.method in CONTEXT:
        shares = {len(range(rank, settings.batch, world.size)) for rank in range(world.size)}
        if any(settings.micro_batch < 2 or share % settings.micro_batch == 1 for share in shares):
            raise InputError(
                f"{settings.method} normalises over a micro-batch, so each needs at least two scans: a batch of "
                f"{settings.batch} on {world.size} device(s) in micro-batches of {settings.micro_batch} leaves one."
            )
    store = ScanStore.open(Path(settings.store))
    train, held_out = choose_split(settings, store)
    source = stored_scans(settings, store, train)
    checking = stored_scans(settings.model_copy(update={"flip": False, "seed": HELD_OUT_SEED}), store, held_out, False)
    samples = with_synthetic_heads(settings, source, folder, world) if settings.heads else source
    torch.manual_seed(settings.seed)
    config = settings.autoencoder()
    objective = make_objective(settings.method, config, settings.options())
    objective.network.encoder.checkpointing = settings.checkpointing
    run = Run(folder)
    if world.main:
        data = {**store.fingerprint(), "training": len(train), "held_out": [store.scans[i].name for i in held_out]}
        run = Run.create(folder, KIND, settings.model_dump(mode="json"), data, command="pretrain")
        add_tensorboard(run)
        if len(train) < settings.batch:
            run.log(
                f"{len(train)} scans are fewer than the batch of {settings.batch}: each is used several times per "
                "step, with different masks"
            )
    previews = None
    sharded = settings.sharding == "fsdp" and world.size > 1
    # a picture is one process's work, and of a shared-out network no process has the whole
    if settings.preview_every and isinstance(objective, Reconstruction) and world.main and not sharded:
        previews = PreviewWriter(objective, checking if held_out else source, run, settings.preview_every, world.device)
    trainer = Trainer(
        objective,
        samples,
        settings.optimisation(len(train)),
        settings.timing(len(train)),
        run,
        world,
        describe=describe(settings.method, config, settings.options(), settings.crop),
        validate=held_out_loss(objective, checking, settings, world) if held_out else None,
        on_step=previews,
        sharded=sharded,
    )
    if not trainer.resume() and isinstance(objective, Reconstruction):
        network = objective.network
        if network.typical is not None:
            plain = stored_scans(settings.model_copy(update={"flip": False}), store, train, False)
            network.typical.copy_(typical_head(plain, network.config.encoder.patch))
        if settings.init:
            run.log(f"{start_from(network, Path(settings.init))} tensors initialised from {settings.init}.")
    return trainer.fit()


def typical_head(source: StoredScans, patch: int) -> Tensor:
    """Mean of all scans of a source and of their mirror images, patch by patch: (T, H, W, patch^3) of the frame.

    Raises:
        InputError: the source gives crops.
    """
    if any(source.steps) or any(source.margin):
        raise InputError("A mean head needs whole frames: leave crop empty, or set decoder: {typical: false}.")
    total = torch.zeros(source.crop, dtype=torch.float64)
    for number in range(len(source.numbers)):
        total += source.sample(number)[0]
    mean = (total + total.flip(-1)) / (2 * len(source.numbers))
    t, h, w = (n // patch for n in source.crop)
    return patchify(mean.float()[None, None], patch)[0].view(t, h, w, -1)


def start_from(network: MaskedAutoencoder | MaskedUNet, source: Path) -> int:
    """Take over the weights of another pre-training run whose shapes fit; returns how many.

    A decoder that learned whole heads does not predict differences from the mean: its last layer then starts at 0.

    Raises:
        ModelError: no such run, or it is damaged.
    """
    known = Pretrained.open(source)
    own = network.state_dict()
    fitting = {k: v for k, v in known.weights.items() if k in own and own[k].shape == v.shape and k != "typical"}
    if network.config.decoder.typical and not known.config.decoder.typical:
        fitting |= {f"head.{name}": torch.zeros_like(own[f"head.{name}"]) for name in ("weight", "bias")}
    network.load_state_dict({**own, **fitting})
    return len(fitting)


def stored_scans(
    settings: PretrainSettings, store: ScanStore, numbers: Sequence[int], shuffle: bool = True
) -> StoredScans:
    """Crops of these scans of a store.

    Raises:
        InputError: the store is too small for the network, or the crop for both.
    """
    encoder = settings.autoencoder().encoder
    t, h, w = (n * encoder.patch for n in encoder.frame)
    options: dict[str, Any] = {"flip": settings.flip, "seed": settings.seed, "shuffle": shuffle}
    try:
        return StoredScans(store, numbers, (t, h, w), encoder.patch, settings.crop, **options)
    except ValueError as error:
        raise InputError(f"Store {store.folder} does not suit preset '{settings.preset}': {error}") from error


def with_synthetic_heads(
    settings: PretrainSettings, source: StoredScans, folder: Path, world: World
) -> WithSyntheticHeads:
    """Stripped T1-weighted heads among the scans; label maps are aligned once, and kept in the run's folder.

    Raises:
        InputError: no such file or folder, or the network does not see the whole brain frame that they are made for.
    """
    frame = tuple(n + c * source.patch for n, c in zip(source.crop, source.steps, strict=True))
    if frame != FRAME.shape or any(source.margin):
        raise InputError(f"Synthetic heads need a store and a network of the whole brain frame, not of {frame} voxels.")
    path = Path(settings.heads)
    try:
        heads = open_heads(path, folder, world) if path.is_dir() else np.load(path, "r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"Heads {path} cannot be read: {error}") from error
    t, h, w = source.crop
    generator = HeadGenerator(heads, FRAME.shape, (t, h, w), SynthSettings(t1_share=1.0, stripped_share=1.0))
    return WithSyntheticHeads(source, generator, settings.synthetic_share)


def choose_split(settings: PretrainSettings, store: ScanStore) -> tuple[list[int], list[int]]:
    """Scans to train on and scans held out.

    Raises:
        InputError: the split file is not usable, or nothing is left to train on.
    """
    if settings.split:
        train, held_out = read_scan_split(Path(settings.split), store.scans)
    else:
        train, held_out = split_by_subject(store.scans, settings.held_out, settings.seed)
    if not train:
        raise InputError("The split leaves no scans for training.")
    return train, held_out


def held_out_loss(
    objective: Reconstruction | ContextPrediction, source: StoredScans, settings: PretrainSettings, world: World
) -> Callable[[nn.Module], dict[str, float]]:
    """Validation: losses on held-out scans whose masks never change; ``score`` is the negative loss."""
    # a scan seen whole is the same every time; of one that is cut, more crops tell more
    count = settings.validation_scans if settings.crop else min(settings.validation_scans, len(source.numbers))

    def validate(_network: nn.Module) -> dict[str, float]:
        sums: dict[str, float] = {}
        for first in range(0, count, settings.micro_batch):
            indices = range(first, min(first + settings.micro_batch, count))
            batch = source.collate(indices)
            batch["image"] = batch["image"].to(world.device)
            for name, value in objective(batch).items():
                sums[name] = sums.get(name, 0.0) + float(value) * len(indices) / count
        return {"score": -sums["loss"], **sums}

    return validate
