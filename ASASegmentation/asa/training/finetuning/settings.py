"""Settings of fine-tuning; Table 1b of the paper is the default."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from asa.data.augment import (
    AugmentSettings,
)
from asa.nn.config import Layout
from asa.nn.position import Scheme
from asa.training.finetuning.crops import CropSettings
from asa.training.finetuning.whole_volume import WindowSettings
from asa.training.settings import VOXELS, Optimisation, PathStr, Schedule, Settings

KIND = "finetuning"


class FinetuneSettings(Settings):
    """Everything a fine-tuning run needs; the defaults are Table 1b of the paper. Lengths in voxels of 1 mm."""

    store: PathStr = Field(description="folder made by 'asa prepare finetune'")
    split: PathStr = Field("", description="JSON file of the split; made if missing. Empty: split.json in the store")
    shares: tuple[int, int, int] = Field((7, 1, 2), description="subjects for training, validation and test")
    folds: int = Field(0, ge=0, description="k of a k-fold cross-validation; 0 makes one split")
    fold: int = Field(0, ge=0, description="fold to use, from 0")
    split_seed: int = Field(0, ge=0, description="seed of the split")
    network: str = Field("asa", description="network: asa, unetr, nnformer, transbts, resenc, ...")
    size: Literal["paper", "starter", "small"] = Field("paper", description="starter: for two CPU cores (asa only)")
    position: Scheme = Field("symmetric", description="position encoding of asa; a pre-trained encoder brings its own")
    layout: Layout = Field(
        "released",
        description="convolutions of asa's size paper: as in the authors' release, or spread over the levels (own)",
    )
    init: PathStr = Field(
        "", description="pre-training run or checkpoint whose encoder initialises the run (asa, resenc)"
    )
    freeze_encoder: bool = Field(False, description="train everything but the encoder")
    freeze_blocks: int = Field(0, ge=0, description="number of encoder blocks, from the first on, that are frozen")
    layer_decay: float = Field(
        1.0, gt=0, le=1, description="factor on the learning rate of each encoder block relative to the block above it"
    )
    output: Literal["classes", "regions"] = Field(
        "classes", description="softmax over labels, or one sigmoid per region"
    )
    crop: tuple[int, int, int] = Field((128, 128, 128), description="size of training crops", json_schema_extra=VOXELS)
    foreground: float = Field(1 / 3, ge=0, le=1, description="share of crops centred on a labelled voxel")
    augment: AugmentSettings = AugmentSettings()
    modality_dropout: float = Field(0.0, ge=0, lt=1, description="probability that a modality is dropped")
    overlap: float = Field(0.5, ge=0, lt=1, description="overlap of the windows in whole-volume prediction")
    fit: Literal["no", "batch", "crop"] = Field(
        "batch", description="if GPU memory is too small, reduce the micro-batch; with crop, then also the crop"
    )
    calibrate: bool = Field(True, description="fit a temperature on the validation cases after training")
    validation_cases: int = Field(0, ge=0, description="maximum number of cases per validation; 0: all")
    optimisation: Optimisation = Optimisation(
        optimiser="sgd", lr=0.01, momentum=0.99, weight_decay=3e-5, schedule="polynomial", steps=250_000, batch=2
    )
    schedule: Schedule = Schedule(checkpoint_every=250, validate_every=2500)

    @property
    def windows(self) -> WindowSettings:
        """In which whole volumes are predicted."""
        return WindowSettings(self.crop, self.output, self.overlap)

    @property
    def crops(self) -> CropSettings:
        """How training samples are drawn."""
        return CropSettings(self.crop, self.foreground, self.augment, self.optimisation.seed, self.modality_dropout)
