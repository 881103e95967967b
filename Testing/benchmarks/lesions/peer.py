"""Another network compared with ours, in one fold of a lesion model: the same samples, for the same time.

    python -m Testing.benchmarks.lesions.peer tumour --fold 1 --store STORE --minutes 25 --work FOLDER [--output]

Arms: ours from the model that a start of training takes, ours from scratch, and MONAI's SegResNet (its default width),
which can only start from scratch. Each trains on one thread (--arms N --only-train: start as many at a time as there
are cores, then call without), with the settings of the task's recipe but a constant learning rate, as it is unknown how
many steps fit in the time. The moving average of the weights is measured on whole cases by a threshold of 0.5, without
the rules that follow ours in use. Ours sees a brain in one pass, SegResNet in overlapping windows of the crop, as each
was made for. STORE is of 'asa prepare finetune', as the recipe says. FOLDER keeps what is done: called again, it goes
on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import yaml
from Testing.benchmarks.heads import REPOSITORY, RESULTS, data_root
from Testing.benchmarks.lesions.__main__ import DATASETS, find_cases
from Testing.benchmarks.lesions.report import name as subset_name
from Testing.benchmarks.lesions.scoring import Prepared, Record, Rules, read_folds, score
from Testing.benchmarks.tables import Cell, markdown, provenance

from asa.geometry import FRAME
from asa.model_description import ModelDescription
from asa.models import ModelFolder
from asa.nn import Segmenter
from asa.preprocessing.normalise import zscore_corrected
from asa.runs.folder import Run
from asa.tasks import TASKS
from asa.training import checkpoint
from asa.training.finetuning.prediction import rebuild
from asa.training.finetuning.whole_volume import activation, predict
from asa.training.publishing.export import network_weights

CONFIGS = REPOSITORY / "Resources" / "Configs"
CROP = (96, 96, 64)  # of multiples of 32, which networks of others need
STARTS = {"tumour": "tissue", "wmh": "tumour"}
UNFROZEN = 0.75  # of the time from scratch, until when normalisation takes the statistics of the crops
Stretch = dict[str, Any]


def arms(task: str, seconds: float) -> dict[str, list[Stretch]]:
    """Of each arm, by its title: settings of its stretches, one after another, that differ from the recipe's."""
    start = STARTS[task]
    scratch = {"network": "asa", "init": ""}
    return {
        f"ASA `starter`, from model `{start}`": [{"network": "asa", "init": start, "seconds": seconds}],
        "ASA `starter`, from scratch": [
            {**scratch, "frozen_norm": False, "seconds": UNFROZEN * seconds},
            {**scratch, "frozen_norm": True, "seconds": (1 - UNFROZEN) * seconds},
        ],
        "MONAI SegResNet, from scratch": [{"network": "segresnet", "init": "", "seconds": seconds}],
    }


def recipe(task: str, fold: int, store: Path, stretch: Stretch, before: Path | None) -> dict[str, Any]:
    """Settings of one stretch; it starts from the run ``before`` where there is one."""
    settings: dict[str, Any] = yaml.safe_load((CONFIGS / f"{task}_fold.yaml").read_text(encoding="utf-8"))
    given = {key: value for key, value in stretch.items() if key != "seconds"}
    settings.pop("healthy_store", None)  # a second store: one is enough to compare
    settings |= given | {"fold": fold, "store": str(store), "crop": list(CROP)}
    settings |= {"split": str(CONFIGS / f"{task}_folds.json"), "label_maps": str(data_root() / "label_maps")}
    settings["optimisation"] |= {"schedule": "constant", "lr": 5e-4, "steps": 10**6}
    settings["schedule"] |= {"max_seconds": stretch["seconds"]}
    if before is not None:
        settings["init"] = str(Run(before).checkpoint_path("last"))
        settings["optimisation"]["seed"] = 1  # not the same samples again
    return settings


def train(title: str, stretches: Sequence[Stretch], arguments: argparse.Namespace) -> list[Path]:
    """Run the stretches of an arm that are not done; returns their run folders."""
    runs: list[Path] = []
    for number, stretch in enumerate(stretches):
        run = arguments.work / f"{arguments.task}_{list_name(title)}_{number}"
        if not (run / "done").is_file():
            settings = run.with_suffix(".yaml")
            values = recipe(
                arguments.task, arguments.fold, arguments.store.resolve(), stretch, runs[-1] if runs else None
            )
            settings.write_text(yaml.safe_dump(values), encoding="utf-8")
            command = [sys.executable, "-m", "asa", "train", str(settings), "-o", str(run), "--threads", "1"]
            with run.with_suffix(".log").open("w", encoding="utf-8") as log:
                environment = {**os.environ, "OMP_NUM_THREADS": "1"}
                subprocess.run(command, check=True, stdout=log, stderr=log, env=environment)
            (run / "done").touch()
        runs.append(run)
    return runs


def list_name(title: str) -> str:
    """A title as part of a file name."""
    return "".join(c if c.isalnum() else "_" for c in title)


class Network:
    """What :class:`Prepared` asks of a predictor, of any network of the registry."""

    def __init__(self, run: Path) -> None:
        weights, record = network_weights(Run(run).checkpoint_path("last"))
        network, self.frame = rebuild(record["network"])
        network.load_state_dict(weights)
        self.network = network.eval()
        self.window = FRAME.shape if isinstance(network, Segmenter) else CROP
        self.parameters = sum(p.numel() for p in network.parameters())

    @torch.inference_mode()
    def posterior(
        self, image: npt.NDArray[np.float32], *, tta: bool, progress: Callable[[float], None] = lambda _: None
    ) -> npt.NDArray[np.float32]:
        """Probabilities of the regions (R, T, H, W) of an image (C, T, H, W), averaged with the mirrored head's."""
        assert tta
        found = [
            predict(self.network, x, self.window, self.frame, activation("regions"), torch.device("cpu"))
            for x in (torch.from_numpy(image), torch.from_numpy(image).flip(-1))
        ]
        return ((found[0] + found[1].flip(-1)) / 2).numpy()


def measure(run: Path, task: str, fold: int) -> tuple[Network, list[Record]]:
    """The network of a run, and its scores on the cases of the fold."""
    network = Network(run)
    modalities = tuple(m.key for m in TASKS[task].modalities)
    described = ModelDescription(run.name, task, modalities, {}, regions=True, tta=True)
    plain = ModelFolder(run, described)
    rules = Rules(DATASETS[task], [modalities, ("flair",)])
    cases = find_cases(task, data_root())
    names = read_folds(CONFIGS / f"{task}_folds.json")[fold]
    records = [
        record
        for case in names
        for record in score(plain, Prepared(cases[case], rules.dataset, zscore_corrected), rules, network)
    ]
    return network, records


def table(found: dict[str, Any], task: str, fold: int) -> str:
    """One row for each arm and subset of modalities."""
    regions = [region.name for region in TASKS[task].regions]
    rows: list[list[Cell]] = []
    for title, one in found["arms"].items():
        for record in one["records"]:
            scores = record["regions"]
            dices = [f"{scores[r]['dice']:.3f}" if scores[r]["reference_ml"] > 0 else "none there" for r in regions]
            rows.append([title, one["steps"], record["case"], subset_name(record["modalities"]), *dices])
    sizes = ", ".join(f"{title}: {one['parameters'] / 1e6:.1f} M parameters" for title, one in found["arms"].items())
    return (
        f"# Task `{task}`, fold {fold}: ours compared with SegResNet, {found['minutes']:g} minutes of one "
        f"thread each\n\n"
        f"`python -m Testing.benchmarks.lesions.peer {task} --fold {fold} --minutes {found['minutes']:g} ...`; "
        f"its docstring describes what the arms have in common and where they differ. {sizes}. "
        f"{provenance('torch', 'monai')}.\n\n"
        + markdown(["network", "steps", "case", "modalities", *(f"Dice {r}" for r in regions)], rows)
    )


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m Testing.benchmarks.lesions.peer",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("task", choices=sorted(DATASETS))
    parser.add_argument("--fold", type=int, default=0, help="from 0")
    parser.add_argument("--store", type=Path, required=True, help="prepared cases")
    parser.add_argument("--minutes", type=float, default=25, help="of training, for each arm")
    parser.add_argument("--work", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--arms", type=int, nargs="+", default=[0, 1, 2], help="which, in the order above, from 0")
    parser.add_argument("--only-train", action="store_true", help="measure nothing")
    parser.add_argument("--output", action="store_true", help="also write results/peer_<task>.md")
    arguments = parser.parse_args()

    arguments.work.mkdir(parents=True, exist_ok=True)
    chosen = arms(arguments.task, 60 * arguments.minutes)
    chosen = {title: stretches for n, (title, stretches) in enumerate(chosen.items()) if n in arguments.arms}
    if arguments.only_train:
        for title, stretches in chosen.items():
            train(title, stretches, arguments)
        return
    found: dict[str, Any] = {"minutes": arguments.minutes, "arms": {}}
    for title, stretches in chosen.items():
        runs = train(title, stretches, arguments)
        network, records = measure(runs[-1], arguments.task, arguments.fold)
        steps = sum(checkpoint.load(Run(run).checkpoint_path("last"))[1]["step"] for run in runs)
        found["arms"][title] = {"steps": steps, "parameters": network.parameters, "records": records}
    (arguments.work / f"peer_{arguments.task}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    text = table(found, arguments.task, arguments.fold)
    if arguments.output:
        (RESULTS / f"peer_{arguments.task}.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
