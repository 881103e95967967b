"""Score model folders on the cases of one part of a split, by the very function behind ``asa segment``.

    python -m Testing.benchmarks.models.scores tumour CASES SPLIT new=FOLDER old=FOLDER [--part test]
        [--given t1,t1gd,t2,flair --given flair] [-o FILE.json]

CASES is the cases.csv of ``collect_cases.py``. Each system is a name and a model folder, the first one the subject of
the table. ``--given`` restricts the images; by default all that a case has are given. Every record is written at once,
so that an interrupted run goes on where it was, and FILE.md is the table.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from Testing.benchmarks.heads import RESULTS
from Testing.benchmarks.models.scores_report import line, table

from asa.data.splits import read_case_split
from asa.errors import AsaError
from asa.files import write_json
from asa.inference import SegmentRequest, segment
from asa.metrics import score_case
from asa.tasks import TASKS
from asa.volume import read_volume

Record = dict[str, Any]
Case = tuple[str, dict[str, Path], Path]


def read_cases(table_path: Path, names: Sequence[str], task: str) -> Iterator[Case]:
    """Yield name, modality -> image, and label map of the cases ``names``, in their order.

    Raises:
        SystemExit: the table lacks one of them.
    """
    with table_path.open(newline="", encoding="utf-8") as stream:
        rows = {row["case"]: row for row in csv.DictReader(stream)}
    if absent := [name for name in names if name not in rows]:
        raise SystemExit(f"{table_path} has no case {', '.join(absent)}; write it with collect_cases.py")
    keys = [modality.key for modality in TASKS[task].modalities]
    for name in names:
        row = rows[name]
        yield name, {key: Path(row[key]) for key in keys if row.get(key)}, Path(row["labels"])


def measure(task: str, model: Path, case: Case, given: Sequence[str]) -> Record:
    """Segment one case with one model and score each region of the task on the grid of the reference labels.

    Returns:
        Case, images given, seconds of the whole segmentation, reasons for doubt, and region -> metrics; ``error``
        instead of scores where the images are refused.
    """
    name, images, labels = case
    images = {key: path for key, path in images.items() if key in given}
    record: Record = {"case": name, "given": list(images)}
    started = time.perf_counter()
    try:
        result = segment(SegmentRequest(images=images, task=task, model=str(model), device="cpu", threads=1))
    except AsaError as error:
        return {**record, "error": str(error)}
    record["seconds"] = round(time.perf_counter() - started, 1)
    truth = read_volume(labels, labels=True)
    if not np.allclose(truth.grid.affine, result.labels.grid.affine, atol=1e-3):
        raise SystemExit(f"{name}: the result is not on the grid of the labels {labels}")
    found = result.labels.array
    regions = {region.name: region.values for region in TASKS[task].regions}
    scores = score_case(found, truth.array, regions, truth.spacing, lesionwise=not TASKS[task].nested)
    record["doubts"] = list(result.trust.reasons)
    record["regions"] = {
        region: {metric: round(float(value), 4) for metric, value in values.items()}
        for region, values in scores.items()
    }
    return record


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m Testing.benchmarks.models.scores",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("task", choices=("tumour", "wmh"))
    parser.add_argument("cases", type=Path)
    parser.add_argument("split", type=Path)
    parser.add_argument("systems", nargs="*", help="NAME=FOLDER; without any, the table is written again")
    parser.add_argument("--part", default="test", choices=("validation", "test"))
    parser.add_argument("--given", action="append", help="comma-separated modalities; may be repeated")
    parser.add_argument("-o", "--output", type=Path, help="default: results/scores_TASK.json")
    arguments = parser.parse_args()
    output = arguments.output or RESULTS / f"scores_{arguments.task}.json"
    records: list[Record] = json.loads(output.read_text(encoding="utf-8")) if output.is_file() else []
    names = read_case_split(arguments.split)["folds"][0][arguments.part]
    every = [modality.key for modality in TASKS[arguments.task].modalities]
    sets = [one.split(",") for one in arguments.given or [",".join(every)]]
    for case in read_cases(arguments.cases, names, arguments.task):
        for given in sets:
            for system in arguments.systems:
                title, _, folder = system.partition("=")
                key = (title, case[0], [one for one in case[1] if one in given])
                if any((r["system"], r["case"], r["given"]) == key for r in records):
                    continue
                record = {"system": title, **measure(arguments.task, Path(folder), case, given)}
                records.append(record)
                print(line(record), file=sys.stderr, flush=True)
                write_json(output, records)
    text = table(records, arguments.task, arguments.part)
    output.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
