"""Estimate the memory, time and disk space of a run before it starts.

Measured, not guessed: a forward and backward pass of one small crop on the device, scaled by the number of voxels, in
which all networks here are linear (windowed attention, convolutions). Other programs on the machine, and a GPU that is
not filled by so small a crop, make it wrong; it is an estimate and is called so.
"""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from asa.data.case_store import CaseStore
from asa.data.scan_store import ScanStore, Shape
from asa.devices import choose_device, peak_memory, wants_bf16
from asa.errors import InputError, ResourceError
from asa.nn.objective import Batch, Objective
from asa.nn.sliding_window import window_starts
from asa.pretext import make_objective
from asa.pretext.objectives import CONTEXT
from asa.runs.devices import Device, list_devices
from asa.tasks import TASKS
from asa.training.finetuning.crops import LabelledCrops
from asa.training.finetuning.network import make_network, network_spec
from asa.training.finetuning.objective import make_objective as segmentation_objective
from asa.training.finetuning.settings import FinetuneSettings
from asa.training.finetuning.whole_volume import PATCH
from asa.training.pretraining.pretrain import choose_split, stored_scans
from asa.training.pretraining.settings import PretrainSettings
from asa.training.settings import Optimisation, Schedule, Settings

PROBE = 64  # voxels: the longest side of the crop that is measured
PICTURE_BYTES, EVENT_BYTES = 400_000, 900  # of a preview; of an event in events.jsonl and for TensorBoard
OPTIMISER_COPIES = {"adamw": 2, "adam": 2, "sgd": 1}
CUDA_BYTES = 500_000_000  # of CUDA itself, before the first tensor
FRAGMENTS = 1.1  # what CUDA's allocator takes for what it is asked for
# Peak of a step on the CPU, in addition to what the forward pass keeps: steps of the starter presets took 2.4 to 2.5
# times that, for pre-training and for fine-tuning, with one sample and with two.
TEMPORARIES = 2.5
GB = 1e9


@dataclass(frozen=True)
class Estimate:
    """Bytes and seconds; ``seconds`` and ``epoch_seconds`` (a pass over the training samples) include validation.

    ``warnings``: sentences; a run that does not fit is among them. ``free_memory``, ``free_disk``: 0 if not known.
    """

    device: str
    parameters: int
    samples: int
    steps: int
    epoch_steps: float
    step_seconds: float
    epoch_seconds: float
    seconds: float
    memory: int
    free_memory: int
    disk: int
    free_disk: int
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Probe:
    """One sample, measured: seconds to train on it, to look at it only, to read it; bytes that it takes on its way
    through the network and back; all for the crop of the run."""

    train: float
    look: float
    read: float
    working: float


@dataclass(frozen=True)
class _Plan:
    """A run as far as it matters here. ``validation_looks``: crops that one validation looks at.

    ``objective`` is what is measured; ``parameters``, of which ``trained``, are those of the run, whose network may be
    larger: some have more levels, or a position code for each token of their crop.
    """

    objective: Objective
    parameters: int
    trained: int
    collate: Callable[[Shape], tuple[Batch, Batch]]
    optimisation: Optimisation
    schedule: Schedule
    samples: int
    crop: Shape
    unit: int
    validation_looks: int
    pictures: int


def estimate(settings: Settings, folder: Path, device: str = "auto") -> Estimate:
    """What a run with these settings in ``folder`` will need on a device.

    Raises:
        InputError, ModelError: the run could not even begin.
        ResourceError: not one crop fits into the device's memory.
    """
    chosen = choose_device(device)
    plan = _pretraining(settings) if isinstance(settings, PretrainSettings) else _finetuning(settings)
    weights, trained = 4 * plan.parameters, 4 * plan.trained
    base = CUDA_BYTES + weights if chosen.type == "cuda" else int(peak_memory(chosen))
    try:
        probe = measure(plan, chosen)
    except torch.cuda.OutOfMemoryError as error:
        raise ResourceError(f"Not even a small crop fits into the free memory of {chosen}.") from error
    o, s = plan.optimisation, plan.schedule
    copies = OPTIMISER_COPIES[o.optimiser]
    average = weights if o.ema else 0
    memory = base + average + trained * (1 + copies) + probe.working * min(o.micro_batch, o.batch)
    # a GPU computes while the next samples are read; a processor does both
    sample = max(probe.train, probe.read) if chosen.type == "cuda" else probe.train + probe.read
    validation = plan.validation_looks * probe.look
    step = o.batch * sample
    looks = o.steps // s.validate_every if s.validate_every else 0
    epoch_steps = plan.samples / o.batch
    epoch = epoch_steps * (step + (validation / s.validate_every if s.validate_every else 0.0))
    last, best = weights + average + trained * copies, weights + average
    kept = best * (o.steps // s.keep_every) if s.keep_every else 0
    # while a checkpoint is written there are two of it
    disk = 2 * last + best + kept + plan.pictures * PICTURE_BYTES + (o.steps // s.log_every + looks) * EVENT_BYTES
    where = next(d for d in list_devices() if d.name == str(chosen) or d.name.startswith(f"{chosen}:"))
    free_disk = shutil.disk_usage(_existing(folder)).free
    return Estimate(
        device=where.name,
        parameters=plan.parameters,
        samples=plan.samples,
        steps=o.steps,
        epoch_steps=epoch_steps,
        step_seconds=step,
        epoch_seconds=epoch,
        seconds=o.steps * step + looks * validation,
        memory=int(memory),
        free_memory=where.free,
        disk=int(disk),
        free_disk=free_disk,
        warnings=tuple(_warnings(folder, where, memory, disk, free_disk, o)),
    )


def measure(plan: _Plan, device: torch.device) -> Probe:
    """Train on one sample of a small crop, three times, and scale the shortest time to the run's crop."""
    small = probe_crop(plan.crop, plan.unit)
    scale = math.prod(plan.crop) / math.prod(small)
    started = time.perf_counter()
    batch, whole = plan.collate(small)
    read = (time.perf_counter() - started) / (len(batch["image"]) + len(whole["image"]))
    count = len(batch["image"])
    objective = plan.objective.to(device).train()
    batch = {key: value.to(device) if torch.is_tensor(value) else value for key, value in batch.items()}
    bf16 = wants_bf16(plan.optimisation.precision, device)
    seconds = looking = math.inf
    working = 0.0
    for _ in range(3):  # the first pass chooses algorithms and fills caches; others may disturb one
        started = time.perf_counter()
        with _Memory(objective, device) as memory, torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss = objective(batch)["loss"]
            looking = min(looking, _elapsed(started, device))
        loss.backward()
        seconds, working = min(seconds, _elapsed(started, device)), memory.working()
        objective.zero_grad(set_to_none=True)
    return Probe(seconds * scale / count, looking * scale / count, read, working * scale / count)


def probe_crop(crop: Sequence[int], unit: int) -> Shape:
    """Return a crop of at most ``PROBE`` voxels a side, in multiples of ``unit``."""
    t, h, w = (max(unit, min(side, PROBE) // unit * unit) for side in crop)
    return t, h, w


class _Memory:
    """Return the memory of a sample in the forward and backward pass, without weights and their gradients.

    A GPU counts it. On the processor, the bytes that the forward pass keeps for the backward pass are counted, each
    storage once.
    """

    def __init__(self, objective: Objective, device: torch.device) -> None:
        self._device = device
        self._weights = {p.untyped_storage().data_ptr() for p in objective.parameters()}
        self._gradients = 4 * sum(p.numel() for p in objective.parameters() if p.requires_grad)
        self._kept: dict[int, int] = {}
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._keep, lambda tensor: tensor)
        self._before = 0

    def _keep(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._weights:
            self._kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    def __enter__(self) -> _Memory:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            self._before = torch.cuda.memory_allocated(self._device)
        else:
            self._hooks.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        if self._device.type != "cuda":
            self._hooks.__exit__(*error)

    def working(self) -> float:
        """Return the bytes, once the backward pass is over."""
        if self._device.type == "cuda":
            return max(0.0, peak_memory(self._device) - self._before - self._gradients) * FRAGMENTS
        return sum(self._kept.values()) * TEMPORARIES


def _elapsed(started: float, device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def _pretraining(settings: PretrainSettings) -> _Plan:
    store = ScanStore.open(Path(settings.store))
    train, held_out = choose_split(settings, store)
    source = stored_scans(settings, store, train)
    crop = (source.crop[0], source.crop[1], source.crop[2])
    objective = make_objective(settings.method, settings.autoencoder(), settings.options())
    objective.network.encoder.checkpointing = settings.checkpointing
    count = 2 if settings.method in CONTEXT else 1

    def collate(small: Shape) -> tuple[Batch, Batch]:
        part = stored_scans(settings.model_copy(update={"crop": small}), store, train)
        return part.collate(range(count)), source.collate(range(count))

    o = settings.optimisation(len(train))
    pictures = o.steps // settings.preview_every if settings.preview_every else 0
    looks = settings.validation_scans if settings.crop and held_out else min(settings.validation_scans, len(held_out))
    sizes = _sizes(objective)
    return _Plan(objective, *sizes, collate, o, settings.schedule, len(train), crop, source.patch, looks, pictures)


def _sizes(network: torch.nn.Module) -> tuple[int, int]:
    """Return the parameters, and those of them that are trained."""
    counts = [(p.numel(), p.requires_grad) for p in network.parameters()]
    return sum(count for count, _ in counts), sum(count for count, trained in counts if trained)


def _finetuning(settings: Settings) -> _Plan:
    if not isinstance(settings, FinetuneSettings):
        raise InputError("Only pre-training and fine-tuning can be estimated.")
    store = CaseStore.open(Path(settings.store))
    if any(c > n or c % PATCH for c, n in zip(settings.crop, store.shape, strict=True)):
        raise InputError(f"Crop {settings.crop} does not fit cases of {store.shape} voxels in patches of {PATCH}.")
    sizes = _sizes(make_network(settings, network_spec(settings, store))[0])
    unit = 4 * PATCH  # networks halve a crop up to five times
    small = settings.model_copy(update={"crop": probe_crop(settings.crop, unit)})
    network, known, _ = make_network(small, network_spec(small, store))
    everyone = range(len(store.cases))

    def collate(crop: Shape) -> tuple[Batch, Batch]:
        part = LabelledCrops(store, everyone, known, replace(settings.crops, crop=crop))
        return part.collate([0]), LabelledCrops(store, everyone, known, settings.crops).collate([0])

    train, held_out = (math.ceil(len(everyone) * settings.shares[i] / sum(settings.shares)) for i in (0, 1))
    windows = math.prod(
        len(window_starts(n, c, PATCH, settings.overlap)) for n, c in zip(store.shape, settings.crop, strict=True)
    )
    looks = windows * min(held_out, settings.validation_cases or held_out)
    objective = segmentation_objective(settings, network, TASKS[store.dataset.task])
    o, crop = settings.optimisation, settings.crop
    return _Plan(objective, *sizes, collate, o, settings.schedule, train, crop, unit, looks, 0)


def _existing(folder: Path) -> Path:
    """Return the nearest folder above that is there."""
    return next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())


def _warnings(
    folder: Path, device: Device, memory: float, disk: float, free_disk: int, o: Optimisation
) -> Sequence[str]:
    found = []
    if not os.access(_existing(folder), os.W_OK):
        found.append(f"{_existing(folder)} cannot be written to. Choose another run folder.")
    if disk > free_disk:
        found.append(
            f"The run needs about {disk / GB:.1f} GB of disk, and {free_disk / GB:.1f} GB are free at "
            f"{_existing(folder)}. Choose another run folder, or free disk space."
        )
    if device.free and memory > device.free:
        several = min(o.micro_batch, o.batch) > 1
        advice = "lower the micro-batch" if several else "choose smaller crops or another preset"
        found.append(
            f"The run needs about {memory / GB:.1f} GB of memory, and {device.free / GB:.1f} GB are free on "
            f"{device.title}; {advice}."
        )
    if device.runs:
        found.append(f"{device.title} is in use by {device.runs[0].name}; this run will be queued.")
    return found
