"""`asa export`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def command(
    run: Annotated[Path, typer.Argument(help="Run folder, or one checkpoint.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Model folder to write.")],
    description: Annotated[Path, typer.Option(help="JSON with name, task, modalities, data, scores, limits.")],
    card: Annotated[Path | None, typer.Option(help="Model card (Markdown).")] = None,
    checkpoint: Annotated[str, typer.Option(help="Which checkpoint of the run: last or best.")] = "best",
) -> None:
    """Make a model of a finished run: half-precision weights, model.json and a card."""
    from asa.errors import InputError
    from asa.training.export import export_model
    from asa.training.run import Run

    source = Run(run).checkpoint_path(checkpoint) if run.is_dir() else run
    try:
        values = json.loads(description.read_text(encoding="utf-8"))
        text = card.read_text(encoding="utf-8") if card else ""
    except (OSError, ValueError) as error:
        raise InputError(f"the description or card cannot be read: {error}") from error
    export_model(source, output, values, text)
    typer.echo(f"Model: {output}")
