"""A fine-tuning run, from settings to outcome."""

from __future__ import annotations

import contextlib
from pathlib import Path

import torch

from asa.data.case_store import CaseStore
from asa.devices import wants_bf16
from asa.errors import InputError
from asa.files import write_json
from asa.nn import Segmenter
from asa.nn.position import Grid3
from asa.runs.folder import Run
from asa.runs.layout import DESCRIPTION
from asa.runs.tensorboard import add_tensorboard
from asa.tasks import TASKS
from asa.training.finetuning.calibration import CALIBRATION
from asa.training.finetuning.crops import LabelledCrops
from asa.training.finetuning.memory import candidates, choose_fitting
from asa.training.finetuning.network import layer_scale, make_network, network_spec
from asa.training.finetuning.objective import make_objective
from asa.training.finetuning.settings import KIND, FinetuneSettings
from asa.training.finetuning.split import choose_split
from asa.training.finetuning.validation import calibrate, whole_volume_dice
from asa.training.finetuning.whole_volume import PATCH
from asa.training.model_facts import finetuned_facts
from asa.training.optimiser import make_optimiser
from asa.training.parallel.distributed import World
from asa.training.trainer import Trainer


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
    settings = keep_layout(settings, folder)
    settings, note = fitted(settings, store, folder, world)
    if any(c > n or c % PATCH for c, n in zip(settings.crop, store.shape, strict=True)):
        raise InputError(f"Crop {settings.crop} does not fit cases of {store.shape} voxels in patches of {PATCH}.")
    torch.manual_seed(settings.optimisation.seed)
    network, frame, description = make_network(settings, network_spec(settings, store))
    run = Run(folder)
    if world.main:
        data = {**store.fingerprint(), "split": {part: len(names) for part, names in parts.items()}}
        resolved = settings.model_dump(mode="json")
        run = Run.create(folder, KIND, resolved, data, command="finetune", model=finetuned_facts(resolved, data))
        add_tensorboard(run)
        if note:
            run.log(note)
    held_out = store.numbers(parts["validation"])[: settings.validation_cases or None]
    objective = make_objective(settings, network, task)
    depth = len(network.encoder.blocks) if isinstance(network, Segmenter) else 0
    trainer = Trainer(
        objective,
        LabelledCrops(store, store.numbers(parts["train"]), frame, settings.crops),
        settings.optimisation,
        settings.schedule,
        run,
        world,
        describe=description,
        validate=whole_volume_dice(store, held_out, settings.windows, frame, task, world) if held_out else None,
        lr_scale=lambda name: layer_scale(name, depth, settings.layer_decay),
    )
    trainer.resume()
    outcome = trainer.fit()
    if outcome != "stopped" and held_out and settings.calibrate and world.main:
        trainer.heartbeat("running")  # a model that is made of the run before that is over would lack it
        trainer.load_best()
        found = calibrate(network.eval(), store, held_out, settings.windows, frame, task, world.device)
        write_json(folder / CALIBRATION, found)
        run.event("calibration", **{key: value for key, value in found.items() if key != "cases"})
        trainer.heartbeat(outcome)
    return outcome


def keep_layout(settings: FinetuneSettings, folder: Path) -> FinetuneSettings:
    """Return the settings with the layout of a run that is resumed; runs of earlier versions name none: ``own``."""
    begun = Run(folder).describe()["settings"] if (folder / DESCRIPTION).is_file() else {"layout": settings.layout}
    return settings.model_copy(update={"layout": begun.get("layout", "own")})


def fitted(settings: FinetuneSettings, store: CaseStore, folder: Path, world: World) -> tuple[FinetuneSettings, str]:
    """Return the settings whose step fits into the GPU's memory, and a message if they differ from the requested ones.

    A resumed run keeps its crop.
    """
    if settings.fit == "no" or world.device.type == "cpu":
        return settings, ""
    o = settings.optimisation
    begun = Run(folder).describe()["settings"]["crop"] if (folder / DESCRIPTION).is_file() else None
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
        f"A micro-batch of {o.micro_batch} crops of {asked} voxels does not fit into the GPU's memory; using "
        f"{micro_batch} of {found}. The batch stays {o.batch}"
    )
