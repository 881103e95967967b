"""The reference of the settings files, from the models that check them."""

from __future__ import annotations

import json
from typing import Any

from asa.training.planning.presets import KINDS
from asa.training.planning.schema import Row, flat_rows
from asa.training.synthetic.lesion_settings import LesionSettings
from asa.training.synthetic.tissue import TissueSettings

INTRODUCTION = """\
# Settings

Made from the models that check a settings file; `asa settings` shows the same, with the values of the presets. A dotted
name stands for nesting: `optimisation.lr` is the line `lr` under `optimisation:`. Unknown names and values that do not
fit are refused before a run starts. Paths may begin with `${ASA_DATA}`, see
[where to get the data sets](../how-to/data-sets.md).
"""


def page() -> str:
    """The page in Markdown."""
    return "\n\n".join([INTRODUCTION, *(section(title, model) for title, model in kinds().items())]) + "\n"


def kinds() -> dict[str, Any]:
    """Command and its settings, those of ``asa train`` by task."""
    named = {f"asa {kind}": model for kind, model in KINDS.items()}
    return {**named, "asa train (tissue)": TissueSettings, "asa train (tumour, wmh)": LesionSettings}


def section(title: str, model: Any) -> str:
    """The settings of one command."""
    rows = [f"| `{row.key}` | {value(row)} | {default(row, model)} | {row.help} |" for row in flat_rows(model)]
    return "\n".join([f"## {title}", "", "| setting | value | default | meaning |", "|---|---|---|---|", *rows])


def value(row: Row) -> str:
    """What may be given."""
    if row.choices:
        return ", ".join(f"`{choice}`" for choice in row.choices)
    kind = {"integers": "integers", "numbers": "numbers", "object": "any"}.get(row.type, row.type)
    text = f"{row.length} {kind}" if row.length else kind
    if row.minimum is not None:
        text += f", {'&gt;' if row.open_below else '&ge;'} {row.minimum:g}"
    if row.maximum is not None:
        text += f", {'&lt;' if row.open_above else '&le;'} {row.maximum:g}"
    return f"{text}, {row.unit}" if row.unit else text


def default(row: Row, model: Any) -> str:
    """The value of a setting that is not given."""
    if row.required:
        return "required"
    found: Any = model
    for part in row.key.split("."):
        if isinstance(found, type):
            found = found.model_fields[part].get_default(call_default_factory=True)
        else:
            found = getattr(found, part)
    if isinstance(found, tuple):
        found = list(found)
    return "" if found in (None, "") else f"`{json.dumps(found)}`"
