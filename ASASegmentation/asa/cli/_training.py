"""Options that the training commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Threads = Annotated[int, typer.Option(min=0, help="CPU threads; 0 uses PyTorch's default.")]
Queue = Annotated[bool, typer.Option("--queue", help="Wait for runs queued earlier on this device.")]
BudgetMinutes = Annotated[
    float | None,
    typer.Option(min=0, help="End within this time: steps and schedule are shortened to fit.", show_default=False),
]
