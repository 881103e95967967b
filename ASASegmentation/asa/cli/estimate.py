"""`asa estimate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    kind: Annotated[str, typer.Argument(help="pretrain or finetune.")],
    settings: Annotated[Path, typer.Argument(help="Settings (YAML).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Intended run folder.")],
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 uses PyTorch's default.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object in bytes and seconds.")] = False,
) -> None:
    """Estimate the memory, time and disk space of a run with a short benchmark; nothing is written."""
    import dataclasses
    from json import dumps

    from asa.devices import set_threads
    from asa.errors import InputError
    from asa.training.planning.estimate import GB, estimate
    from asa.training.planning.presets import KINDS
    from asa.training.settings import read_settings

    if kind not in KINDS:
        raise InputError(f"'{kind}' is not one of {', '.join(KINDS)}.")
    if threads:
        set_threads(threads)
    found = estimate(read_settings(settings, KINDS[kind]), output, device)
    if json:
        typer.echo(dumps(dataclasses.asdict(found)))
        return
    typer.echo(f"{found.parameters / 1e6:.1f} M parameters, {found.samples} training samples, {found.steps} steps")
    typer.echo(f"memory  about {found.memory / GB:.1f} GB on {found.device}")
    typer.echo(f"time    about {found.step_seconds:.2f} s per step, {found.epoch_seconds:.0f} s per epoch, "
               f"{found.seconds / 3600:.1f} h in total")  # fmt: skip
    typer.echo(f"disk    about {found.disk / GB:.2f} GB, {found.free_disk / GB:.1f} GB free")
    for warning in found.warnings:
        typer.echo(f"Warning: {warning}", err=True)
