"""Measure interactive correction by a simulated user, and write the tables.

    python -m Testing.benchmarks.interaction tumour --cases CASES.csv --starts RESULTS [--only CASE ...]
    python -m Testing.benchmarks.interaction            the tables again, from results/interaction.json

CASES.csv names the images and labels of the cases, as Testing/benchmarks/models/collect_cases.py writes it. Cases are
the test part of Resources/Configs/splits/<task>.json, or all heads of the table for tissue. RESULTS holds, or gets, a
result folder with probabilities for each. What --output holds already is not measured again.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from Testing.benchmarks.heads import REPOSITORY, RESULTS
from Testing.benchmarks.interaction.report import GROUP, Record, page
from Testing.benchmarks.interaction.systems import SYSTEMS, OursAlone, Task
from Testing.benchmarks.interaction.user import next_click
from Testing.benchmarks.tables import commit

from asa.jobs import segment as job
from asa.metrics import dice
from asa.refinement import Mark, Start
from asa.request import SegmentRequest
from asa.tasks import TASKS
from asa.volume import Volume, read_scan, read_volume

SEGMENTS = {"tumour": ("WT", "TC"), "wmh": ("WMH",), "tissue": ("WM",)}
BEST_SHOWN = {"WT": "flair", "TC": "t1gd", "ET": "t1gd", "WMH": "flair", "WM": "t1"}
STORE = RESULTS / "interaction.json"


def read_case(row: dict[str, str], task: str, results: Path | None) -> tuple[Start, npt.NDArray[np.uint8], list[str]]:
    """Start from the model's result (from nothing without ``results``), the true labels, and the modalities."""
    keys = [one.key for one in TASKS[task].modalities if row.get(one.key)]
    images = [read_scan(row[key]) for key in keys]
    truth = read_volume(row["labels"], labels=True)
    grid = truth.grid
    labels, posterior = np.zeros(grid.shape, np.uint8), None
    if results is not None:
        folder = results / row["case"]
        request = SegmentRequest({key: Path(row[key]) for key in keys}, task, posterior=True, threads=2)
        if not (folder / "report.json").is_file():
            job.run(request, folder, segmentation_file=False)
        labels = read_volume(folder / job.LABEL_MAP, labels=True).array
        maps = [read_volume(folder / job.posterior_name(one), head=False).array for one in TASKS[task].labels]
        posterior = np.stack([1 - np.sum(maps, axis=0), *maps]).clip(0, 1).astype(np.float16)
    on_grid = [Volume(image.array, grid) for image in images]
    return Start(on_grid, Volume(labels.astype(np.uint8), grid), TASKS[task], posterior), truth.array, keys


@dataclass
class Played:
    """Dice after each click; seconds, elapsed and of the processor, of each; and the clicks."""

    dice: list[float]
    seconds: list[float] = field(default_factory=list)
    processor_s: list[float] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)


def play(
    name: str, task: Task, truth: npt.NDArray[np.bool_], clicks: int, given: Sequence[Mark] | None = None
) -> Played:
    """Let the user correct with a system; ``given``: by these clicks instead of the user's own."""
    values = {region.name: region.values for region in task.start.task.regions}[task.segment]
    current = np.isin(task.start.labels.array, values)
    system = SYSTEMS[name](task)
    played = Played([float(dice(current, truth))])
    for number in range(clicks if given is None else len(given)):
        mark = next_click(current, truth, task.segment, task.start.labels.grid) if given is None else given[number]
        if mark is None:
            break
        begun, used = time.perf_counter(), time.process_time()
        current = system.add(mark)
        played.seconds.append(time.perf_counter() - begun)
        played.processor_s.append(time.process_time() - used)
        played.dice.append(float(dice(current, truth)))
        played.marks.append(mark)
    return played


def measure(options: argparse.Namespace, done: Collection[tuple[str, ...]] = ()) -> Iterator[Record]:
    """Play every case, segment, start and system that is not ``done``, see :func:`identity`."""
    with options.cases.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    if options.task != "tissue":  # whose model is trained on synthetic heads alone
        path = REPOSITORY / "Resources" / "Configs" / "splits" / f"{options.task}.json"
        split = json.loads(path.read_text("utf-8"))["folds"][0]
        rows = [row for row in rows if row["case"] in split[options.part]]
    marks = "same" if options.same_marks else "own"
    for row in rows:
        if options.only and row["case"] not in options.only:
            continue
        for start in options.start or ("model", "nothing"):
            begin = None
            for segment in options.segments or SEGMENTS[options.task]:
                names = [name for name in options.systems or SYSTEMS if start == "model" or name != OursAlone.name]
                group = (options.task, segment, start, marks, row["case"])
                missing = [name for name in names if (*group, name) not in done]
                if not missing:
                    continue
                if begin is None:
                    begin, truth, keys = read_case(row, options.task, options.starts if start == "model" else None)
                values = {region.name: region.values for region in TASKS[options.task].regions}[segment]
                shown = keys.index(BEST_SHOWN[segment]) if BEST_SHOWN[segment] in keys else 0
                task = Task(begin, segment, start == "model", shown)
                given: list[Mark] | None = None
                for name in names:
                    if name not in missing and (given is not None or not options.same_marks):
                        continue
                    played = play(name, task, np.isin(truth, values), options.clicks, given)
                    if options.same_marks and given is None:
                        given = played.marks
                    if name not in missing:  # played again for its marks
                        continue
                    yield Record(
                        task=options.task,
                        case=row["case"],
                        segment=segment,
                        start=start,
                        marks=marks,
                        system=name,
                        dice=[round(one, 4) for one in played.dice],
                        seconds=[round(one, 3) for one in played.seconds],
                        processor_s=[round(one, 3) for one in played.processor_s],
                        peak_gib=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20), 2),
                        commit=commit() or "unknown",
                    )


def identity(record: Record) -> tuple[str, ...]:
    """What a record is of."""
    return (*(record[name] for name in GROUP), record["case"], record["system"])  # type: ignore[literal-required]


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m Testing.benchmarks.interaction",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("task", nargs="?", choices=sorted(SEGMENTS))
    parser.add_argument("--cases", type=Path, help="table of cases")
    parser.add_argument("--starts", type=Path, help="folder of the model's results, one folder a case")
    parser.add_argument("--part", default="test", help="part of the split: train to choose constants, test to report")
    parser.add_argument("--only", nargs="+", help="these cases alone")
    parser.add_argument("--start", nargs="+", choices=("model", "nothing"))
    parser.add_argument("--segments", nargs="+")
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS))
    parser.add_argument("--same-marks", action="store_true", help="the first system's clicks for all")
    parser.add_argument("--again", action="store_true", help="measure again what --output holds already")
    parser.add_argument("--clicks", type=int, default=10)
    parser.add_argument("--output", type=Path, default=STORE, help="JSON of records; the page lies next to it")
    options = parser.parse_args()
    kept: list[Record] = json.loads(options.output.read_text("utf-8")) if options.output.is_file() else []
    if options.task:
        for record in measure(options, () if options.again else {identity(old) for old in kept}):
            key = identity(record)
            print(*key, *(f"{one:.3f}" for one in record["dice"]), file=sys.stderr, flush=True)
            kept = [*(old for old in kept if identity(old) != key), record]
            options.output.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    text = page(kept, "python -m Testing.benchmarks.interaction TASK --cases CASES.csv --starts RESULTS")
    options.output.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
