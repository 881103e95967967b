"""Training of the lesion models: synthetic disease in synthetic heads, optionally mixed with real cases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from asa.errors import InputError
from asa.geometry import FRAME
from asa.nn import Segmenter, build_segmenter, segmenter_preset
from asa.nn.baselines import Network, NetworkSpec, build_network
from asa.runs.folder import Run
from asa.seeds import sample_seed
from asa.synth.diseased import (
    DiseasedHeads,
    Tumours,
    WhiteMatterLesions,
)
from asa.tasks import TASKS, Task
from asa.training.finetuning.objective import SegmentationObjective
from asa.training.finetuning.validation import frame_dice
from asa.training.heads import open_heads
from asa.training.model_facts import lesion_facts
from asa.training.parallel.distributed import World
from asa.training.region_loss import region_deep_supervision, region_masks
from asa.training.synthetic.lesion_samples import MixedCrops, open_store, real_sources, training_cases
from asa.training.synthetic.lesion_settings import LesionSettings
from asa.training.synthetic.start import start_from, take_encoder
from asa.training.synthetic.validation import pooled_dice
from asa.training.trainer import Batch, Trainer

DISEASES = {"tumour": Tumours, "wmh": WhiteMatterLesions}


class LesionObjective(SegmentationObjective):
    """Regions' Dice + cross-entropy; ``frozen_norm`` as in :class:`LesionSettings`.

    With a batch of one, statistics of the batch are those of one crop, and the averages used at inference are not what
    the network was trained with (measured after 400 steps: Dice of the same weights 0.83 with the former, 0.59 with
    the latter). Frozen, training and inference compute the same.
    """

    def __init__(self, network: Network, task: Task, *, frozen_norm: bool, positive_weight: float) -> None:
        super().__init__(network, [region.values for region in task.regions])
        self.frozen_norm, self.positive_weight = frozen_norm, positive_weight

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return losses of one micro-batch."""
        outputs = self.network.forward_deep(batch["image"], batch["origins"])
        return region_deep_supervision(outputs, batch["target"], self.regions, self.positive_weight)


def crop_dice(network: nn.Module, source: MixedCrops, count: int, task: str) -> dict[str, float]:
    """Return the Dice of each region over ``count`` held-out synthetic crops, pooled; ``score`` is their mean."""
    names, values = zip(*((region.name, region.values) for region in TASKS[task].regions), strict=True)
    return pooled_dice(
        network, source, count, names, lambda logits, target: (logits[0] > 0, region_masks(target, values)[0])
    )


def train_lesions(settings: LesionSettings, folder: Path, world: World) -> str:
    """Start or continue the run in ``folder``; returns the trainer's outcome.

    Raises:
        InputError: the label maps, the store or the split cannot be used.
        ModelError: what the run starts from does not fit.
    """
    task = TASKS[settings.task]
    modalities = [m.key for m in task.modalities]
    if not settings.label_maps and not (settings.store and settings.real_share == 1):
        raise InputError("Without label_maps a run needs a store and real_share: 1.")
    torch.manual_seed(settings.optimisation.seed)
    network, description = make_network(settings, len(modalities), len(task.regions))
    real, healthy = real_sources(settings)
    first_seed = sample_seed(settings.optimisation.seed, 0)
    synthetic, aside = synthetic_sources(settings, folder, world)
    source = MixedCrops(synthetic, real, settings, first_seed, healthy)
    counts = {"real cases": real, "healthy cases": healthy}
    data = {"heads": sum(len(part.places) for part in (synthetic, aside) if part is not None)} | {
        name: len(crops.numbers) if crops else 0 for name, crops in counts.items()
    }
    data["corrected"] = real is not None and real.store.corrected
    data["standardised"] = real is not None and real.store.standardised
    resolved = settings.model_dump(mode="json")
    run = Run.create(folder, settings.task, resolved, data, command="train", model=lesion_facts(task, resolved, data))
    validate = None
    if settings.validate_cases:
        if not (settings.store and settings.split):
            raise InputError("validate_cases needs a store and a split that holds cases back.")
        store = open_store(settings.store, modalities)
        held_back = training_cases(settings.split, settings.fold, store, "validation")
        validate = lambda net: frame_dice(net, store, held_back, task, world.device)  # noqa: E731
    elif aside:
        crops = MixedCrops(aside, None, settings, 1 << 61)
        validate = lambda net: crop_dice(net, crops, settings.validation_crops, settings.task)  # noqa: E731
    objective = LesionObjective(
        network, task, frozen_norm=settings.frozen_norm, positive_weight=settings.positive_weight
    )
    objective.freeze_at = settings.freeze_norm_after * settings.optimisation.steps
    trainer = Trainer(
        objective,
        source,
        settings.optimisation,
        settings.schedule,
        run,
        world,
        describe=description,
        validate=validate,
    )
    if not trainer.resume() and (settings.encoder or settings.init):
        if settings.encoder and isinstance(network, Segmenter):
            take_encoder(network, settings.encoder, run)
        else:
            start_from(network, settings.init, modalities, run)
        trainer.restart_average()
    return trainer.fit()


def synthetic_sources(
    settings: LesionSettings, folder: Path, world: World
) -> tuple[DiseasedHeads | None, DiseasedHeads | None]:
    """Return the samplers of synthetic training samples and of the held-out heads; None without heads.

    Raises:
        InputError: the label maps cannot be used.
    """
    if not settings.label_maps:
        return None, None
    heads = open_heads(Path(settings.label_maps), folder, world)
    disease, split = DISEASES[settings.task], len(heads) - settings.held_out
    modalities = [m.key for m in TASKS[settings.task].modalities]

    def drawn_from(some: npt.NDArray[np.uint8]) -> DiseasedHeads:
        return DiseasedHeads(some, FRAME.shape, settings.crop, disease(), modalities, centred=settings.centred)

    return drawn_from(heads[:split]), drawn_from(heads[split:]) if settings.held_out else None


def make_network(settings: LesionSettings, channels: int, outputs: int) -> tuple[Network, dict[str, Any]]:
    """Return the network with fresh weights, and the JSON that rebuilds it.

    Raises:
        InputError: the registry has no such network.
        DependencyError: an optional package is missing.
    """
    if settings.network != "asa":
        spec = NetworkSpec(settings.network, channels, outputs, settings.crop, settings.size)
        return build_network(spec), spec.to_dict()
    config = segmenter_preset(
        settings.preset, in_channels=channels, classes=outputs, subpixel=True, position=settings.position
    )
    network = build_segmenter(config)
    for head in network.heads:  # lesions are rare: begin with a probability of 0.05, as focal loss does
        nn.init.constant_(head.bias, -3.0)  # type: ignore[arg-type]
    network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return network, config.to_dict()
