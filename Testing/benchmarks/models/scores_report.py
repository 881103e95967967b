"""The table of :mod:`.scores`: each system beside the first, with paired gains and their bootstrap intervals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any

from Testing.benchmarks.tables import Cell, markdown, provenance

from asa.metrics import summarise
from asa.tasks import TASKS

Record = dict[str, Any]
# A region smaller than this has no mean Dice: a voxel more or less decides it. Empty references are counted apart.
LEAST_ML = {"ET": 1.0}
TITLES = {"t1": "T1", "t1gd": "T1Gd", "t2": "T2", "flair": "FLAIR"}


def name(modalities: Sequence[str]) -> str:
    """The title of a set of modalities."""
    return " + ".join(TITLES[modality] for modality in modalities)


def line(record: Record) -> str:
    """One record on one line."""
    head = f"{record['case']} {name(record['given'])} {record['system']}: "
    if "error" in record:
        return head + record["error"]
    dices = ", ".join(f"{region} {values['dice']:.3f}" for region, values in record["regions"].items())
    return f"{head}{dices} ({record['seconds']:.0f} s)"


def lesion_f1(values: dict[str, float]) -> float:
    """F1 of detection: lesions of the reference that are touched, against components that touch none."""
    hit = values["lesions"] - values["lesions_missed"]
    wrong = values["lesion_false_positives"] + values["lesions_missed"]
    return 1.0 if hit + wrong == 0 else 2 * hit / (2 * hit + wrong)


def measured(record: Record, region: str) -> dict[str, float] | None:
    """What one record says of a region, or None where its reference is too small; a refused case scores 0."""
    if "error" in record:
        return {"dice": 0.0, "f1": 0.0}
    values = record["regions"][region]
    if values["reference_ml"] < LEAST_ML.get(region, 1e-6):
        return None
    return {"dice": values["dice"]} | ({"f1": lesion_f1(values)} if "lesions" in values else {})


def groups(records: Sequence[Record], task: str) -> Iterator[tuple[str, list[Record]]]:
    """Records by what was given; the cases that lack a modality are with those that have it, but also apart."""
    full = tuple(modality.key for modality in TASKS[task].modalities)
    sets = sorted({tuple(record["given"]) for record in records}, key=lambda s: (-len(s), s))
    for given in sets:
        yield name(given), [record for record in records if tuple(record["given"]) == given]
    most: dict[str, int] = {}
    for record in records:
        most[record["case"]] = max(most.get(record["case"], 0), len(record["given"]))
    if len(set(most.values())) > 1:
        yield (
            f"all that a case has of {name(full)}",
            [record for record in records if len(record["given"]) == most[record["case"]]],
        )


def compared(records: Sequence[Record], task: str) -> str:
    """Mean of each metric by system; the gain of the first system over each other with its 95 % interval."""
    systems = list(dict.fromkeys(record["system"] for record in records))
    rows: list[list[Cell]] = []
    for title, group in groups(records, task):
        for region in (one.name for one in TASKS[task].regions):
            found = {
                (record["system"], record["case"]): values
                for record in group
                if (values := measured(record, region)) is not None
            }
            cases = sorted({case for _, case in found})
            shared = [case for case in cases if all((system, case) in found for system in systems)]
            if not shared:
                continue
            for metric in found[systems[0], shared[0]]:
                own = [found[systems[0], case][metric] for case in shared]
                row: list[Cell] = [title, f"{region} {metric.replace('f1', 'lesion F1').replace('dice', 'Dice')}"]
                row += [len(shared), fmean(own)]
                for system in systems[1:]:
                    other = [found[system, case][metric] for case in shared]
                    gain = summarise([a - b for a, b in zip(own, other, strict=True)])
                    row += [fmean(other), f"{gain.mean:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"]
                rows.append(row)
    header = ["given", "metric", "cases", systems[0]]
    for system in systems[1:]:
        header += [system, f"gain over {system} (95 %)"]
    return markdown(header, rows)


def case_by_case(records: Sequence[Record], task: str) -> str:
    """Dice and volumes of each case, system and set of images."""
    regions = [region.name for region in TASKS[task].regions]
    rows: list[list[Cell]] = []
    for record in sorted(records, key=lambda r: (-len(r["given"]), r["given"], r["case"])):
        row: list[Cell] = [record["case"], name(record["given"]), record["system"]]
        if "error" in record:
            rows.append([*row, *("refused" for _ in range(2 * len(regions))), ""])
            continue
        for region in regions:
            values = record["regions"][region]
            row.append(f"{values['dice']:.3f}" if values["reference_ml"] > 0 else "none there")
            row.append(f"{values['volume_ml']:.1f} / {values['reference_ml']:.1f}")
        rows.append([*row, "doubtful" if record["doubts"] else "ok"])
    columns = (text for region in regions for text in (f"Dice {region}", f"{region} mL found / true"))
    return markdown(["case", "given", "system", *columns, "trust"], rows)


def table(records: Sequence[Record], task: str, part: str) -> str:
    """The whole page."""
    named = [region.name for region in TASKS[task].regions]
    small = "".join(f" (and {name} of less than {least:g} mL)" for name, least in LEAST_ML.items() if name in named)
    parts = [
        f"# Task `{task}`: the {part} part of its split",
        (
            "Whole segmentations, scored on the grid of the reference labels. Regions that a reference lacks"
            f"{small} are excluded from the means and listed below; a rejected case counts as 0. Interval: percentile "
            f"bootstrap over the cases. `python -m Testing.benchmarks.models.scores`; "
            f"{provenance('torch')}."
        ),
        compared(records, task),
        "## Results per case",
        case_by_case(records, task),
    ]
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"
