"""Settings of pre-training; Table 1a of the paper is the default."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

from pydantic import Field

from asa.data.scan_store import Shape
from asa.errors import InputError
from asa.nn import AutoencoderConfig, autoencoder_preset
from asa.nn.position import Scheme
from asa.pretext import Method, ReconstructionOptions, position_scheme
from asa.pretext.vhog import WeightMode
from asa.training.settings import SAMPLES, STEPS, VOXELS, Optimisation, PathStr, Schedule, Settings


class PretrainSettings(Settings):
    """Everything a pre-training run needs; the defaults are Table 1a of the paper. Lengths in voxels of 1 mm."""

    store: PathStr = Field(description="folder made by 'asa prepare pretrain'")
    method: Method = Field("asa", description="what is predicted, and how; the others are those of Tables 2 to 4")
    preset: Literal["paper", "starter", "brain"] = Field("paper", description="sizes of the network")
    encoder: dict[str, Any] = Field({}, description="sizes that differ from the preset's, as in EncoderConfig")
    decoder: dict[str, Any] = Field({}, description="sizes that differ from the preset's, as in DecoderConfig")
    position: Scheme | None = Field(None, description="position encoding; empty: that of the method")
    mask_ratio: float = Field(0.75, gt=0, lt=1, description="share of patches that are hidden")
    brain_only: bool = Field(False, description="hide patches that hold brain only")
    brain_tokens: bool = Field(
        False, description="patches without brain are neither shown nor hidden; a step takes a third of the time"
    )
    decoded: float = Field(1.0, gt=0, le=1, description="share of the hidden patches that a step reconstructs")
    bins: int = Field(9, gt=0, description="VHOG bins along each angle")
    weight_mode: WeightMode = Field("paper", description="how VHOG determines the weight of a patch")
    normalised_target: bool = Field(False, description="reconstruct each patch with mean 0 and SD 1")
    heads: PathStr = Field("", description="label maps (a folder, or the heads.npy of a run) to synthesise scans from")
    synthetic_share: float = Field(0.5, ge=0, le=1, description="share of synthetic scans, where there are heads")
    init: str = Field("", description="pre-training run whose weights are taken where they fit; empty: scratch")
    crop: Shape | None = Field(
        None, description="random crops of this size; empty: the whole frame at once", json_schema_extra=VOXELS
    )
    flip: bool = Field(False, description="mirror left and right half of the time")
    held_out: float = Field(0.02, ge=0, lt=1, description="share of subjects kept for early stopping")
    split: PathStr = Field("", description="JSON file with the lists 'train' and 'held_out'; replaces held_out")
    validation_scans: int = Field(
        48, gt=0, description="maximum number of held-out scans (with a crop: crops) per validation"
    )
    epochs: float = Field(400, gt=0, description="passes over the training scans")
    warmup_epochs: float = Field(40, ge=0, description="passes in which the learning rate rises")
    base_lr: float = Field(1.5e-4, gt=0, description="learning rate at a global batch of 256; scales with the batch")
    batch: int = Field(96, gt=0, description="global batch size, on all devices together", json_schema_extra=SAMPLES)
    micro_batch: int = Field(4, gt=0, description="scans per device and pass; gradients accumulate")
    optimiser: Literal["adamw", "adam"] = Field("adamw", description="AdamW, or Adam")
    betas: tuple[float, float] = Field((0.9, 0.95), description="decay of the optimiser's two moving averages")
    schedule_shape: Literal["cosine", "trapezoid"] = Field("cosine", description="decay of the learning rate")
    fall: float = Field(0.3, gt=0, le=1, description="share of the steps in which a trapezoid schedule decays")
    weight_decay: float = Field(0.05, ge=0, description="not applied to biases and norms")
    warmup_lr: float = Field(1e-6, ge=0, description="learning rate of the first warm-up step")
    clip: float = Field(12.0, gt=0, description="gradient norm is clipped to this")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 if the device supports it")
    checkpointing: bool = Field(False, description="recompute blocks in the backward pass to save memory")
    sharding: Literal["ddp", "fsdp"] = Field("ddp", description="fsdp: for encoders too large for one device")
    preview_every: int = Field(500, ge=0, description="interval of previews; 0: none", json_schema_extra=STEPS)
    seed: int = Field(0, ge=0, le=1_000_000, description="seed of weights, order, crops and masks")
    validate_epochs: float = Field(
        0, ge=0, description="passes between validations, whatever the batch; 0: schedule.validate_every"
    )
    schedule: Schedule = Schedule(checkpoint_every=100, validate_every=125, patience=20)

    def autoencoder(self) -> AutoencoderConfig:
        """Return the architecture of the run.

        Raises:
            InputError: a size that the networks do not know.
        """
        preset = autoencoder_preset(self.preset, position=self.position or position_scheme(self.method))
        changes: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in self.encoder.items()}
        try:
            encoder = dataclasses.replace(preset.encoder, **changes)
            return AutoencoderConfig(encoder, dataclasses.replace(preset.decoder, **self.decoder))
        except (TypeError, ValueError) as error:
            raise InputError(f"Invalid network sizes: {error}") from error

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
            optimiser=self.optimiser,
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

    def timing(self, scans: int) -> Schedule:
        """Schedule in steps for ``scans`` training scans; patience then counts passes of the run's own length."""
        if not self.validate_epochs:
            return self.schedule
        every = max(1, round(self.validate_epochs * scans / self.batch))
        return self.schedule.model_copy(update={"validate_every": every})
