"""Supervised training of the tissue model on synthetic heads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from asa.geometry import FRAME
from asa.nn import Segmenter, segmenter_preset
from asa.runs.folder import Run
from asa.seeds import sample_seed
from asa.synth import HeadGenerator, SynthSettings
from asa.training.heads import open_heads
from asa.training.losses import deep_supervision
from asa.training.parallel.distributed import World
from asa.training.settings import Optimisation, Schedule, Settings
from asa.training.synthetic.start import start_from
from asa.training.synthetic.validation import pooled_dice
from asa.training.trainer import Batch, Objective, Trainer

CLASSES = 5


class TissueSettings(Settings):
    """Everything a tissue run needs; lengths in voxels of 1 mm."""

    label_maps: str = Field(description="folder of labelled heads (*.nii.gz, FreeSurfer numbers); only for training")
    preset: Literal["starter", "paper"] = "starter"
    crop: tuple[int, int, int] = (96, 96, 96)
    held_out: int = Field(2, ge=0, description="heads kept for validation, the last ones")
    validation_crops: int = 12
    t1_share: float = 0.8
    init: str = Field("", description="model, or checkpoint of the same network, to start from; empty: scratch")
    frozen_norm: bool = Field(
        False, description="batch normalisation keeps the statistics it starts from, as it must with a batch of one"
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
        """Images (B, 1, T, H, W), targets (B, T, H, W) and crop origins."""
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
        """Losses of one micro-batch."""
        image = batch["image"].contiguous(memory_format=torch.channels_last_3d)
        outputs = self.network.forward_deep(image, batch["origins"])
        return deep_supervision(outputs, batch["target"])


def crop_dice(network: nn.Module, source: SyntheticHeads, count: int) -> dict[str, float]:
    """Dice of each class over ``count`` held-out synthetic crops, pooled; ``score`` is their mean."""

    def masks(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        shown, values = logits.argmax(1), range(1, CLASSES)
        return torch.cat([shown == v for v in values]), torch.cat([target == v for v in values])

    return pooled_dice(network, source, count, ("ventricles", "GM", "WM", "sulcal CSF"), masks)


def train_tissue(settings: TissueSettings, folder: Path, world: World) -> str:
    """Start or continue the run in ``folder``; returns the trainer's outcome."""
    heads = open_heads(Path(settings.label_maps), folder, world)
    split = len(heads) - settings.held_out
    synth = SynthSettings(t1_share=settings.t1_share)
    source = SyntheticHeads(
        HeadGenerator(heads[:split], FRAME.shape, settings.crop, synth), sample_seed(settings.optimisation.seed, 0)
    )
    checking = SyntheticHeads(HeadGenerator(heads[split:], FRAME.shape, settings.crop, synth), 1 << 62)
    config = segmenter_preset(settings.preset, in_channels=1, classes=CLASSES)
    torch.manual_seed(settings.optimisation.seed)
    objective = TissueObjective(Segmenter(config), frozen_norm=settings.frozen_norm)
    run = Run.create(
        folder, "tissue", settings.model_dump(mode="json"), {"heads": len(heads), "held_out": settings.held_out}
    )
    trainer = Trainer(
        objective,
        source,
        settings.optimisation,
        settings.schedule,
        run,
        world,
        describe=config.to_dict(),
        validate=(lambda network: crop_dice(network, checking, settings.validation_crops))
        if settings.held_out
        else None,
    )
    if not trainer.resume() and settings.init:
        start_from(objective.network, settings.init, ["t1"], run)
        trainer.restart_average()
    return trainer.fit()
