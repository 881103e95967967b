"""`asa finetune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asa.cli._training import BudgetMinutes, Device, Queue, Threads


def command(
    settings: Annotated[Path, typer.Argument(help="Settings (YAML); see Resources/Configs/finetune_paper.yaml.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Run folder; an interrupted run is resumed.")],
    store: Annotated[Path | None, typer.Option(help="Case store; overrides the settings.")] = None,
    init: Annotated[Path | None, typer.Option(help="Pre-training run; overrides the settings.")] = None,
    device: Device = "auto",
    threads: Threads = 0,
    queue: Queue = False,
    budget_minutes: BudgetMinutes = None,
) -> None:
    """Train a segmentation network on labelled cases, from a pre-trained encoder or from scratch.

    Ctrl-C finishes the step, writes a checkpoint and stops; the same command resumes the run, also after a crash.
    With torchrun it runs on several devices and machines, with the same global batch size.

    Examples:

        asa finetune Resources/Configs/finetune_paper.yaml --store brats --init runs/pretrained -o runs/brats

        torchrun --nproc-per-node 8 -m asa finetune settings.yaml -o runs/brats
    """
    from asa.training.finetuning.finetune import finetune
    from asa.training.finetuning.settings import FinetuneSettings
    from asa.training.session import session
    from asa.training.settings import read_settings

    values = read_settings(settings, FinetuneSettings)
    if store is not None:
        values.store = str(store)
    if init is not None:
        values.init = str(init)
    if budget_minutes is not None:
        values.schedule.budget_minutes = budget_minutes
    with session(output, device, threads=threads, queue=queue) as world:
        finetune(values, output, world)
