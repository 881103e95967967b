"""`asa settings`."""

from __future__ import annotations

from typing import Annotated, Any

import typer


def command(
    kind: Annotated[str, typer.Argument(help="pretrain or finetune; default: both.")] = "",
    json: Annotated[
        bool, typer.Option("--json", help="Print a JSON list with one object per kind, for forms.")
    ] = False,
) -> None:
    """List every setting of a kind of run: type, bounds, preset values and meaning."""
    from json import dumps

    from asa.errors import InputError
    from asa.training.planning.presets import KINDS
    from asa.training.planning.schema import describe_settings

    if kind and kind not in KINDS:
        raise InputError(f"'{kind}' is not one of {', '.join(KINDS)}.")
    every = [describe_settings(one) for one in KINDS if kind in ("", one)]
    if json:
        typer.echo(dumps(every))
        return
    for found in every:
        _show(found)


def _show(found: dict[str, Any]) -> None:
    from json import dumps

    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Settings of asa {found['kind']}", title_justify="left")
    for heading in ("Setting", *found["presets"], "Unit", "Meaning"):
        table.add_column(heading)
    for row in found["rows"]:
        values = (dumps(values[row["key"]]) if row["key"] in values else "" for values in found["presets"].values())
        meaning = " | ".join(map(str, row["choices"]))
        table.add_row(row["key"], *values, row["unit"], f"{row['help']}{f' ({meaning})' if meaning else ''}")
    Console().print(table)
