"""`asa devices`."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    json: Annotated[bool, typer.Option("--json", help="Print a JSON list with memory in bytes.")] = False,
) -> None:
    """List the training devices, their free memory, and their running and queued runs."""
    import dataclasses
    from json import dumps

    from asa.runs.devices import list_devices

    devices = list_devices()
    if json:
        typer.echo(dumps([dataclasses.asdict(device) for device in devices], default=str))
        return
    for device in devices:
        taken = ", ".join(run.name for run in device.runs) or "free"
        memory = f"{device.free / 1e9:.1f} of {device.total / 1e9:.1f} GB free"
        typer.echo(f"{device.name:8}{device.title}: {memory}; {taken}")
