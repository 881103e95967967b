"""Settings schema for forms: one flat row per value, derived from the settings model."""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Any

from pydantic import TypeAdapter

from asa.data.datasets import DATASETS
from asa.runs.setting_row import Row
from asa.training.planning.presets import KINDS, PRESETS, preset
from asa.training.settings import Settings

_TYPES = {"boolean", "integer", "number", "string"}


def describe_settings(kind: str) -> dict[str, Any]:
    """JSON for a form: ``rows`` of a kind of run, ``presets`` (name -> key -> value), and for fine-tuning the data sets
    that can be prepared."""
    model = KINDS[kind]
    rows = flat_rows(model)
    names = [row.key for row in rows]
    presets = {}
    for name in PRESETS[kind]:
        values = preset(kind, name).model_dump(mode="json")
        presets[name] = {key: _at(values, key) for key in names if key != "store"}
    known = DATASETS.values() if kind == "finetune" else ()
    datasets = [{"name": one.name, "title": one.title, "task": one.task} for one in known]
    return {"kind": kind, "rows": [dataclasses.asdict(row) for row in rows], "presets": presets, "datasets": datasets}


def flat_rows(model: type[Settings]) -> list[Row]:
    """Return every setting of a model, those of models within it too, in their order."""
    schema = TypeAdapter(model).json_schema()
    return list(_rows(schema, schema, "", _docs(model)))


def _rows(schema: dict[str, Any], whole: dict[str, Any], prefix: str, docs: dict[str, str]) -> list[Row]:
    found: list[Row] = []
    for name, about in schema["properties"].items():
        inner = _resolved(about, whole)
        if "properties" in inner:
            found += _rows(inner, whole, f"{prefix}{name}.", {**docs, **_attributes(inner.get("description", ""))})
            continue
        required = name in schema.get("required", ())
        found.append(_row(f"{prefix}{name}", inner, whole, required, docs.get(name, "")))
    return found


def _row(key: str, about: dict[str, Any], whole: dict[str, Any], required: bool, doc: str) -> Row:
    options = [_resolved(option, whole) for option in about.get("anyOf", [about])]
    real = [option for option in options if option.get("type") != "null"]
    value = real[0]
    nullable = len(real) < len(options)
    common: dict[str, Any] = {
        "nullable": nullable,
        "required": required,
        "unit": about.get("unit", ""),
        "help": about.get("description") or doc,
    }
    if "enum" in value or "const" in value:
        return Row(key, "choice", choices=tuple(value.get("enum", [value.get("const")])), **common)
    if value.get("type") == "array":
        items = value.get("prefixItems") or [value.get("items", {})]
        kind = "integers" if items[0].get("type") == "integer" else "numbers"
        return Row(key, kind, length=len(items), **common)
    if value.get("type") not in _TYPES:
        return Row(key, "object", **common)
    low, high = value.get("exclusiveMinimum"), value.get("exclusiveMaximum")
    return Row(
        key,
        value["type"],
        minimum=low if low is not None else value.get("minimum"),
        maximum=high if high is not None else value.get("maximum"),
        open_below=low is not None,
        open_above=high is not None,
        **common,
    )


def _resolved(about: dict[str, Any], whole: dict[str, Any]) -> dict[str, Any]:
    """Resolve a schema reference, including sibling keywords."""
    if "$ref" not in about:
        return about
    name = about["$ref"].rsplit("/", 1)[1]
    return {**whole["$defs"][name], **{key: value for key, value in about.items() if key != "$ref"}}


def _docs(model: type[Settings]) -> dict[str, str]:
    """Field -> help, from the docstrings of the plain dataclasses among the fields, which have no other."""
    found: dict[str, str] = {}
    for field in model.model_fields.values():
        if dataclasses.is_dataclass(field.annotation):
            found |= _attributes(inspect.getdoc(field.annotation) or "")
    return found


def _attributes(doc: str) -> dict[str, str]:
    """Name -> sentence, of the lines ``name: sentence`` of a docstring."""
    pairs = re.findall(r"^ *(\w+): (.+(?:\n {8,}.+)*)$", doc, re.MULTILINE)
    return {name: re.sub(r"\s+", " ", text) for name, text in pairs}


def _at(values: dict[str, Any], key: str) -> Any:
    for part in key.split("."):
        values = values[part]
    return values
