"""`asa train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asa.cli._training import BudgetMinutes, Device, Threads


def command(
    settings: Annotated[Path, typer.Argument(help="Settings (YAML); see Resources/Configs.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Run folder; an interrupted run is resumed.")],
    device: Device = "auto",
    threads: Threads = 0,
    budget_minutes: BudgetMinutes = None,
) -> None:
    """Train a model on heads synthesised from label maps: of tissue, or of the ``task`` named in the settings.

    Ctrl-C finishes the step, writes a checkpoint and stops; the same command resumes the run. With torchrun it
    runs on several devices.
    """
    from asa.training.session import session
    from asa.training.settings import names_task, read_settings
    from asa.training.synthetic.lesion_settings import LesionSettings
    from asa.training.synthetic.lesions import train_lesions
    from asa.training.synthetic.tissue import TissueSettings, train_tissue

    if names_task(settings):
        lesions = read_settings(settings, LesionSettings)
        if budget_minutes is not None:
            lesions.schedule.budget_minutes = budget_minutes
        with session(output, device, threads=threads) as world:
            train_lesions(lesions, output, world)
        return
    tissue = read_settings(settings, TissueSettings)
    if budget_minutes is not None:
        tissue.schedule.budget_minutes = budget_minutes
    with session(output, device, threads=threads) as world:
        train_tissue(tissue, output, world)
