"""`asa import-weights`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    weights: Annotated[Path, typer.Argument(help="Checkpoint of the authors: of pre-training, or of segmentation.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="New folder, for asa finetune --init.")],
) -> None:
    """Import the encoder from the weights that the authors of ASA distribute, for fine-tuning.

    The file is read as plain data; a file that would have to run code is refused. The encoder keeps the options that
    reproduce the authors' code (two softmaxes, their position codes).

    Examples:

        asa import-weights checkpoint-199.pth -o runs/authors

        asa finetune Resources/Configs/finetune_paper.yaml --store brats --init runs/authors -o runs/brats
    """
    from asa.training.pretraining.foreign import import_weights

    config = import_weights(weights, output)
    typer.echo(
        f"Encoder with {config.depth} blocks of width {config.dim}, {config.in_channels} channel(s), patches of "
        f"{config.patch}: {output.resolve()}"
    )
