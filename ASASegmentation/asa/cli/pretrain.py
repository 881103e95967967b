"""`asa pretrain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    settings: Annotated[Path, typer.Argument(help="Settings (YAML); see Resources/Configs/pretrain_paper.yaml.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Run folder; an interrupted run is resumed.")],
    store: Annotated[Path | None, typer.Option(help="Scan store; overrides the settings.")] = None,
    heads: Annotated[
        Path | None, typer.Option(help="Folder of label maps from which a share of the scans is synthesised.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 uses PyTorch's default.")] = 0,
    queue: Annotated[bool, typer.Option("--queue", help="Wait for runs queued earlier on this device.")] = False,
    budget_minutes: Annotated[
        float | None,
        typer.Option(min=0, help="End within this time: steps and schedule are shortened to fit.", show_default=False),
    ] = None,
) -> None:
    """Pre-train an encoder on unlabelled scans.

    Ctrl-C finishes the step, writes a checkpoint and stops; the same command resumes the run, also after a crash.
    With torchrun in front it runs on several devices and machines, with the same global batch.

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
