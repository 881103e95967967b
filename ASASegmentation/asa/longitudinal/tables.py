"""Tables of a comparison, and its changes in one line each."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from asa.files import write_text
from asa.longitudinal.lesions import LesionChange
from asa.longitudinal.volumes import Change


def sentence(row: Change) -> str:
    """Return a change in one line."""
    percent = "" if row.change_percent is None else f" ({row.change_percent:+.1f} %)"
    noise = "" if row.noise_percent is None else f", noise {row.noise_percent:.1f} %"
    volumes = f"{row.first_ml:.1f} -> {row.second_ml:.1f} mL"
    return f"{row.title}: {volumes}, {row.change_ml:+.1f} mL{percent}{noise}: {row.verdict}"


def write_changes(path: Path, rows: Sequence[Change]) -> None:
    """Write the changes of volumes as a table; mL to 0.0001, percentages to 0.01."""
    _write_table(path, [rounded(asdict(row)) for row in rows])


def write_lesions(path: Path, rows: Sequence[LesionChange]) -> None:
    """Write the change of each lesion as a table; without lesions, only the heading."""
    names = ["number", "state", "first_ml", "second_ml", "change_ml", "right_mm", "anterior_mm", "superior_mm"]
    tables = []
    for row in rows:
        place = [round(x, 1) for x in row.centre_mm]
        volumes = [round(x, 4) for x in (row.first_ml, row.second_ml, row.change_ml)]
        tables.append(dict(zip(names, [row.number, row.state, *volumes, *place], strict=True)))
    _write_table(path, tables, names)


def _write_table(path: Path, rows: Sequence[Mapping[str, Any]], names: Sequence[str] = ()) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(names or rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def rounded(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with its mL to 0.0001 and its percentages to 0.01."""
    digits = {key: 2 if key.endswith("percent") else 4 for key, value in row.items() if isinstance(value, float)}
    return {key: round(value, digits[key]) if key in digits else value for key, value in row.items()}
