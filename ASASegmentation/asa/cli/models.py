"""`asa models`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asa.models import ModelFolder


def command() -> None:
    """List the models that can be used, with what they segment, how well, and their size; then those that cannot.

    The first model of a task is its default. Others are used where --model names them.
    """
    from rich.console import Console
    from rich.table import Table

    from asa.models import better_models, broken_models, hidden_models, list_models

    table = Table(title="Models", title_justify="left")
    for heading in ("Name", "Version", "Task", "Inputs", "Mean Dice", "Size"):
        table.add_column(heading, justify="right" if heading == "Size" else "left", overflow="fold")
    for folder in list_models():
        size = sum(file.stat().st_size for file in folder.path.iterdir() if file.is_file())
        described = folder.description
        table.add_row(
            described.name,
            described.version or "–",
            described.task,
            ", ".join(described.modalities),
            _scores(described.scores),
            f"{size / 1e6:.1f} MB",
        )
    console = Console()
    console.print(table)
    for better in (other for default in _defaults(list_models()) for other in better_models(default)):
        text = f"Not the default: {better.name} reports a higher Dice than the default for {better.task}, perhaps on"
        text += f" other cases. To use it: --model {better.name}."
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    for hidden in hidden_models():
        text = f"Hidden: {hidden.model.path} has the name of {hidden.by.path}. Rename it in its model.json to use it."
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    for broken in broken_models():
        console.print(f"Broken: {broken.path.name}. {broken.problem}", markup=False, highlight=False, soft_wrap=True)


def _defaults(models: Iterable[ModelFolder]) -> list[ModelFolder]:
    """The first model of each task."""
    first: dict[str, ModelFolder] = {}
    for model in models:
        first.setdefault(model.task, model)
    return list(first.values())


def _scores(scores: Mapping[str, Mapping[str, float]]) -> str:
    """Data set -> structure -> mean Dice, one data set a line."""
    lines = (
        f"{data}: " + ", ".join(f"{structure} {_rounded(dice)}" for structure, dice in of_data.items())
        for data, of_data in scores.items()
    )
    return "\n".join(lines) or "–"


def _rounded(dice: float) -> str:
    """Two places, halves up as a reader rounds: 0.835 is 0.84. Models keep four places, so that it is done once."""
    return str(Decimal(str(dice)).quantize(Decimal("0.01"), ROUND_HALF_UP))
