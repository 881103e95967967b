"""`asa export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    run: Annotated[Path, typer.Argument(help="Run folder, or one checkpoint (with --description).")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Model folder to write; default with --name: a folder among your own models."
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the model; all other facts are taken from the run.")] = "",
    notes: Annotated[str, typer.Option(help="Notes for the card: data, licence, known failures.")] = "",
    description: Annotated[
        Path | None, typer.Option(help="Alternative to --name: JSON with name, task, modalities, data, scores, limits.")
    ] = None,
    card: Annotated[Path | None, typer.Option(help="Model card (Markdown) for --description.")] = None,
    checkpoint: Annotated[str, typer.Option(help="Checkpoint of the run for --description.")] = "best",
    mean_with: Annotated[
        list[Path] | None,
        typer.Option(help="With --description: another run of the same origin; the mean of the weights is exported."),
    ] = None,
) -> None:
    """Create a model from a run: half-precision weights, model.json and a card.

    A model created with only --name is available in 'asa models' and 3D Slicer.

    Examples:

        asa export runs/brats --name my-tumours

        asa export runs/tissue -o Models/tissue --description tissue.json --card CARD.md

        asa export runs/a --mean-with runs/b -o Models/tumour --description tumour.json --checkpoint last
    """
    from asa.errors import InputError
    from asa.files import protect_inputs, read_json
    from asa.models import CARD, DESCRIPTION, WEIGHTS
    from asa.runs.folder import Run
    from asa.training.publishing.card import publish
    from asa.training.publishing.export import export_model

    if description is None:
        if not name:
            raise typer.BadParameter("give the model a --name, or describe it with --description.")
        if mean_with:
            raise typer.BadParameter("--mean-with needs --description, because a run records only itself.")
        typer.echo(f"Model: {publish(run, name, output, notes)}")
        return
    if output is None:
        raise typer.BadParameter("--description needs --output.")
    source, *others = [
        Run(one).checkpoint_path(checkpoint) if one.is_dir() else one for one in (run, *(mean_with or ()))
    ]
    try:
        values = read_json(description)
        text = card.read_text(encoding="utf-8") if card else ""
    except (OSError, ValueError) as error:
        raise InputError(f"The description or card cannot be read: {error}") from error
    given = [description, *([card] if card else [])]
    protect_inputs(given, [output / name for name in (WEIGHTS, DESCRIPTION, CARD)])
    export_model(source, output, values, text, others)
    typer.echo(f"Model: {output}")
