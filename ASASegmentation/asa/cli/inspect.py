"""`asa inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    model: Annotated[Path, typer.Argument(help="Pre-training run, one of its checkpoints, or a model made of it.")],
    *,
    image: Annotated[Path, typer.Option(help="T1-weighted scan.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")] = Path("inspect"),
    stripped: Annotated[bool, typer.Option("--stripped", help="The scan is stripped already.")] = False,
    align: Annotated[bool, typer.Option("--align/--aligned", help="Align to MNI152, or trust that it is.")] = True,
    seed: Annotated[int, typer.Option(min=0, help="Decides what is hidden.")] = 0,
) -> None:
    """Show what a pre-trained auto-encoder holds important in a scan, and how it fills in what is hidden from it.

    Writes inspect.png (input, VHOG importance, what was hidden, reconstruction and error in three planes),
    inspect.json, and each of these as NIfTI in the scan's own grid.
    """
    from asa.data.stripping import AlreadyStripped, Stripper
    from asa.inference.stripping import TissueModel
    from asa.report.inspect import PICTURE, Inspection, inspect

    stripper: Stripper = AlreadyStripped() if stripped else TissueModel()
    inspect(Inspection(model, image, stripper, seed, align), output)
    typer.echo(f"Picture: {(output / PICTURE).resolve()}")
