"""Fine-tuning: its settings (Table 1b of the paper is the default), its samples, and the run."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Generator, Tensor

from asa.data.augment import (
    AugmentSettings,
    chance,
    cut,
    draw_flips,
    draw_matrix,
    drop_modalities,
    intensities,
    mirrored_start,
)
from asa.data.case_store import CaseStore
from asa.data.cases import LabelledCase
from asa.data.splits import PARTS, Recipe, split_file
from asa.errors import InputError, ModelError
from asa.files import write_json
from asa.nn import Encoder, Segmenter, inflate_channels
from asa.nn.baselines import Network, NetworkSpec, asa_config, build_network
from asa.nn.objective import Batch, Objective
from asa.nn.position import Grid3, Scheme, place_in_frame
from asa.runs.folder import Run
from asa.runs.tensorboard import add_tensorboard
from asa.seeds import generator, sample_seed
from asa.tasks import TASKS, Task
from asa.training import checkpoint
from asa.training.finetuning.memory import candidates, choose_fitting
from asa.training.finetuning.validation import calibrate, whole_volume_dice
from asa.training.finetuning.whole_volume import PATCH
from asa.training.losses import deep_supervision
from asa.training.optimiser import make_optimiser
from asa.training.parallel.distributed import World
from asa.training.pretraining.pretrained import Pretrained
from asa.training.region_loss import region_deep_supervision
from asa.training.settings import VOXELS, Optimisation, Schedule, Settings
from asa.training.trainer import Trainer, wants_bf16

KIND = "finetuning"
CALIBRATION = "calibration.json"


class FinetuneSettings(Settings):
    """Everything a fine-tuning run needs; the defaults are Table 1b of the paper. Lengths in voxels of 1 mm."""

    store: str = Field(description="folder made by 'asa prepare finetune'")
    split: str = Field("", description="JSON file of the split; made if missing. Empty: split.json in the store")
    shares: tuple[int, int, int] = Field((7, 1, 2), description="subjects for training, validation and test")
    folds: int = Field(0, ge=0, description="k of a k-fold cross-validation; 0 makes one split")
    fold: int = Field(0, ge=0, description="which fold, from 0")
    split_seed: int = Field(0, ge=0, description="of the split")
    network: str = Field("asa", description="a name of the registry: asa, unetr, nnformer, transbts, ...")
    size: Literal["paper", "starter", "small"] = Field("paper", description="starter: for two CPU cores (asa only)")
    position: Scheme = Field("symmetric", description="position encoding of asa; a pre-trained encoder brings its own")
    init: str = Field("", description="pre-training run or checkpoint whose encoder starts the run (asa only)")
    freeze_encoder: bool = Field(False, description="train everything but the encoder")
    freeze_blocks: int = Field(0, ge=0, description="blocks of the encoder, from the first on, that stay as they are")
    layer_decay: float = Field(
        1.0, gt=0, le=1, description="learning rate of each encoder block, times that of the block above it"
    )
    output: Literal["classes", "regions"] = Field("classes", description="softmax over labels, or a sigmoid a region")
    crop: tuple[int, int, int] = Field((128, 128, 128), description="trained on at a time", json_schema_extra=VOXELS)
    foreground: float = Field(1 / 3, ge=0, le=1, description="share of crops centred on a labelled voxel")
    augment: AugmentSettings = AugmentSettings()
    modality_dropout: float = Field(0.0, ge=0, lt=1, description="probability of each modality to be missing")
    overlap: float = Field(0.5, ge=0, lt=1, description="of the windows that a whole volume is predicted in")
    fit: Literal["no", "batch", "crop"] = Field(
        "batch", description="where a GPU's memory is too small: micro-batches shrink; then, if crop is said, crops too"
    )
    calibrate: bool = Field(True, description="fit a temperature to the validation cases when training is over")
    validation_cases: int = Field(0, ge=0, description="cases looked at in a validation, at most; 0: all")
    optimisation: Optimisation = Optimisation(
        optimiser="sgd", lr=0.01, momentum=0.99, weight_decay=3e-5, schedule="polynomial", steps=250_000, batch=2
    )
    schedule: Schedule = Schedule(checkpoint_every=250, validate_every=2500)


class LabelledCrops:
    """Training source: sample ``index`` is always the same augmented crop, whoever asks for it.

    Args:
        store: prepared cases.
        numbers: which of them.
        frame: patch grid that the network's position codes know.
    """

    def __init__(self, store: CaseStore, numbers: Sequence[int], frame: Grid3, settings: FinetuneSettings) -> None:
        self.store, self.numbers, self.frame, self.s = store, list(numbers), frame, settings

    def collate(self, indices: Sequence[int]) -> Batch:
        """Images (B, C, T, H, W), targets (B, T, H, W), origins in patches, and the cases' names."""
        drawn = [self.sample(index) for index in indices]
        return {
            "image": torch.stack([image for image, _, _, _ in drawn]),
            "target": torch.stack([labels for _, labels, _, _ in drawn]),
            "origins": [origin for _, _, origin, _ in drawn],
            "names": [name for _, _, _, name in drawn],
        }

    def sample(self, index: int) -> tuple[Tensor, Tensor, Grid3, str]:
        """Image (C, T, H, W), labels (T, H, W), origin, and the case's name."""
        s = self.s
        rng = generator(sample_seed(s.optimisation.seed, index))
        number = self.numbers[int(torch.randint(len(self.numbers), (), generator=rng))]
        image, labels = self.store.read(number)
        start = self.start(rng, number)
        matrix, flips = draw_matrix(rng, s.augment), draw_flips(rng, s.augment.flip)
        part, target = cut(image, labels, start, s.crop, matrix, flips)
        start = mirrored_start(start, s.crop, self.store.shape, flips)
        part, target = self.alter(rng, part, target)
        origin = place_in_frame(start, s.crop, self.store.shape, self.frame)
        return part.contiguous(), target.contiguous(), origin, self.store.cases[number].name

    def alter(self, rng: Generator, image: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Changes that move nothing: intensities, modalities that are missing."""
        image = intensities(rng, image, self.s.augment)
        if self.s.modality_dropout:
            image = drop_modalities(rng, image, self.s.modality_dropout)
        return image, labels

    def start(self, rng: Generator, number: int) -> Grid3:
        """First voxel of a crop, a multiple of the patch: anywhere, or around a voxel of a label drawn at random."""
        free = [n - c for n, c in zip(self.store.shape, self.s.crop, strict=True)]
        drawn = [PATCH * int(torch.randint(n // PATCH + 1, (), generator=rng)) for n in free]
        wanted, which = chance(rng, self.s.foreground), float(torch.rand((), generator=rng))
        voxels = self.store.foreground(number)
        if wanted and len(voxels):
            values = sorted(set(voxels[:, 0].tolist()))
            places = voxels[voxels[:, 0] == values[int(which * len(values))]]
            middle = places[int(torch.randint(len(places), (), generator=rng)), 1:]
            drawn = [
                PATCH * round(min(max(float(m) - c / 2, 0), n) / PATCH)
                for m, c, n in zip(middle, self.s.crop, free, strict=True)
            ]
        return drawn[0], drawn[1], drawn[2]


class SegmentationObjective(Objective):
    """Dice + cross-entropy with deep supervision, over classes or over overlapping regions."""

    def __init__(self, network: Network, regions: Sequence[Sequence[int]] = ()) -> None:
        super().__init__()
        self.network: Network = network
        self.regions = regions

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses of one micro-batch."""
        outputs = self.network.forward_deep(batch["image"], batch["origins"])
        if self.regions:
            return region_deep_supervision(outputs, batch["target"], self.regions)
        return deep_supervision(outputs, batch["target"])


def make_network(settings: FinetuneSettings, spec: NetworkSpec) -> tuple[Network, Grid3, dict[str, Any]]:
    """Network with its first weights, the frame grid its codes know, and the JSON that rebuilds it.

    Raises:
        InputError: no such network, or one that takes no pre-trained encoder.
        ModelError: the pre-trained encoder is damaged or does not suit the network.
        DependencyError: an optional package is missing.
    """
    of_encoder = {
        "init": bool(settings.init),
        "freeze_encoder": settings.freeze_encoder,
        "freeze_blocks": settings.freeze_blocks > 0,
        "layer_decay": settings.layer_decay < 1,
    }
    if settings.network != "asa" and (asked := [name for name, used in of_encoder.items() if used]):
        raise InputError(
            f"{' and '.join(asked)} concern the encoder of asa, which network '{settings.network}' does not have"
        )
    network = pretrained_network(spec, Path(settings.init)) if settings.init else build_network(spec)
    if not isinstance(network, Segmenter):
        return network, spec.frame, spec.to_dict()
    frame = network.config.encoder.frame
    if any(c // PATCH > f for c, f in zip(settings.crop, frame, strict=True)):
        raise InputError(f"crop {settings.crop} is larger than the network's frame of {frame} patches of {PATCH}")
    freeze(network.encoder, settings.freeze_blocks)
    if settings.freeze_encoder:
        network.encoder.requires_grad_(False)
    return network, frame, network.config.to_dict()


def pretrained_network(spec: NetworkSpec, source: Path) -> Segmenter:
    """The segmenter around a pre-trained encoder, whose sizes, frame and position codes it takes over.

    The patch embedding of the one channel seen in pre-training is inflated for several.

    Raises:
        ModelError: the encoder is damaged, or too shallow or too coarse for the segmenter.
    """
    known, weights = Pretrained.open(source).encoder()
    encoder = dataclasses.replace(known, in_channels=spec.in_channels)
    config = dataclasses.replace(asa_config(spec), encoder=encoder)
    if encoder.patch != PATCH or encoder.depth < max(config.taps):
        raise ModelError(
            f"the encoder of {source} has {encoder.depth} blocks on patches of {encoder.patch}; a segmenter of size "
            f"'{spec.size}' needs {max(config.taps)} blocks or more on patches of {PATCH}"
        )
    network = Segmenter(config)
    inflated = {**weights, "embed.weight": inflate_channels(weights["embed.weight"], spec.in_channels)}
    checkpoint.load_weights(network.encoder, inflated, "", str(source))
    return network


def freeze(encoder: Encoder, blocks: int) -> None:
    """Keep the patch embedding and the first ``blocks`` blocks as they are.

    Raises:
        InputError: there are not as many.
    """
    depth = len(encoder.blocks)
    if blocks > depth:
        raise InputError(f"freeze_blocks is {blocks}, and the encoder has {depth} blocks")
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


def finetune(settings: FinetuneSettings, folder: Path, world: World) -> str:
    """Start or continue the run in ``folder``; returns the trainer's outcome.

    Once it is over, the temperature of its posterior is fitted to the validation cases (``calibration.json``).

    Raises:
        InputError: the store, the split or the settings cannot be used.
        ModelError: the pre-trained encoder or the folder's checkpoint does not fit.
        ResourceError: not even one crop fits into the GPU's memory.
    """
    store = CaseStore.open(Path(settings.store))
    parts = choose_split(settings, store)
    task = TASKS[store.dataset.task]
    settings, note = fitted(settings, store, folder, world)
    if any(c > n or c % PATCH for c, n in zip(settings.crop, store.shape, strict=True)):
        raise InputError(f"crop {settings.crop} does not fit cases of {store.shape} voxels in patches of {PATCH}")
    torch.manual_seed(settings.optimisation.seed)
    network, frame, description = make_network(settings, network_spec(settings, store))
    run = Run(folder)
    if world.main:
        data = {**store.fingerprint(), "split": {part: len(names) for part, names in parts.items()}}
        run = Run.create(folder, KIND, settings.model_dump(mode="json"), data)
        add_tensorboard(run)
        if note:
            run.log(note)
    held_out = store.numbers(parts["validation"])[: settings.validation_cases or None]
    objective = make_objective(settings, network, task)
    depth = len(network.encoder.blocks) if isinstance(network, Segmenter) else 0
    trainer = Trainer(
        objective,
        LabelledCrops(store, store.numbers(parts["train"]), frame, settings),
        settings.optimisation,
        settings.schedule,
        run,
        world,
        describe=description,
        validate=whole_volume_dice(store, held_out, settings, frame, task, world) if held_out else None,
        lr_scale=lambda name: layer_scale(name, depth, settings.layer_decay),
    )
    trainer.resume()
    outcome = trainer.fit()
    if outcome != "stopped" and held_out and settings.calibrate and world.main:
        trainer.beat("running")  # a model that is made of the run before that is over would lack it
        trainer.load_best()
        found = calibrate(network.eval(), store, held_out, settings, frame, task, world.device)
        write_json(folder / CALIBRATION, found)
        run.event("calibration", **{key: value for key, value in found.items() if key != "cases"})
        trainer.beat(outcome)
    return outcome


def network_spec(settings: FinetuneSettings, store: CaseStore) -> NetworkSpec:
    """Network that the settings ask for, for the cases of a store."""
    task = TASKS[store.dataset.task]
    outputs = len(task.regions) if settings.output == "regions" else 1 + max(label.value for label in task.labels)
    whole = (store.shape[0] // PATCH, store.shape[1] // PATCH, store.shape[2] // PATCH)
    channels = len(store.modalities)
    return NetworkSpec(settings.network, channels, outputs, settings.crop, settings.size, whole, settings.position)


def make_objective(settings: FinetuneSettings, network: Network, task: Task) -> SegmentationObjective:
    """Loss over classes or over regions."""
    by_region = settings.output == "regions"
    return SegmentationObjective(network, [region.values for region in task.regions] if by_region else ())


def fitted(settings: FinetuneSettings, store: CaseStore, folder: Path, world: World) -> tuple[FinetuneSettings, str]:
    """Settings whose step fits into the GPU's memory, and a sentence where they are not those asked for.

    A run that goes on keeps its crop.
    """
    if settings.fit == "no" or world.device.type == "cpu":
        return settings, ""
    o = settings.optimisation
    begun = Run(folder).describe()["settings"]["crop"] if (folder / "run.yaml").is_file() else None
    crop: Grid3 = (begun[0], begun[1], begun[2]) if begun else settings.crop

    def attempt(micro_batch: int, size: Grid3) -> None:
        tried = settings.model_copy(update={"crop": size})
        network, _, _ = make_network(tried, network_spec(tried, store))
        objective = make_objective(tried, network, TASKS[store.dataset.task]).to(world.device)
        batch = {
            "image": torch.zeros(micro_batch, len(store.modalities), *size, device=world.device),
            "target": torch.zeros(micro_batch, *size, dtype=torch.uint8, device=world.device),
            "origins": [(0, 0, 0)] * micro_batch,
        }
        optimiser = make_optimiser(objective, o)
        half = wants_bf16(o.precision, world.device)
        with torch.autocast(world.device.type, torch.bfloat16) if half else contextlib.nullcontext():
            loss = objective(batch)["loss"]
        loss.backward()
        optimiser.step()

    may_crop = settings.fit == "crop" and begun is None
    micro_batch, size = choose_fitting(list(candidates(o.micro_batch, crop, may_crop=may_crop)), attempt, world)
    if (micro_batch, size) == (o.micro_batch, settings.crop):
        return settings, ""
    changed = settings.model_copy(
        update={"crop": size, "optimisation": o.model_copy(update={"micro_batch": micro_batch})}
    )
    asked, found = ("x".join(map(str, sides)) for sides in (settings.crop, size))
    return changed, (
        f"{o.micro_batch} crops of {asked} voxels at a time do not fit into the GPU's memory: it takes {micro_batch} "
        f"of {found}; the batch stays {o.batch}"
    )


def choose_split(settings: FinetuneSettings, store: CaseStore) -> dict[str, list[str]]:
    """Names of the cases of each part; the split file is written where it does not exist.

    Raises:
        InputError: the file does not fit, there is no such fold, or nothing to train on.
    """
    path = Path(settings.split) if settings.split else store.folder / "split.json"
    cases = [LabelledCase(case.name, case.subject, {}, None) for case in store.cases]
    folds = split_file(path, cases, Recipe(settings.shares, settings.folds, settings.split_seed))
    if settings.fold >= len(folds):
        raise InputError(f"{path} has {len(folds)} folds; fold {settings.fold} (from 0) is not one of them")
    fold = folds[settings.fold]
    if not fold["train"]:
        raise InputError(f"{path} leaves no case to train on")
    return {part: fold[part] for part in PARTS}
