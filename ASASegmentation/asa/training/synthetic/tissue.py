"""Supervised training of the tissue model on synthetic heads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from asa.geometry import FRAME
from asa.nn import Segmenter, build_segmenter, segmenter_preset
from asa.runs.folder import Run
from asa.seeds import sample_seed
from asa.synth import HeadGenerator, SynthSettings
from asa.synth.partial_volume import PartialVolumeHeads
from asa.tasks import TISSUE
from asa.training.heads import open_fine_heads, open_heads
from asa.training.losses import deep_supervision
from asa.training.model_facts import tissue_facts
from asa.training.parallel.distributed import World
from asa.training.settings import Optimisation, PathStr, Schedule, Settings
from asa.training.synthetic.start import start_from, take_encoder
from asa.training.synthetic.validation import pooled_dice
from asa.training.trainer import Batch, Objective, Trainer

CLASSES = 5


class TissueSettings(Settings):
    """Everything a tissue run needs; lengths in voxels of 1 mm."""

    label_maps: PathStr = Field(description="folder of labelled heads (*.nii.gz, FreeSurfer numbers), for training")
    preset: Literal["starter", "paper", "brain"] = "starter"
    validation_maps: PathStr = Field("", description="folder of labelled heads for validation, instead of held_out")
    partial_volume: bool = Field(
        False, description="simulate partial volume: voxels of images and targets are mixtures"
    )
    centred: bool = Field(True, description="centre crops along W (with partial_volume)")
    crop: tuple[int, int, int] = (96, 96, 96)
    held_out: int = Field(2, ge=0, description="number of heads held out for validation, the last ones")
    validation_crops: int = 12
    t1_share: float = 0.8
    encoder: PathStr = Field("", description="pre-training run whose encoder initialises the network; empty: none")
    init: PathStr = Field("", description="model or checkpoint of the same network to start from; empty: scratch")
    frozen_norm: bool = Field(
        False, description="keep the initial statistics of batch normalisation, as required with a batch of one"
    )
    freeze_norm_after: float = Field(
        1.0, ge=0, le=1, description="share of the steps after which batch normalisation keeps its statistics"
    )
    optimisation: Optimisation = Optimisation(
        lr=1e-3, betas=(0.9, 0.99), weight_decay=0.02, warmup_steps=100, steps=4000, batch=2, ema=0.995, clip=5.0
    )
    schedule: Schedule = Schedule()


class SyntheticHeads:
    """Training source: sample ``index`` is the generator's crop of that seed."""

    def __init__(self, generator: HeadGenerator, first_seed: int) -> None:
        self.generator, self.first_seed = generator, first_seed

    def collate(self, indices: Sequence[int]) -> Batch:
        """Return images (B, 1, T, H, W), targets (B, T, H, W) and crop origins."""
        samples = [self.generator.sample(self.first_seed + i) for i in indices]
        return {
            "image": torch.stack([s.image for s in samples])[:, None],
            "target": torch.stack([s.target for s in samples]),
            "origins": [s.origin for s in samples],
        }


class TissueObjective(Objective):
    """Dice + cross-entropy with deep supervision."""

    def __init__(self, network: Segmenter, *, frozen_norm: bool = False) -> None:
        super().__init__()
        self.network: Segmenter = network
        self.frozen_norm = frozen_norm
        network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return losses of one micro-batch."""
        image = batch["image"].contiguous(memory_format=torch.channels_last_3d)
        outputs = self.network.forward_deep(image, batch["origins"])
        return deep_supervision(outputs, batch["target"])


def crop_dice(network: nn.Module, source: SyntheticHeads, count: int) -> dict[str, float]:
    """Return the Dice of each class over ``count`` held-out synthetic crops, pooled; ``score`` is their mean."""

    def masks(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        shown, values = logits.argmax(1), range(1, CLASSES)
        target = target.argmax(1) if target.ndim == logits.ndim else target
        return torch.cat([shown == v for v in values]), torch.cat([target == v for v in values])

    return pooled_dice(network, source, count, [label.name for label in TISSUE.labels], masks)


def train_tissue(settings: TissueSettings, folder: Path, world: World) -> str:
    """Start or continue the run in ``folder``; returns the trainer's outcome."""
    training, validation = generators(settings, folder, world)
    source = SyntheticHeads(training, sample_seed(settings.optimisation.seed, 0))
    subpixel = settings.preset == "brain"
    config = segmenter_preset(settings.preset, in_channels=1, classes=CLASSES, subpixel=subpixel)
    torch.manual_seed(settings.optimisation.seed)
    objective = TissueObjective(build_segmenter(config), frozen_norm=settings.frozen_norm)
    data = {"heads": len(training.heads), "held_out": len(validation.heads) if validation else 0}
    data["standardised"] = settings.partial_volume
    run = Run.create(
        folder, "tissue", settings.model_dump(mode="json"), data, command="train", model=tissue_facts(data)
    )
    objective.freeze_at = settings.freeze_norm_after * settings.optimisation.steps
    checking = SyntheticHeads(validation, 1 << 62) if validation else None
    trainer = Trainer(
        objective,
        source,
        settings.optimisation,
        settings.schedule,
        run,
        world,
        describe=config.to_dict(),
        validate=(lambda network: crop_dice(network, checking, settings.validation_crops)) if checking else None,
    )
    if not trainer.resume() and (settings.init or settings.encoder):
        if settings.init:
            start_from(objective.network, settings.init, ["t1"], run)
        else:
            take_encoder(objective.network, settings.encoder, run)
        trainer.restart_average()
    return trainer.fit()


def generators(settings: TissueSettings, folder: Path, world: World) -> tuple[HeadGenerator, HeadGenerator | None]:
    """What draws training samples, and what draws those of validation if there are any.

    Raises:
        InputError: no label maps, or one that cannot be read.
        OutputError: no room or no permission.
    """
    synth = SynthSettings(t1_share=settings.t1_share)
    if settings.partial_volume:

        def mixed(maps: str) -> PartialVolumeHeads:
            heads = open_fine_heads(Path(maps), folder, world)
            return PartialVolumeHeads(heads, settings.crop, synth, centred=settings.centred)

        return mixed(settings.label_maps), mixed(settings.validation_maps) if settings.validation_maps else None
    heads = open_heads(Path(settings.label_maps), folder, world)
    split = len(heads) - settings.held_out
    aside = HeadGenerator(heads[split:], FRAME.shape, settings.crop, synth) if settings.held_out else None
    return HeadGenerator(heads[:split], FRAME.shape, settings.crop, synth), aside
