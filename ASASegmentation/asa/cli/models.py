"""`asa models`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING

import typer

from asa.errors import one_line

if TYPE_CHECKING:
    from asa.models import ModelFolder


def command() -> None:
    """List the models that can be used, with what they segment, how well, and their size; then those that cannot.

    The first model listed for a task is its default. To use another one, name it with --model.
    """
    import shutil
    import textwrap

    from asa.models import better_models, broken_models, hidden_models, list_models

    width = shutil.get_terminal_size().columns

    def write(text: str, indent: str = "") -> None:
        typer.echo(textwrap.fill(text, width, initial_indent=indent, subsequent_indent=indent))

    for folder in list_models():
        described = folder.description
        version = f" {described.version}" if described.version else ""
        write(f"{described.name}{version} ({described.task}, {folder.size / 1e6:.1f} MB)")
        write(_inputs(folder), "  ")
        if described.scores:
            write("Mean Dice:", "  ")
        for line in _scores(described.scores):
            write(line, "    ")
    for better in (other for default in _defaults(list_models()) for other in better_models(default)):
        text = f"Not the default: {better.name} reports a higher Dice than the default for {better.task}, perhaps on"
        write(f"{text} other cases. To use it: --model {better.name}.")
    for hidden in hidden_models():
        taken = f"Hidden: {one_line(str(hidden.model.path))} has the name of {one_line(str(hidden.by.path))}."
        write(f"{taken} Rename it in its model.json to use it.")
    for broken in broken_models():
        write(f"Broken: {one_line(broken.path.name)}. {broken.problem}")


def _defaults(models: Iterable[ModelFolder]) -> list[ModelFolder]:
    """The first model of each task."""
    first: dict[str, ModelFolder] = {}
    for model in models:
        first.setdefault(model.task, model)
    return list(first.values())


def _inputs(folder: ModelFolder) -> str:
    """What a model must be given, and what it can use besides."""
    optional = [key for key in folder.modalities if key not in folder.required]
    if not folder.required:
        return f"Inputs: one or more of {', '.join(optional)}"
    return f"Inputs: {', '.join(folder.required)}" + (f"; optional: {', '.join(optional)}" if optional else "")


def _scores(scores: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Data set -> structure -> mean Dice, one data set a line."""
    return [
        f"{data}: " + ", ".join(f"{structure} {_rounded(dice)}" for structure, dice in of_data.items())
        for data, of_data in scores.items()
    ]


def _rounded(dice: float) -> str:
    """Two places, halves up as a reader rounds: 0.835 is 0.84. Models keep four places, so that it is done once."""
    return str(Decimal(str(dice)).quantize(Decimal("0.01"), ROUND_HALF_UP))
