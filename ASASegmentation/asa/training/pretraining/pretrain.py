"""Pre-training: its settings (Table 1a of the paper is the default) and the run."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import nn

from asa.data.scan_store import ScanStore, Shape, read_split, split_by_subject
from asa.errors import InputError
from asa.geometry import FRAME
from asa.nn import AutoencoderConfig, autoencoder_preset
from asa.nn.position import Scheme
from asa.pretext import Method, Reconstruction, ReconstructionOptions, make_objective, position_scheme
from asa.pretext.objectives import CONTEXT, ContextPrediction
from asa.pretext.vhog import WeightMode
from asa.runs.folder import Run
from asa.runs.tensorboard import add_tensorboard
from asa.synth import HeadGenerator, SynthSettings
from asa.training.parallel.distributed import World
from asa.training.pretraining.pretrained import describe
from asa.training.pretraining.previews import PreviewWriter
from asa.training.pretraining.sampling import StoredScans, WithSyntheticHeads
from asa.training.settings import SAMPLES, STEPS, VOXELS, Optimisation, Schedule, Settings
from asa.training.synthetic.tissue import open_heads
from asa.training.trainer import Trainer

KIND = "pretraining"
HELD_OUT_SEED = 1  # masks of held-out scans are the same at every validation of every run


class PretrainSettings(Settings):
    """Everything a pre-training run needs; the defaults are Table 1a of the paper. Lengths in voxels of 1 mm."""

    store: str = Field(description="folder made by 'asa prepare pretrain'")
    method: Method = Field("asa", description="what is predicted, and how; the others are those of Tables 2 to 4")
    preset: Literal["paper", "starter", "brain"] = Field("paper", description="sizes of the network")
    encoder: dict[str, Any] = Field({}, description="sizes that differ from the preset's, as in EncoderConfig")
    decoder: dict[str, Any] = Field({}, description="sizes that differ from the preset's, as in DecoderConfig")
    position: Scheme | None = Field(None, description="position encoding; empty: the one of the method")
    mask_ratio: float = Field(0.75, gt=0, lt=1, description="share of patches that are hidden")
    brain_only: bool = Field(False, description="hide patches that hold brain only")
    brain_tokens: bool = Field(
        False, description="patches without brain are neither seen nor hidden: a step costs a third"
    )
    decoded: float = Field(1.0, gt=0, le=1, description="share of the hidden patches that a step reconstructs")
    bins: int = Field(9, gt=0, description="VHOG bins along each angle")
    weight_mode: WeightMode = Field("paper", description="how VHOG becomes the weight of a patch")
    normalised_target: bool = Field(False, description="reconstruct each patch with mean 0 and SD 1")
    heads: str = Field("", description="label maps (a folder, or the heads.npy of a run) to synthesise scans from")
    synthetic_share: float = Field(0.5, ge=0, le=1, description="share of synthetic scans, where there are heads")
    crop: Shape | None = Field(
        None, description="random crops of this size; empty: the whole frame at once", json_schema_extra=VOXELS
    )
    flip: bool = Field(False, description="mirror left and right half of the time")
    held_out: float = Field(0.02, ge=0, lt=1, description="share of subjects kept for early stopping")
    split: str = Field("", description="JSON file with the lists 'train' and 'held_out'; replaces held_out")
    validation_scans: int = Field(48, gt=0, description="held-out scans looked at, at most; with a crop: crops")
    epochs: float = Field(400, gt=0, description="passes over the training scans")
    warmup_epochs: float = Field(40, ge=0, description="passes in which the learning rate rises")
    base_lr: float = Field(1.5e-4, gt=0, description="learning rate at a global batch of 256; scales with the batch")
    batch: int = Field(96, gt=0, description="global batch, whatever the number of devices", json_schema_extra=SAMPLES)
    micro_batch: int = Field(4, gt=0, description="scans a device takes at a time; gradients accumulate")
    betas: tuple[float, float] = Field((0.9, 0.95), description="decay of AdamW's two moving averages")
    schedule_shape: Literal["cosine", "trapezoid"] = Field("cosine", description="how the learning rate falls")
    fall: float = Field(0.3, gt=0, le=1, description="share of the steps in which the rate of a trapezoid falls")
    weight_decay: float = Field(0.05, ge=0, description="pull of weights towards 0; biases and norms are spared")
    warmup_lr: float = Field(1e-6, ge=0, description="learning rate of the first warm-up step")
    clip: float = Field(12.0, gt=0, description="gradient norm is clipped to this")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 where the device has it")
    checkpointing: bool = Field(False, description="recompute blocks in the backward pass to save memory")
    sharding: Literal["ddp", "fsdp"] = Field("ddp", description="fsdp: for encoders too large for one device")
    preview_every: int = Field(500, ge=0, description="between two pictures; 0 makes none", json_schema_extra=STEPS)
    seed: int = Field(0, ge=0, le=1_000_000, description="of weights, order, crops and masks")
    schedule: Schedule = Schedule(checkpoint_every=100, validate_every=125, patience=20)

    def autoencoder(self) -> AutoencoderConfig:
        """Architecture of the run.

        Raises:
            InputError: a size that the networks do not know.
        """
        preset = autoencoder_preset(self.preset, position=self.position or position_scheme(self.method))
        changes: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in self.encoder.items()}
        try:
            encoder = dataclasses.replace(preset.encoder, **changes)
            return AutoencoderConfig(encoder, dataclasses.replace(preset.decoder, **self.decoder))
        except TypeError as error:
            raise InputError(f"the network's sizes do not fit: {error}") from error

    def options(self) -> ReconstructionOptions:
        """What is hidden and how the reconstruction is judged."""
        return ReconstructionOptions(
            self.mask_ratio,
            self.brain_only,
            self.brain_tokens,
            self.decoded,
            self.bins,
            self.weight_mode,
            self.normalised_target,
        )

    def optimisation(self, scans: int) -> Optimisation:
        """Optimiser and schedule in steps for ``scans`` training scans."""
        steps = max(1, math.ceil(self.epochs * scans / self.batch))
        return Optimisation(
            lr=self.base_lr * self.batch / 256,
            betas=self.betas,
            weight_decay=self.weight_decay,
            warmup_steps=min(steps, round(self.warmup_epochs * scans / self.batch)),
            warmup_lr=self.warmup_lr,
            steps=steps,
            batch=self.batch,
            micro_batch=self.micro_batch,
            clip=self.clip,
            precision=self.precision,
            schedule=self.schedule_shape,
            fall=self.fall,
            seed=self.seed,
        )


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
                f"{settings.method} normalises over a micro-batch, and none may be of one scan: a batch of "
                f"{settings.batch} on {world.size} device(s) in micro-batches of {settings.micro_batch} leaves one"
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
        run = Run.create(folder, KIND, settings.model_dump(mode="json"), data)
        add_tensorboard(run)
        if len(train) < settings.batch:
            run.log(
                f"{len(train)} scans are fewer than the batch of {settings.batch}: each is used several times in a "
                "step, hidden differently each time"
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
        settings.schedule,
        run,
        world,
        describe=describe(settings.method, config, settings.options(), settings.crop),
        validate=held_out_loss(objective, checking, settings, world) if held_out else None,
        on_step=previews,
        sharded=sharded,
    )
    trainer.resume()
    return trainer.fit()


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
        raise InputError(f"store {store.folder} does not suit preset '{settings.preset}': {error}") from error


def with_synthetic_heads(
    settings: PretrainSettings, source: StoredScans, folder: Path, world: World
) -> WithSyntheticHeads:
    """Stripped T1-weighted heads among the scans; label maps are aligned once, and kept in the run's folder.

    Raises:
        InputError: no such file or folder, or the network does not see the whole brain frame that they are made for.
    """
    frame = tuple(n + c * source.patch for n, c in zip(source.crop, source.steps, strict=True))
    if frame != FRAME.shape or any(source.margin):
        raise InputError(f"synthetic heads need a store and a network of the whole brain frame, not of {frame} voxels")
    path = Path(settings.heads)
    try:
        heads = open_heads(path, folder, world) if path.is_dir() else np.load(path, "r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"heads {path} cannot be read: {error}") from error
    t, h, w = source.crop
    generator = HeadGenerator(heads, FRAME.shape, (t, h, w), SynthSettings(t1_share=1.0, stripped_share=1.0))
    return WithSyntheticHeads(source, generator, settings.synthetic_share)


def choose_split(settings: PretrainSettings, store: ScanStore) -> tuple[list[int], list[int]]:
    """Scans to train on and scans held out.

    Raises:
        InputError: the split file is not usable, or nothing is left to train on.
    """
    if settings.split:
        train, held_out = read_split(Path(settings.split), store.scans)
    else:
        train, held_out = split_by_subject(store.scans, settings.held_out, settings.seed)
    if not train:
        raise InputError("the split leaves no scan to train on")
    return train, held_out


def held_out_loss(
    objective: Reconstruction | ContextPrediction, source: StoredScans, settings: PretrainSettings, world: World
) -> Callable[[nn.Module], dict[str, float]]:
    """Validation: losses on held-out scans whose masks never change; ``score`` is the negative loss."""
    # a scan seen whole is the same every time; of one that is cut, more crops tell more
    count = settings.validation_scans if settings.crop else min(settings.validation_scans, len(source.numbers))

    def judge(_network: nn.Module) -> dict[str, float]:
        sums: dict[str, float] = {}
        for first in range(0, count, settings.micro_batch):
            indices = range(first, min(first + settings.micro_batch, count))
            batch = source.collate(indices)
            batch["image"] = batch["image"].to(world.device)
            for name, value in objective(batch).items():
                sums[name] = sums.get(name, 0.0) + float(value) * len(indices) / count
        return {"score": -sums["loss"], **sums}

    return judge
