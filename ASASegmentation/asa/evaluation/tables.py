"""Result tables of an evaluation: per-case CSV, summary as JSON and as Markdown."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from asa.evaluation.evaluate import Hausdorff, Protocol, Scores, rows, values_of
from asa.files import protect_inputs, protect_others, read_json, write_json, write_text
from asa.metrics import compare, summarise

SCHEMA = 1
FILES = TABLE, SUMMARY, PAGE = "cases.csv", "summary.json", "summary.md"
# metric -> heading, decimals; the others are in the CSV and in the JSON
SHOWN = {
    "dice": ("Dice", 3),
    "hd95_mm": ("HD95 (mm)", 2),
    "hd95_pooled_mm": ("HD95, pooled (mm)", 2),
    "nsd": ("NSD", 3),
    "volume_error_ml": ("Volume error (mL)", 2),
}
LESION_SHOWN = {"lesion_dice": ("Lesion-wise Dice", 3), "lesion_hd95_mm": ("Lesion-wise HD95 (mm)", 2)}
COMPARED: dict[Hausdorff, tuple[str, str]] = {"maximum": ("dice", "hd95_mm"), "pooled": ("dice", "hd95_pooled_mm")}
CONVENTION = (
    "HD95 is the larger of the two directed 95th percentiles; pooled, as published scripts have it, the 95th "
    "percentile of both directed distances together. "
    "Reference and prediction both empty: Dice 1, HD95 0. Exactly one empty: Dice 0, HD95 the diagonal of the image; "
    "the number of such cases is given with every mean. Intervals are 95 % bootstrap intervals of the mean."
)

Summary = dict[str, Any]


def summary(
    scores: Mapping[str, Mapping[str, Scores]],
    protocol: Protocol,
    calibration: Mapping[str, Mapping[str, Any]] | None = None,
) -> Summary:
    """Return all systems, regions and metrics, and the paired comparison of the first system with each other one.

    ``calibration``: of the systems that say how well calibrated they are, what :func:`read_calibration` found.
    """
    systems = {
        system: {region: _region_summary(cases, region) for region in protocol.regions}
        for system, cases in scores.items()
    }
    first = next(iter(scores))
    comparisons = {
        region: {
            metric: [
                dataclasses.asdict(one)
                for one in compare({s: values_of(c, region, metric) for s, c in scores.items()}, first)
            ]
            for metric in COMPARED[protocol.hausdorff]
        }
        for region in protocol.regions
    }
    return {
        "schema_version": SCHEMA,
        "dataset": protocol.dataset.name,
        "task": protocol.dataset.task,
        "cases": len(scores[first]),
        "surface_tolerance_mm": protocol.tolerance_mm,
        "convention": CONVENTION,
        "systems": systems,
        "compared_with": first,
        "comparisons": comparisons if len(scores) > 1 else {},
        "calibration": dict(calibration or {}),
    }


def read_calibration(predictions: Path) -> Summary | None:
    """Return the calibration that ``asa predict`` wrote next to its predictions; None if missing."""
    try:
        found = read_json(predictions / "prediction.json")
        return {key: found[key] for key in ("expected_calibration_error", "temperature", "members")}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _region_summary(cases: Mapping[str, Scores], region: str) -> Summary:
    measured = [regions[region] for regions in cases.values()]
    metrics = [metric for metric in measured[0] if metric != "one_empty"]
    return {
        "one_empty": sum(int(m["one_empty"]) for m in measured),
        "both_empty": sum(m["volume_ml"] == 0 and m["reference_ml"] == 0 for m in measured),
        **{metric: dataclasses.asdict(summarise([m[metric] for m in measured])) for metric in metrics},
    }


def markdown(found: Summary) -> str:
    """Return the tables as Markdown."""
    systems = found["systems"]
    regions = list(next(iter(systems.values())))
    lesionwise = "lesion_dice" in systems[found["compared_with"]][regions[0]]
    shown = {**SHOWN, **(LESION_SHOWN if lesionwise else {})}
    lines = [
        f"# Evaluation on {found['dataset']}, {found['cases']} cases",
        "",
        "Mean ± SD (median) [interval].",
        "",
        "| system | region | " + " | ".join(heading for heading, _ in shown.values()) + " | one empty | both empty |",
        "|---|---|" + "---|" * len(shown) + "---:|---:|",
    ]
    for system, by_region in systems.items():
        for region, values in by_region.items():
            cells = [_cell(values[metric], digits) for metric, (_, digits) in shown.items()]
            cells += [str(values["one_empty"]), str(values["both_empty"])]
            lines.append(f"| {system} | {region} | " + " | ".join(cells) + " |")
    if found["comparisons"]:
        lines += [
            "",
            f"## {found['compared_with']} against the others (Wilcoxon signed-rank, Holm over systems)",
            "",
            "| region | metric | system | mean difference | p | p (Holm) |",
            "|---|---|---|---:|---:|---:|",
        ]
        for region, metrics in found["comparisons"].items():
            for metric, others in metrics.items():
                heading, digits = SHOWN[metric]
                lines += [
                    f"| {region} | {heading} | {o['system']} | {o['difference']:+.{digits}f} | "
                    f"{_probability(o['p'])} | {_probability(o['p_holm'])} |"
                    for o in others
                ]
    if found["calibration"]:
        lines += [
            "",
            "## Calibration around what is labelled or predicted (8 mm), in the brain frame",
            "",
            "| system | expected calibration error | temperature | networks |",
            "|---|---:|---:|---:|",
        ]
        lines += [
            f"| {system} | {c['expected_calibration_error']:.4f} | {c['temperature']:.2f} | {c['members']} |"
            for system, c in found["calibration"].items()
        ]
    return "\n".join([*lines, "", found["convention"], ""])


def _cell(values: Mapping[str, float], digits: int) -> str:
    mean, sd, median, low, high = (f"{values[key]:.{digits}f}" for key in ("mean", "sd", "median", "low", "high"))
    return f"{mean} ± {sd} ({median}) [{low}, {high}]"


def _probability(p: float) -> str:
    return "< 0.0001" if p < 1e-4 else f"{p:.4f}"


def protect_evaluation(folder: Path, inputs: Iterable[Path]) -> None:
    """Refuse a folder in which the tables would replace an input (a CSV of cases), or files that no evaluation wrote.

    Raises:
        OutputError: a file is in the way.
    """
    outputs = [folder / name for name in FILES]
    protect_inputs(inputs, outputs)
    try:
        before = read_json(folder / SUMMARY)
        ours = before["schema_version"] and before["systems"] and before["convention"]
    except (OSError, ValueError, LookupError, TypeError):
        ours = ""
    if not ours:
        protect_others(outputs)


def write_evaluation(folder: Path, scores: Mapping[str, Mapping[str, Scores]], found: Summary) -> None:
    """Write cases.csv, summary.json and summary.md.

    Raises:
        OutputError: no room or no permission.
    """
    text = io.StringIO()
    header, table = rows(scores)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([f"{cell:.6g}" if isinstance(cell, float) else cell for cell in row] for row in table)
    write_json(folder / SUMMARY, found)  # first: it tells whose the others are
    write_text(folder / TABLE, text.getvalue())
    write_text(folder / PAGE, markdown(found))
