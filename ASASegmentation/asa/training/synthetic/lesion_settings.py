"""Settings of the lesion models' training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from asa.data.augment import AugmentSettings
from asa.nn.position import Scheme
from asa.training.settings import Optimisation, PathStr, Schedule, Settings


class LesionSettings(Settings):
    """Everything a run of a lesion model needs; lengths in voxels of 1 mm."""

    task: Literal["tumour", "wmh"]
    label_maps: PathStr = Field(
        "",
        description="folder of labelled heads (*.nii.gz, FreeSurfer numbers) to train on; empty: real cases alone",
    )
    store: PathStr = Field("", description="real cases: store made by 'asa prepare finetune --size frame'; empty: none")
    healthy_store: PathStr = Field(
        "", description="real cases of another disease, prepared likewise; their labelled lesions are cut out"
    )
    healthy_split: PathStr = Field("", description="split of healthy_store, like split; empty: train on all its cases")
    healthy_share: float = Field(0.5, ge=0, le=1, description="share of real samples that come from healthy_store")
    split: PathStr = Field("", description="JSON of folds; leave-one-out, made if missing; empty: train on all cases")
    fold: int = Field(0, ge=0, description="which fold of the split, from 0")
    real_share: float = Field(0.5, ge=0, le=1, description="share of samples that are real, where there is a store")
    transplant_share: float = Field(
        0.0, ge=0, le=1, description="share of real samples that get the disease of another patient as well"
    )
    implant_share: float = Field(0.0, ge=0, le=1, description="share of real samples to which more disease is added")
    preset: Literal["starter", "brain"] = Field("starter", description="sizes of the asa network")
    position: Scheme = Field("symmetric", description="position encoding of the asa network")
    network: str = Field("asa", description="asa, or another of the registry to compare with: segresnet, dynunet, ...")
    size: Literal["paper", "small"] = Field("small", description="size of a network to compare with")
    crop: tuple[int, int, int] = (64, 80, 64)
    centred: bool = Field(
        False, description="crops lie in the middle of the frame along W, so that both hemispheres are seen"
    )
    foreground: float = Field(0.6, ge=0, le=1, description="share of real crops centred on a labelled voxel")
    augment: AugmentSettings = AugmentSettings(
        rotation_deg=20, rotation_p=0.4, scale=(0.85, 1.2), scale_p=0.4, gamma_p=0.3, blur_p=0.15, low_resolution_p=0.15
    )
    missing: float = Field(0.6, ge=0, le=1, description="share of samples with some modalities missing")
    positive_weight: float = Field(1.0, gt=0, description="weight of lesion voxels in the cross-entropy")
    contrast: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of real crops with a new random contrast of grey and white matter in FLAIR",
    )
    bias: float = Field(
        0.6, ge=0, description="largest spread of a smooth field added to each modality of a real crop (coils), in SD"
    )
    cut: float = Field(0.15, ge=0, le=1, description="share of samples in which one modality is partly cut off")
    frozen_norm: bool = Field(
        True, description="keep the initial statistics of batch normalisation; one crop does not represent all brains"
    )
    freeze_norm_after: float = Field(
        1.0, ge=0, le=1, description="share of the steps after which batch normalisation keeps its statistics"
    )
    held_out: int = Field(1, ge=0, description="synthetic heads kept for validation, the last ones")
    validation_crops: int = 8
    validate_cases: bool = Field(
        False, description="validate on the split's real validation cases, whole, instead of synthetic crops"
    )
    encoder: PathStr = Field("", description="pre-training run whose encoder the network starts with, instead of init")
    init: PathStr = Field("tissue", description="model or checkpoint of the same network to start from; empty: scratch")
    optimisation: Optimisation = Optimisation(
        lr=1e-3, betas=(0.9, 0.99), weight_decay=0.02, warmup_steps=30, steps=600, batch=1, ema=0.99, clip=5.0
    )
    schedule: Schedule = Schedule()
