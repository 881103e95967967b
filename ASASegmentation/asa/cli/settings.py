"""`asa settings`."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    kind: Annotated[str, typer.Argument(help="pretrain or finetune.")],
    json: Annotated[bool, typer.Option("--json", help="One JSON object, for forms.")] = False,
) -> None:
    """List every setting of a kind of run: its type, bounds, the values of the presets, and what it means."""
    from json import dumps

    from rich.console import Console
    from rich.table import Table

    from asa.errors import InputError
    from asa.training.presets import KINDS
    from asa.training.schema import describe_settings

    if kind not in KINDS:
        raise InputError(f"'{kind}' is neither of {', '.join(KINDS)}")
    found = describe_settings(kind)
    if json:
        typer.echo(dumps(found))
        return
    table = Table(title=f"Settings of asa {kind}", title_justify="left")
    for heading in ("Setting", *found["presets"], "Unit", "Meaning"):
        table.add_column(heading)
    for row in found["rows"]:
        values = (dumps(values[row["key"]]) if row["key"] in values else "" for values in found["presets"].values())
        meaning = " | ".join(map(str, row["choices"]))
        table.add_row(row["key"], *values, row["unit"], f"{row['help']}{f' ({meaning})' if meaning else ''}")
    Console().print(table)
