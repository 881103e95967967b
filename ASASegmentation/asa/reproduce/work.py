"""Run one unit of a reproduction; each can be stopped and resumed."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

from asa.data.case_store import prepare_cases
from asa.data.datasets import dataset_by_name
from asa.data.prepare import Preparation, prepare
from asa.data.stripping import AlreadyStripped, Stripper
from asa.errors import Cancelled, InputError
from asa.evaluation.evaluate import Protocol, evaluate
from asa.files import read_json, write_json
from asa.inference.stripping import TissueModel
from asa.pretext import Method
from asa.reproduce.plan import FINISHED, SCANS, Plan, cases_unit, pretraining_unit, row_of_key
from asa.reproduce.published import PARTS
from asa.training.finetuning.finetune import finetune
from asa.training.finetuning.prediction import predict_cases
from asa.training.parallel.distributed import World, leave
from asa.training.pretraining.pretrain import pretrain

BEGUN, SCORES, PREDICTIONS, RUN = "begun.json", "scores.json", "predictions", "run"
Say = Callable[[str], None]


def do_unit(plan: Plan, unit: str, world: World, say: Say = print) -> None:
    """Do a unit unless it is finished; what was done of it before is kept.

    Raises:
        AsaError: whatever stands in its way.
        Cancelled: it was stopped; the same call resumes it.
    """
    if plan.finished(unit):
        say(f"{unit}: finished before")
        return
    started, used = time.monotonic(), time.process_time()
    kind, *rest = unit.split("/")
    folder = plan.folder / unit
    if kind in ("cases", SCANS) and not world.main:
        return  # preparation is the work of one process
    if world.main:
        begin(folder, plan.digest(unit))
    if kind == "cases":
        make_cases(plan, rest[0], folder, say)
    elif kind == SCANS:
        make_scans(plan, folder, say)
    elif kind == "pretraining":
        method = cast(Method, rest[0])
        check(pretrain(plan.spending.pretrain_settings(method, str(plan.folder / SCANS), plan.seed), folder, world))
    else:
        make_row(plan, rest[0], rest[1], folder, world, say)
    if world.main:
        spent = {"seconds": time.monotonic() - started, "processor_seconds": time.process_time() - used}
        spent = {name: round(value, 1) for name, value in spent.items()}
        write_json(folder / FINISHED, {"digest": plan.digest(unit), **spent})


def begin(folder: Path, digest: str) -> None:
    """Note with what settings a unit is done.

    Raises:
        InputError: it was started with different settings.
    """
    path = folder / BEGUN
    try:
        same = not path.is_file() or read_json(path)["digest"] == digest
    except (OSError, ValueError, LookupError, TypeError):
        same = False
    if not same:
        raise InputError(f"{folder} was started with different settings; choose another folder, or delete this one.")
    write_json(path, {"digest": digest})


def check(outcome: str) -> None:
    """Raise Cancelled where a training was stopped."""
    if outcome == "stopped":
        raise Cancelled("Stopped. Run the same command to resume.")


def make_cases(plan: Plan, name: str, folder: Path, say: Say) -> None:
    """Store of the labelled cases of a data set, with the modalities that the paper used."""
    dataset = dataset_by_name(name)
    part = PARTS[dataset.task]
    prepare_cases(
        dataset,
        Path(plan.data[name]),
        folder,
        modalities=part.modalities,
        shape=plan.spending.case_shape,
        stripped=part.stripped,
        progress=lambda done, total, case: say(f"[{done}/{total}] {case}"),
    )


def make_scans(plan: Plan, folder: Path, say: Say) -> None:
    """Store of the scans to pre-train on."""
    stripper: Stripper = AlreadyStripped() if plan.stripped else TissueModel()
    prepare(
        Preparation(Path(plan.scans), folder, stripper, plan.spending.scan_shape),
        progress=lambda done, total, said: say(f"[{done}/{total}] {said}"),
    )


def make_row(plan: Plan, name: str, key: str, folder: Path, world: World, say: Say) -> None:
    """Train a system, segment the test cases on the grids of their scans, and score them there."""
    dataset, (system, repeat) = dataset_by_name(name), row_of_key(key)
    init = ""
    if system.method is not None:
        init = plan.pretrained.get(system.method) or str(plan.folder / pretraining_unit(system.method))
    store = str(plan.folder / cases_unit(dataset))
    settings = plan.spending.finetune_settings(system, dataset.task, store, init, plan.seed, repeat)
    check(finetune(settings, folder / RUN, world))
    leave()
    if not world.main:
        return
    predict_cases(
        [folder / RUN],
        folder / PREDICTIONS,
        world.device,
        mirror=plan.mirrored,
        progress=lambda done, total, case: say(f"predicted [{done}/{total}] {case}"),
    )
    protocol = Protocol(dataset, partial=True)
    (scores,) = evaluate({key: folder / PREDICTIONS}, Path(plan.data[name]), protocol).values()
    write_json(folder / SCORES, scores)
