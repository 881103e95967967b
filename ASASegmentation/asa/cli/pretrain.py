"""`asa pretrain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asa.cli._training import BudgetMinutes, Device, Queue, Threads


def command(
    settings: Annotated[Path, typer.Argument(help="Settings (YAML); see Resources/Configs/pretrain_paper.yaml.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Run folder; an interrupted run is resumed.")],
    store: Annotated[Path | None, typer.Option(help="Scan store; overrides the settings.")] = None,
    heads: Annotated[
        Path | None, typer.Option(help="Folder of label maps from which a share of the scans is synthesised.")
    ] = None,
    device: Device = "auto",
    threads: Threads = 0,
    queue: Queue = False,
    budget_minutes: BudgetMinutes = None,
) -> None:
    """Pre-train an encoder on unlabelled scans.

    Ctrl-C finishes the step, writes a checkpoint and stops; the same command resumes the run, also after a crash.
    With torchrun it runs on several devices and machines, with the same global batch size.

    Examples:

        asa pretrain Resources/Configs/pretrain_starter.yaml --store store -o runs/starter

        torchrun --nproc-per-node 8 -m asa pretrain Resources/Configs/pretrain_paper.yaml -o runs/paper
    """
    from asa.training.pretraining.pretrain import pretrain
    from asa.training.pretraining.settings import PretrainSettings
    from asa.training.session import session
    from asa.training.settings import read_settings

    values = read_settings(settings, PretrainSettings)
    if store is not None:
        values.store = str(store)
    if heads is not None:
        values.heads = str(heads)
    if budget_minutes is not None:
        values.schedule.budget_minutes = budget_minutes
    with session(output, device, threads=threads, queue=queue) as world:
        pretrain(values, output, world)
