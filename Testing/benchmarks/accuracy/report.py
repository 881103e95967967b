"""The accuracy table, from records of scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from Testing.benchmarks.accuracy.scoring import Record
from Testing.benchmarks.heads import REFERENCE_REGIONS
from Testing.benchmarks.tables import Cell, markdown, provenance, write_csv

from asa.metrics import compare, summarise

CLASSES = tuple(REFERENCE_REGIONS)
OURS = "ours"
TITLES = {
    OURS: "**ASA** (ours)",
    "atropos": "ANTs Atropos",
    "n4-atropos": "ANTs N4 + Atropos",
    "hmrf": "dipy HMRF",
}
# What the starter model has to reach, and what it aims at: (CSF, GM, WM).
BARS = {"malf": ((0.82, 0.88, 0.90), (0.92, 0.92, 0.94)), "ibsr": ((None, 0.86, 0.87), (None, 0.89, 0.90))}
RESCAN = ("1003", "1023")
TWICE = "1003 and 1023 are the same subject but count as two scans, so the p-values are somewhat too small.\n\n"

NOTES = """
Dice and 95 % Hausdorff distance (mm, image spacing) over the whole volume, for skull-stripped T1 scans with manual
labels: `ibsr` is IBSR-18 (1.5 mm slices), `malf` the MICCAI 2012 multi-atlas challenge (1 mm; two of its scans are
one person). None of them was used for training. **CSF** in both references is mostly the ventricles; sulcal CSF is
inside GM or unlabelled. Ours is compared with the region *ventricles*; a three-class intensity classifier has
one CSF class, so its CSF column is of limited value. *Where marked* looks only at voxels that the reference labels.
Peers: settings in `Testing/benchmarks/peers.py`. Atropos gets intensities clipped at the 1st and 99.9th percentiles
of the brain, because k-means otherwise assigns a class to a few bright vessels in one scan (two after N4) and fails
there.
"""


def _column(records: Sequence[Record], name: str, metric: str) -> list[float]:
    return [float(record["classes"][name][metric]) for record in records]


def _means(records: Sequence[Record], metric: str) -> list[Cell]:
    return [summarise(_column(records, name, metric)).mean for name in CLASSES]


def _datasets(scores: Mapping[str, Sequence[Record]]) -> list[str]:
    return sorted({str(record["dataset"]) for records in scores.values() for record in records})


def summary_table(scores: Mapping[str, Sequence[Record]]) -> str:
    """Mean per system and data set."""
    header = ["data", "system", *(f"Dice {n}" for n in CLASSES), *(f"HD95 {n}" for n in CLASSES)]
    header += [f"Dice {n}, where marked" for n in CLASSES]
    rows: list[list[Cell]] = []
    for dataset in _datasets(scores):
        for system, all_records in scores.items():
            records = [record for record in all_records if record["dataset"] == dataset]
            if not records:
                continue
            means = [*_means(records, "dice"), *_means(records, "hd95_mm"), *_means(records, "dice_marked")]
            rows.append([f"{dataset} ({len(records)})", TITLES[system], *means])
    return markdown(header, rows)


def bar_table(records: Sequence[Record]) -> str:
    """Our mean Dice compared with the required and the intended one."""
    rows: list[list[Cell]] = []
    for dataset, (bar, goal) in BARS.items():
        own = [record for record in records if record["dataset"] == dataset]
        for index, name in enumerate(CLASSES):
            asked, aimed = bar[index], goal[index]
            if asked is None or aimed is None or not own:
                continue
            summary = summarise(_column(own, name, "dice"))
            interval = f"{summary.low:.3f} to {summary.high:.3f}"
            verdict = "goal reached" if summary.mean >= aimed else "reached" if summary.mean >= asked else "not reached"
            rows.append([dataset, name, summary.mean, summary.sd, interval, asked, aimed, verdict])
    return markdown(["data", "class", "mean Dice", "SD", "95 % interval", "bar", "goal", ""], rows)


def comparison_table(scores: Mapping[str, Sequence[Record]]) -> str:
    """Paired tests of our Dice against each peer over all heads."""
    rows: list[list[Cell]] = []
    for name in CLASSES:
        columns = {system: _column(records, name, "dice") for system, records in scores.items()}
        rows += [
            [name, TITLES[result.system], result.difference, result.p, result.p_holm]
            for result in compare(columns, OURS)
        ]
    return markdown(["class", "against", "mean difference of Dice", "Wilcoxon p", "p after Holm"], rows, digits=4)


def head_rows(scores: Mapping[str, Sequence[Record]]) -> tuple[list[str], list[list[Cell]]]:
    """One row per head and system."""
    header = ["data", "head", "system", *(f"Dice {n}" for n in CLASSES), *(f"HD95 {n}" for n in CLASSES)]
    rows: list[list[Cell]] = [
        [
            str(record["dataset"]),
            str(record["head"]),
            system,
            *_cells(record, "dice"),
            *_cells(record, "hd95_mm"),
        ]
        for system, records in scores.items()
        for record in records
    ]
    return header, sorted(rows, key=lambda row: (str(row[0]), str(row[1])))


def _cells(record: Record, metric: str) -> list[Cell]:
    return [float(record["classes"][name][metric]) for name in CLASSES]


def rescan_table(records: Sequence[Record]) -> str:
    """Volumes of the person who was scanned twice."""
    by_name = {record["head"]: record for record in records}
    if not all(name in by_name for name in RESCAN):
        return ""
    rows: list[list[Cell]] = []
    for name in by_name[RESCAN[0]]["volumes_ml"]:
        first, second = (float(by_name[head]["volumes_ml"][name]) for head in RESCAN)
        rows.append([name, first, second, _percent_apart(first, second)])
    for name in CLASSES:
        first, second = (float(by_name[head]["classes"][name]["reference_ml"]) for head in RESCAN)
        rows.append([f"{name}, manual", first, second, _percent_apart(first, second)])
    table = markdown(["region", f"{RESCAN[0]} (mL)", f"{RESCAN[1]} (mL)", "difference (%)"], rows, digits=2)
    return f"## Test–retest: one subject scanned twice\n\nCSF comprises ventricles and sulci. Target: 3 %.\n\n{table}"


def _percent_apart(first: float, second: float) -> float:
    return 100.0 * abs(first - second) / ((first + second) / 2)


def write(scores: Mapping[str, Sequence[Record]], folder: Path, stem: str = "accuracy") -> Path:
    """Write ``<stem>.md`` and ``<stem>.csv`` into ``folder``; returns the Markdown file."""
    header, rows = head_rows(scores)
    titled = [[*row[:2], TITLES[str(row[2])], *row[3:]] for row in rows]
    versions = {str(records[0]["version"]) for records in scores.values() if records}
    parts = ["# Tissue segmentation: accuracy\n", NOTES, "\n", summary_table(scores)]
    if OURS in scores:
        parts += ["\n## Compared with the targets\n\n", bar_table(scores[OURS])]
        if len(scores) > 1:
            parts += ["\n## Differences over all scans\n\n", TWICE, comparison_table(scores)]
        parts += ["\n", rescan_table(scores[OURS])]
    parts += ["\n## Results per scan\n\n", markdown(header, titled)]
    parts += [f"\nMade with {', '.join(sorted(versions))}; {provenance('torch', 'numpy', 'scipy')}.\n"]
    path = folder / f"{stem}.md"
    path.write_text("".join(parts), encoding="utf-8")
    write_csv(folder / f"{stem}.csv", header, rows)
    return path
