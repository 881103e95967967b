"""Training of the lesion models: synthetic disease in synthetic heads, mixed with real cases where there are some."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from scipy import ndimage
from torch import Generator, Tensor, nn

from asa.data.augment import AugmentSettings, chance, intensities, uniform
from asa.data.case_store import CaseStore
from asa.data.cases import LabelledCase
from asa.data.splits import Recipe, split_file
from asa.errors import InputError
from asa.geometry import FRAME
from asa.nn import Segmenter, segmenter_preset
from asa.nn.baselines import Network, NetworkSpec, build_network
from asa.nn.config import STARTER_FRAME
from asa.nn.position import Grid3
from asa.runs.folder import Run
from asa.seeds import generator, sample_seed
from asa.synth.diseased import (
    DiseasedHeads,
    Tumours,
    WhiteMatterLesions,
    implant_lesions,
    implant_tumour,
    vary_contrast,
)
from asa.synth.intensity import smooth_field
from asa.tasks import TASKS, Task
from asa.training.finetuning.cases import LabelledCrops
from asa.training.finetuning.objective import SegmentationObjective
from asa.training.finetuning.settings import FinetuneSettings
from asa.training.finetuning.validation import pooled_dice
from asa.training.parallel.distributed import World
from asa.training.region_loss import region_deep_supervision, region_masks
from asa.training.settings import Optimisation, Schedule, Settings
from asa.training.synthetic.start import start_from
from asa.training.synthetic.tissue import open_heads
from asa.training.trainer import Batch, Trainer

DISEASES = {"tumour": Tumours, "wmh": WhiteMatterLesions}
MIXTURE = 1  # what random numbers are for: not those of the sample itself
CUT_MARGIN = 12  # mm around what a case is labelled with that are not healthy either: oedema fades slowly
IMPLANTS = {"tumour": implant_tumour, "wmh": implant_lesions}


class LesionSettings(Settings):
    """Everything a run of a lesion model needs; lengths in voxels of 1 mm."""

    task: Literal["tumour", "wmh"]
    label_maps: str = Field(description="folder of labelled heads (*.nii.gz, FreeSurfer numbers); only for training")
    store: str = Field("", description="real cases: folder made by 'asa prepare finetune --size frame'; empty: none")
    healthy_store: str = Field(
        "", description="real cases of another disease, prepared likewise; what they are labelled with is cut out"
    )
    healthy_share: float = Field(0.5, ge=0, le=1, description="share of real samples that come from healthy_store")
    split: str = Field("", description="JSON file of folds; made, leaving one out, if missing. Empty: all cases train")
    fold: int = Field(0, ge=0, description="which fold of the split, from 0")
    real_share: float = Field(0.5, ge=0, le=1, description="share of samples that are real, where there is a store")
    implant_share: float = Field(0.0, ge=0, le=1, description="share of real samples to which more disease is added")
    network: str = Field("asa", description="asa, or another of the registry to compare with: segresnet, dynunet, ...")
    size: Literal["paper", "small"] = Field("small", description="of a network to compare with")
    crop: tuple[int, int, int] = (64, 80, 64)
    foreground: float = Field(0.6, ge=0, le=1, description="share of real crops centred on a labelled voxel")
    augment: AugmentSettings = AugmentSettings(
        rotation_deg=20, rotation_p=0.4, scale=(0.85, 1.2), scale_p=0.4, gamma_p=0.3, blur_p=0.15, low_resolution_p=0.15
    )
    missing: float = Field(0.6, ge=0, le=1, description="share of samples of which only some modalities are shown")
    positive_weight: float = Field(1.0, gt=0, description="of a lesion's voxel in the cross-entropy")
    contrast: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of real crops whose grey and white matter are set apart anew in FLAIR",
    )
    bias: float = Field(
        0.6, ge=0, description="largest spread of a smooth field added to each modality of a real crop (coils), in SD"
    )
    cut: float = Field(0.15, ge=0, le=1, description="share of samples of which one modality does not reach all")
    frozen_norm: bool = Field(
        True, description="batch normalisation keeps the statistics it starts from: one crop is no sample of all brains"
    )
    held_out: int = Field(1, ge=0, description="synthetic heads kept for validation, the last ones")
    validation_crops: int = 8
    init: str = Field("tissue", description="model, or checkpoint of the same network, to start from; empty: scratch")
    optimisation: Optimisation = Optimisation(
        lr=1e-3, betas=(0.9, 0.99), weight_decay=0.02, warmup_steps=30, steps=600, batch=1, ema=0.99, clip=5.0
    )
    schedule: Schedule = Schedule()


def show_some(rng: Generator, image: Tensor, share: float) -> Tensor:
    """In ``share`` of the calls a subset of the channels (C, T, H, W), each equally likely; the others become 0."""
    some = 1 + int(torch.randint(2 ** len(image) - 1, (), generator=rng))
    if not chance(rng, share):
        return image
    shown = torch.tensor([bool(some >> channel & 1) for channel in range(len(image))])
    return image * shown.view(-1, 1, 1, 1)


def cut_off(rng: Generator, image: Tensor, share: float) -> Tensor:
    """In ``share`` of the calls one channel of (C, T, H, W) ends at a plane: beyond it 0, or black as padding is.

    Series of one patient often do not cover the same part of the brain.
    """
    channel, axis = (int(torch.randint(n, (), generator=rng)) for n in (len(image), 3))
    size = image.shape[axis + 1]
    place = int(torch.randint(size // 4, size, (), generator=rng))
    low = uniform(rng, -5, -1) if chance(rng, 0.5) else 0.0
    whole = chance(rng, 0.5)
    if not chance(rng, share):
        return image
    beyond = torch.zeros_like(image[channel], dtype=torch.bool)
    part = beyond.narrow(axis, place, size - place) if whole else beyond.narrow(axis, 0, size - place)
    part.fill_(True)
    image = image.clone()
    image[channel][beyond & (image[channel] != 0)] = low
    return image


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
        """Losses of one micro-batch."""
        outputs = self.network.forward_deep(batch["image"], batch["origins"])
        return region_deep_supervision(outputs, batch["target"], self.regions, self.positive_weight)


class RealCrops(LabelledCrops):
    """Augmented crops of real cases, some with more of the disease grown in; the background stays 0."""

    def __init__(self, store: CaseStore, numbers: Sequence[int], frame: Grid3, settings: LesionSettings) -> None:
        super().__init__(
            store,
            numbers,
            frame,
            FinetuneSettings(
                store=settings.store,
                crop=settings.crop,
                foreground=settings.foreground,
                augment=settings.augment,
                optimisation=settings.optimisation,
            ),
        )
        self.implant, self.implant_share, self.bias = IMPLANTS[settings.task], settings.implant_share, settings.bias
        self.contrast = settings.contrast
        self.modalities = [m.key for m in TASKS[settings.task].modalities]

    def alter(self, rng: Generator, image: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """More of the disease sometimes, then intensities, of each modality on its own.

        Six cases do not show how differently coils shade a brain; without the field, what lies nearest to the coil
        (cerebellum, temporal lobes) was taken for oedema in cases the model had not seen.
        """
        if chance(rng, self.contrast):
            image = vary_contrast(rng, image, self.modalities)
        if chance(rng, self.implant_share):
            image, labels = self.implant(rng, image, labels, self.modalities)
        inside = (image != 0).any(0)
        for number, channel in enumerate(image):
            changed = intensities(rng, channel[None], self.s.augment)[0]
            changed = changed + uniform(rng, 0, self.bias) * smooth_field(rng, tuple(labels.shape), 3)[0]
            image[number] = changed * uniform(rng, 0.85, 1.18) + uniform(rng, -0.2, 0.2)
        return image * inside, labels


class HealthyCrops(RealCrops):
    """Crops of real cases of another disease as healthy brains, into which more of the task's own disease is drawn.

    What they are labelled with is cut out with a margin, and shown as empty as the surroundings of a brain. Two
    patients do not show what FLAIR makes of healthy tissue in other scanners; these do.
    """

    def __init__(self, store: CaseStore, frame: Grid3, settings: LesionSettings) -> None:
        super().__init__(store, range(len(store.cases)), frame, settings.model_copy(update={"foreground": 0.0}))
        self.channels = [store.modalities.index(m) for m in self.modalities]

    def alter(self, rng: Generator, image: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Cut out, then as :class:`RealCrops`."""
        near = torch.from_numpy(ndimage.maximum_filter(labels.numpy(), 2 * CUT_MARGIN + 1))
        return super().alter(rng, image[self.channels].masked_fill(near > 0, 0.0), torch.zeros_like(labels))


class MixedCrops:
    """Training source: synthetic samples, and real ones where there are some; sample ``index`` is always the same."""

    def __init__(
        self,
        heads: DiseasedHeads,
        real: RealCrops | None,
        settings: LesionSettings,
        first_seed: int,
        healthy: HealthyCrops | None = None,
    ) -> None:
        self.heads, self.real, self.healthy, self.s, self.first_seed = heads, real, healthy, settings, first_seed

    def collate(self, indices: Sequence[int]) -> Batch:
        """Images (B, C, T, H, W), targets (B, T, H, W) and crop origins."""
        drawn = [self.sample(index) for index in indices]
        image = torch.stack([image for image, _, _ in drawn])
        return {
            "image": image.contiguous(memory_format=torch.channels_last_3d),
            "target": torch.stack([labels for _, labels, _ in drawn]),
            "origins": [origin for _, _, origin in drawn],
        }

    def sample(self, index: int) -> tuple[Tensor, Tensor, Grid3]:
        """Image (C, T, H, W), labels (T, H, W) and origin."""
        rng = generator(self.first_seed + index, MIXTURE)
        real = self.real
        if self.healthy is not None and (real is None or chance(rng, self.s.healthy_share)):
            real = self.healthy
        if chance(rng, self.s.real_share) and real is not None:
            image, labels, origin, _ = real.sample(index)
        else:
            image, labels, origin = self.heads.sample(self.first_seed + index)
        image = cut_off(rng, image, self.s.cut)
        return show_some(rng, image, self.s.missing), labels.long(), origin


def real_sources(settings: LesionSettings) -> tuple[RealCrops | None, HealthyCrops | None]:
    """What a run draws real samples from, of its own disease and of healthy tissue.

    Raises:
        InputError: a store or the split cannot be used.
    """
    modalities = [m.key for m in TASKS[settings.task].modalities]
    real = healthy = None
    if settings.store:
        store = open_store(settings.store, modalities)
        real = RealCrops(store, training_cases(settings, store), STARTER_FRAME, settings)
    if settings.healthy_store:
        healthy = HealthyCrops(open_store(settings.healthy_store, modalities, more=True), STARTER_FRAME, settings)
    return real, healthy


def open_store(folder: str, modalities: Sequence[str], *, more: bool = False) -> CaseStore:
    """Cases of the whole frame with these modalities, in this order; with ``more`` in any, and others too.

    Raises:
        InputError: they are other cases.
    """
    store = CaseStore.open(Path(folder))
    suits = set(modalities) <= set(store.modalities) if more else list(store.modalities) == list(modalities)
    if not suits or store.shape != FRAME.shape:
        wanted = f"{', '.join(modalities)} in the whole brain frame (--size frame)"
        raise InputError(f"{store.folder} must hold {wanted}")
    return store


def crop_dice(network: nn.Module, source: MixedCrops, count: int, task: str) -> dict[str, float]:
    """Dice of each region over ``count`` held-out synthetic crops, pooled; ``score`` is their mean."""
    names, values = zip(*((region.name, region.values) for region in TASKS[task].regions), strict=True)
    return pooled_dice(
        network, source, count, names, lambda logits, target: (logits[0] > 0, region_masks(target, values)[0])
    )


def training_cases(settings: LesionSettings, store: CaseStore) -> list[int]:
    """Positions in the store of the cases to train on.

    Raises:
        InputError: no such fold, or the file names cases that the store lacks.
    """
    if not settings.split:
        return list(range(len(store.cases)))
    cases = [LabelledCase(case.name, case.subject, {}, None) for case in store.cases]
    folds = split_file(Path(settings.split), cases, Recipe(shares=(1, 0, 1), folds=len(cases)))
    if settings.fold >= len(folds):
        raise InputError(f"{settings.split} has {len(folds)} folds; fold {settings.fold} (from 0) is not one of them")
    return store.numbers(folds[settings.fold]["train"])


def train_lesions(settings: LesionSettings, folder: Path, world: World) -> str:
    """Start or continue the run in ``folder``; returns the trainer's outcome.

    Raises:
        InputError: the label maps, the store or the split cannot be used.
        ModelError: what the run starts from does not fit.
    """
    heads = open_heads(Path(settings.label_maps), folder, world)
    task = TASKS[settings.task]
    modalities = [m.key for m in task.modalities]
    split = len(heads) - settings.held_out
    disease = DISEASES[settings.task]
    torch.manual_seed(settings.optimisation.seed)
    network, description = make_network(settings, len(modalities), len(task.regions))
    real, healthy = real_sources(settings)
    first_seed = sample_seed(settings.optimisation.seed, 0)
    synthetic = DiseasedHeads(heads[:split], FRAME.shape, settings.crop, disease(), modalities)
    source = MixedCrops(synthetic, real, settings, first_seed, healthy)
    counts = {"real cases": real, "healthy cases": healthy}
    data = {"heads": len(heads)} | {name: len(crops.numbers) if crops else 0 for name, crops in counts.items()}
    run = Run.create(folder, settings.task, settings.model_dump(mode="json"), data)
    validate = None
    if settings.held_out:
        heads_aside = DiseasedHeads(heads[split:], FRAME.shape, settings.crop, disease(), modalities)
        aside = MixedCrops(heads_aside, None, settings, 1 << 61)
        validate = lambda net: crop_dice(net, aside, settings.validation_crops, settings.task)  # noqa: E731
    trainer = Trainer(
        LesionObjective(network, task, frozen_norm=settings.frozen_norm, positive_weight=settings.positive_weight),
        source,
        settings.optimisation,
        settings.schedule,
        run,
        world,
        describe=description,
        validate=validate,
    )
    if not trainer.resume() and settings.init:
        start_from(network, settings.init, modalities, run)
        trainer.restart_average()
    return trainer.fit()


def make_network(settings: LesionSettings, channels: int, outputs: int) -> tuple[Network, dict[str, Any]]:
    """Network with fresh weights, and the JSON that rebuilds it.

    Raises:
        InputError: the registry has no such network.
        DependencyError: an optional package is missing.
    """
    if settings.network != "asa":
        spec = NetworkSpec(settings.network, channels, outputs, settings.crop, settings.size)
        return build_network(spec), spec.to_dict()
    config = segmenter_preset("starter", in_channels=channels, classes=outputs, subpixel=True)
    network = Segmenter(config)
    for head in network.heads:  # lesions are rare: begin with a probability of 0.05, as focal loss does
        nn.init.constant_(head.bias, -3.0)  # type: ignore[arg-type]
    network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return network, config.to_dict()
