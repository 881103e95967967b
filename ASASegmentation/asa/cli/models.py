"""`asa models`."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal


def command() -> None:
    """List the models that can be used, with what they segment, how well, and their size; then those that cannot."""
    from rich.console import Console
    from rich.table import Table

    from asa.models import broken_models, list_models

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
    for broken in broken_models():
        console.print(f"Broken: {broken.path.name}. {broken.problem}", markup=False, highlight=False, soft_wrap=True)


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
