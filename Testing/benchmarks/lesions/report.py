"""The tables of the lesion models, from records of :mod:`.scoring`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from Testing.benchmarks.lesions.scoring import Record
from Testing.benchmarks.tables import Cell, markdown, provenance

from asa.tasks import TASKS

TITLES = {"t1": "T1", "t1gd": "T1Gd", "t2": "T2", "flair": "FLAIR"}


def name(modalities: Sequence[str]) -> str:
    """A subset as a person reads it."""
    return " + ".join(TITLES[m] for m in modalities)


def line(record: Record) -> str:
    """One record on one line."""
    dices = ", ".join(f"{region} {values['dice']:.3f}" for region, values in record["regions"].items())
    return f"{record['case']} {name(record['modalities'])}: {dices} ({record['seconds']:.0f} s)"


def ordered(records: Sequence[Record]) -> list[list[Record]]:
    """Records of each subset, the largest subset first, each by case."""
    keys = sorted({tuple(r["modalities"]) for r in records}, key=lambda m: (-len(m), [*TITLES].index(m[0]), m))
    return [sorted((r for r in records if tuple(r["modalities"]) == k), key=lambda r: str(r["case"])) for k in keys]


def by_subset(records: Sequence[Record], regions: Sequence[str]) -> str:
    """Mean Dice of each region by subset; a region that a case does not have is left out of its mean."""
    rows: list[list[Cell]] = []
    for group in ordered(records):
        means: list[Cell] = []
        for region in regions:
            scored = [r["regions"][region]["dice"] for r in group if r["regions"][region]["reference_ml"] > 0]
            means.append(fmean(scored) if scored else "")
        rows.append([name(group[0]["modalities"]), *means])
    return markdown(["modalities", *(f"Dice {region}" for region in regions)], rows)


def by_case(group: Sequence[Record], regions: Sequence[str]) -> str:
    """Dice, HD95 and volumes of each case for one subset."""
    rows: list[list[Cell]] = []
    for record in group:
        row: list[Cell] = [f"{record['case']} (fold {record['fold']})"]
        for region in regions:
            v = record["regions"][region]
            row.append(f"{v['dice']:.3f}" if v["reference_ml"] > 0 else "none there")
            row.append(f"{v['volume_ml']:.1f} / {v['reference_ml']:.1f}")
        row.append(f"{record['regions'][regions[0]]['hd95_mm']:.1f}")
        rows.append(row)
    header = ["case", *(text for r in regions for text in (f"Dice {r}", f"{r} mL found / true"))]
    return markdown([*header, f"HD95 {regions[0]} mm"], rows)


def write(records: Sequence[Record], folder: Path, task: str) -> str:
    """Write <task>.md; returns its text."""
    regions = [region.name for region in TASKS[task].regions]
    parts = [
        f"# Fold models of task `{task}` on the cases that they were not trained on",
        (
            f"Each case is labelled by the model of the fold that excludes it "
            f"(`Resources/Configs/{task}_folds.json`); "
            f"scored on the case's own grid. "
            f"The shipped model was trained on all of them and has no score of its own. "
            f"`python -m Testing.benchmarks.lesions {task} RUN0 RUN1 ...`; "
            f"{provenance('torch')}."
        ),
        "## Mean Dice by modalities given",
        "Cases without a region are excluded from its mean, even if the model predicts it.",
        by_subset(records, regions),
    ]
    groups = ordered(records)
    wanted = [g for g in groups if len(g[0]["modalities"]) in (len(groups[0][0]["modalities"]),)]
    wanted += [g for g in groups if g[0]["modalities"] == ["flair"] and g not in wanted]
    for group in wanted:
        parts += [f"## Results per case: {name(group[0]['modalities'])}", by_case(group, regions)]
    text = "\n\n".join(part.rstrip("\n") for part in parts) + "\n"
    (folder / f"{task}.md").write_text(text, encoding="utf-8")
    return text
