"""Score lesion models on cases they were not trained on, with every subset of their modalities, and write the table.

    python -m Testing.benchmarks.lesions tumour RUN0 RUN1 RUN2 [--only t1,t1gd,t2,flair --only flair]
    python -m Testing.benchmarks.lesions wmh RUN0 RUN1
    python -m Testing.benchmarks.lesions tumour            the table again, from results/tumour.json

Run at the root of the checkout, with asa installed. RUN0, RUN1 ... are the folds' run folders in the order of
Resources/Configs/<task>_folds.json, as 'asa train' leaves them (A+B: the mean of two runs' weights); post-processing
is that of the model that ships.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from Testing.benchmarks.heads import REPOSITORY, RESULTS, data_root
from Testing.benchmarks.lesions import report
from Testing.benchmarks.lesions.scoring import Record, Rules, find_ms, measure, read_folds, subsets

from asa.data.cases import LabelledCase
from asa.data.datasets import dataset_by_name
from asa.models import DESCRIPTION, ModelFolder, find_model
from asa.runs.folder import Run
from asa.training.publishing.export import export_model

DATASETS = {"tumour": "brats2021", "wmh": "wmh"}


def find_cases(task: str, root: Path) -> dict[str, LabelledCase]:
    """The labelled cases of a task under ``root``, by name."""
    cases = dataset_by_name("brats2021").find(root / "brats") if task == "tumour" else find_ms(root / "ms")
    return {case.name: case for case in cases}


def export_fold(runs: str, shipped: ModelFolder, folder: Path) -> Path:
    """A fold's last checkpoint, or the mean of several, as a model folder with the rules of the model that ships."""
    rules = {
        k: v
        for k, v in json.loads((shipped.path / DESCRIPTION).read_text(encoding="utf-8")).items()
        if k not in ("format", "network", "steps")
    }
    first, *others = [Run(Path(run)).checkpoint_path("last") for run in runs.split("+")]
    export_model(first, folder, rules, others=others)
    return folder


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m Testing.benchmarks.lesions",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("task", choices=sorted(DATASETS))
    parser.add_argument("runs", nargs="*", help="run folder of each fold; A+B: mean of weights")
    parser.add_argument("--fold", type=int, help="the one run is of this fold, from 0")
    parser.add_argument("--only", action="append", help="only these modalities, comma-separated; may be repeated")
    parser.add_argument("--rules", help="model whose model.json says modalities and rules; default: that of the task")
    parser.add_argument("--labels", type=Path, help="folder to keep label maps in, to look at")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for the table")
    arguments = parser.parse_args()

    arguments.output.mkdir(parents=True, exist_ok=True)
    store = arguments.output / f"{arguments.task}.json"
    records: list[Record] = json.loads(store.read_text(encoding="utf-8")) if store.is_file() else []
    shipped = find_model(arguments.rules, arguments.task)
    if arguments.runs:
        tests = read_folds(REPOSITORY / "Resources" / "Configs" / f"{arguments.task}_folds.json")
        shown = [tuple(one.split(",")) for one in arguments.only or ()] or subsets(shipped.modalities)
        if arguments.fold is not None:
            tests = [tests[arguments.fold]]
        cases = find_cases(arguments.task, data_root())
        rules = Rules(DATASETS[arguments.task], shown, arguments.labels)
        with tempfile.TemporaryDirectory() as folder:
            models = [export_fold(run, shipped, Path(folder) / str(n)) for n, run in enumerate(arguments.runs)]
            for record in measure(models, tests, cases, rules, first=arguments.fold or 0):
                key = (record["case"], record["modalities"])
                records = [old for old in records if (old["case"], old["modalities"]) != key] + [record]
                print(report.line(record), file=sys.stderr, flush=True)
                store.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
    print(report.write(records, arguments.output, arguments.task))


if __name__ == "__main__":
    main()
