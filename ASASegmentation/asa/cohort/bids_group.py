"""Group level of the BIDS App: one table with a row per scan."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asa.cohort.bids_app import RESULTS, label_of, word
from asa.errors import InputError
from asa.files import read_json, write_json, write_text
from asa.tasks import TASKS, Task


def group(output: Path) -> Path:
    """Write group_<task>.tsv, one row per scan, from the results in the derivatives, and the meaning of its columns.

    Args:
        output: the derivatives, after the participant level.

    Returns:
        The table.

    Raises:
        InputError: there are no results.
    """
    reports = []
    for path in sorted((output / RESULTS).glob("*/report.json")):
        try:
            report = read_json(path)
            reports.append((path.parent.name, report, _row(path.parent.name, report)))
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            raise InputError(f"{path} is damaged; run the participant level again.") from None
    if not reports:
        raise InputError(f"{output} holds no results; run the participant level first.")
    task = TASKS[reports[0][1]["task"]]
    names = list(dict.fromkeys(name for _, _, row in reports for name in row))
    lines = ["\t".join(names)]
    lines += ["\t".join(row.get(name, "n/a") for name in names) for _, _, row in reports]
    table = output / f"group_{task.name}.tsv"
    write_text(table, "\n".join(lines) + "\n")
    write_json(table.with_suffix(".json"), {name: {"Description": _meaning(name, task)} for name in names})
    return table


def _row(name: str, report: Mapping[str, Any]) -> dict[str, str]:
    """Return the row of one result; what is not known is n/a, as in every table of BIDS."""

    def shown(value: object) -> str:
        return "n/a" if value is None or value == "" else re.sub(r"\s+", " ", str(value))

    row = {
        "participant_id": f"sub-{label_of(name, 'sub')}",
        "session_id": f"ses-{label}" if (label := label_of(name, "ses")) else "n/a",
        "model": f"{report['model']['name']} {report['model']['version']}",
        "reference": report["reference"],
        "modalities": " ".join(report["inputs"]),
        "trust": report["trust"]["verdict"],
        "reasons": shown(" ".join(report["trust"]["reasons"])),
        "warnings": str(len(report["warnings"])),
        "alignment_quality": shown(report["alignment"]["quality"]),
        "brain_ml": shown(report["brain_ml"]),
        "intracranial_ml": shown(intracranial := _intracranial(report)),
    }
    for measured in report["volumes"]:
        if measured["kind"] == "brain":
            continue
        column = word(measured["name"])
        row[f"{column}_ml"] = shown(measured["volume_ml"])
        row[f"{column}_left_ml"], row[f"{column}_right_ml"] = shown(measured["left_ml"]), shown(measured["right_ml"])
        row[f"{column}_asymmetry_percent"] = shown(measured["asymmetry_percent"])
        share = round(100 * measured["volume_ml"] / intracranial, 2) if intracranial else None
        row[f"{column}_intracranial_percent"] = shown(share)
    return row


def _intracranial(report: Mapping[str, Any]) -> float | None:
    """Return the volume in mL of all labels, if they make up brain and CSF, otherwise that of the brain mask."""
    if not any(label.in_brain for label in TASKS[report["task"]].labels):
        return float(report["brain_ml"]) if report["brain_ml"] else None
    return round(sum(float(row["volume_ml"]) for row in report["volumes"] if row["kind"] == "label"), 3)


def _meaning(column: str, task: Task) -> str:
    known = {
        "participant_id": "The participant",
        "session_id": "The session",
        "model": "Name and version of the model",
        "reference": "Modality on whose grid the label map lies",
        "modalities": "Modalities used by the model",
        "trust": "ok, or doubtful: review before use",
        "reasons": "Why it is doubtful",
        "warnings": "Number of warnings in report.json",
        "alignment_quality": "Share of the intensity variance that the atlas explains, 0 to 1",
        "brain_ml": "Volume of the brain mask in mL",
        "intracranial_ml": "Volume of the brain and all CSF in mL; where CSF is not labelled, of the brain mask",
    }
    titles = {word(one.name): one.title for one in task.labels} | {word(one.name): one.title for one in task.regions}
    measured, _, what = column.partition("_")
    quantities = {
        "ml": "volume in mL",
        "left_ml": "volume on the left in mL",
        "right_ml": "volume on the right in mL",
        "asymmetry_percent": "100 (L - R) / ((L + R) / 2)",
        "intracranial_percent": "volume in percent of intracranial_ml",
    }
    return known.get(column) or f"{titles.get(measured, 'Brain')}: {quantities.get(what, what)}"
