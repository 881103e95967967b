"""The paper's Table 4 with our data: does pre-training help the tumour model, and what of it?

    python -m Testing.benchmarks.models.ablation WORK --scans STORE --cases STORE [--steps 200] [--seeds 0 1 ...]
        [--only ARM ...] [--budget] [--output]

Six arms: vanilla or symmetric position encoding, each from scratch and with masked pre-training, whose loss weighs all
patches alike or by VHOG. Pre-training is done once for each arm, on the scans that the shipped encoder was trained on.
Fine-tuning is that of ``tumour_brain.yaml``, shorter and with smaller crops; the same seed sees the same samples in
every arm. Scored: whole frames of the test patients, threshold 0.5, no post-processing. ``--budget`` scores the first
arm on the held-back patients instead, to find the smallest number of steps in which every region is learned.

WORK keeps finished parts; the same command resumes and prints the table as far as it is known.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import torch
import yaml
from scipy import stats
from Testing.benchmarks.heads import REPOSITORY, RESULTS
from Testing.benchmarks.models.parts import trained
from Testing.benchmarks.tables import Cell, markdown, provenance

from asa.data.case_store import CaseStore
from asa.metrics import holm, paired_wilcoxon
from asa.tasks import TASKS
from asa.training.finetuning.validation import frame_dice
from asa.training.parallel.distributed import World
from asa.training.pretraining.pretrain import pretrain
from asa.training.pretraining.settings import PretrainSettings
from asa.training.synthetic.lesion_samples import training_cases
from asa.training.synthetic.lesion_settings import LesionSettings
from asa.training.synthetic.lesions import train_lesions

CONFIGS = REPOSITORY / "Resources" / "Configs"
SPLIT = CONFIGS / "splits" / "tumour.json"
WORLD = World(0, 1, torch.device("cpu"))
# As the paper calls them: position encoding, and the method of pre-training if there is one.
ARMS: dict[str, tuple[str, str | None]] = {
    "Baseline": ("sinusoid", None),
    "w/ SSL": ("sinusoid", "mae"),
    "w/ A-SSL": ("sinusoid", "a-ssl"),
    "w/ SPE": ("symmetric", None),
    "w/ SPE & SSL": ("symmetric", "spe-ssl"),
    "w/ ASA": ("symmetric", "asa"),
}
PRETRAIN_STEPS, PRETRAIN_BATCH = 300, 4
CROP = (48, 64, 144)
POWER = 0.8
Scores = dict[str, float]
Done = Mapping[tuple[str, int], Scores]


def template(name: str) -> dict[str, Any]:
    """Settings of a file of Resources/Configs."""
    loaded: dict[str, Any] = yaml.safe_load((CONFIGS / name).read_text(encoding="utf-8"))
    return loaded


def finished(outcome: str) -> None:
    """End if a run was asked to stop: it is no result."""
    if outcome != "finished":
        raise SystemExit(f"{outcome}; run the same command to resume")


def pretrained(method: str, scans: Path, work: Path) -> Path:
    """The run folder of an arm's pre-training; trained here if it is not yet there."""
    folder = work / "pretrained" / method
    names = json.loads((CONFIGS / "splits" / "scans.json").read_text(encoding="utf-8"))["train"]
    changes = {
        "store": str(scans),
        "split": str(CONFIGS / "splits" / "scans.json"),
        "method": method,
        "heads": "",
        "epochs": PRETRAIN_STEPS * PRETRAIN_BATCH / len(names),
        "batch": PRETRAIN_BATCH,
        "micro_batch": PRETRAIN_BATCH,
        "schedule": {"log_every": 20, "checkpoint_every": 25, "validate_every": 0},
    }
    finished(pretrain(PretrainSettings.model_validate({**template("pretrain_brain.yaml"), **changes}), folder, WORLD))
    return folder


def finetuned(arm: str, seed: int, options: argparse.Namespace) -> Path:
    """The run folder of an arm and seed; trained here if it is not yet there."""
    position, method = ARMS[arm]
    folder = options.work / "tuned" / f"{list(ARMS).index(arm)}_{seed}_{options.steps}"
    values = template("tumour_brain.yaml")
    changes = {
        "label_maps": "",
        "store": str(options.cases),
        "split": str(SPLIT),
        "position": position,
        "encoder": str(pretrained(method, options.scans, options.work)) if method else "",
        "init": "",
        "crop": list(CROP),
        "real_share": 1.0,
        "implant_share": 0.0,
        "validate_cases": False,
        "optimisation": {
            **values["optimisation"],
            "steps": options.steps,
            "warmup_steps": 20,
            "ema": 0.98,
            "seed": seed,
        },
        "schedule": {"log_every": 20, "checkpoint_every": 50, "validate_every": 0},
    }
    finished(train_lesions(LesionSettings.model_validate({**values, **changes}), folder, WORLD))
    return folder


def gain(own: Sequence[float], base: Sequence[float]) -> tuple[str, float]:
    """Mean gain with its SD, the gain that so many pairs of this SD detect, and Wilcoxon's p-value."""
    differences = np.subtract(own, base)
    count = len(differences)
    if count < 2:
        return f"{differences.mean():+.3f}", 1.0
    spread = float(differences.std(ddof=1))
    least = (stats.t.ppf(0.975, count - 1) + stats.t.ppf(POWER, count - 1)) * spread / count**0.5
    return f"{differences.mean():+.3f} ± {spread:.3f} (detectable {least:.3f})", paired_wilcoxon(own, base)


def table(done: Done, regions: Sequence[str]) -> str:
    """Each arm's Dice, mean and SD over seeds, and its gain over the baseline, paired by seed."""
    base = next(iter(ARMS))
    rows: list[list[Cell]] = []
    p_values: dict[str, float] = {}
    for arm in ARMS:
        seeds = sorted(seed for known, seed in done if known == arm)
        if not seeds:
            continue
        cells: list[Cell] = [arm, len(seeds)]
        for region in (*regions, "mean"):
            values = [done[arm, seed][region] for seed in seeds]
            cells.append(f"{fmean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else ""))
        pairs = [seed for seed in seeds if (base, seed) in done]
        if arm == base or not pairs:
            cells += ["", ""]
        else:
            said, p_values[arm] = gain(*([done[name, seed]["mean"] for seed in pairs] for name in (arm, base)))
            cells += [said, ""]
        rows.append(cells)
    for arm, p in zip(p_values, holm(list(p_values.values())), strict=True):
        next(row for row in rows if row[0] == arm)[-1] = f"{p_values[arm]:.3f} ({p:.3f})"
    header: list[str] = ["arm", "seeds", *(f"Dice {region}" for region in regions), "mean"]
    return markdown([*header, f"gain over {base}", "p (Holm)"], rows)


def page(done: Done, regions: Sequence[str], steps: int, patients: int) -> str:
    """The table and how it was made."""
    crop = " × ".join(map(str, CROP))
    return (
        "# Table 4 of the paper with our data\n\n"
        f"`python -m Testing.benchmarks.models.ablation`; {provenance('torch')}. Preset `brain`. Pre-training: "
        f"{PRETRAIN_STEPS} steps of {PRETRAIN_BATCH} T1s of `splits/scans.json`, once for each arm. Fine-tuning: "
        f"{steps} steps of two crops of {crop} mm of `splits/tumour.json`; scored on its {patients} test cases, whole "
        "frames, threshold 0.5, no post-processing. Mean ± SD over seeds; gains are of the same seed, with the gain "
        f"that so many seeds detect with a power of {POWER:.0%} at p < 0.05. p-values: Wilcoxon's signed-rank test "
        "over seeds, and after Holm.\n\n" + table(done, regions)
    )


def main() -> None:
    """Run what is not done yet, print the table after each part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--scans", type=Path, required=True, help="store of splits/scans.json")
    parser.add_argument("--cases", type=Path, required=True, help="store of splits/tumour.json")
    parser.add_argument("--steps", type=int, default=200, help="of fine-tuning")
    parser.add_argument("--seeds", type=int, nargs="*", default=tuple(range(8)))
    parser.add_argument("--only", nargs="*", choices=tuple(ARMS), default=tuple(ARMS), metavar="ARM")
    parser.add_argument("--budget", action="store_true")
    parser.add_argument("--output", type=Path, nargs="?", const=RESULTS / "ablation.md", help="also write the page")
    options = parser.parse_args()
    torch.set_num_threads(1)
    store = CaseStore.open(options.cases)
    task = TASKS["tumour"]
    regions = [region.name for region in task.regions]
    if options.budget:
        numbers = training_cases(str(SPLIT), 0, store, "validation")
        print(frame_dice(trained(finetuned("Baseline", 1000, options)), store, numbers, task, WORLD.device))
        return
    numbers = training_cases(str(SPLIT), 0, store, "test")
    kept = options.work / f"results_{options.steps}.jsonl"
    records = [json.loads(row) for row in kept.read_text(encoding="utf-8").splitlines()] if kept.exists() else []
    done: dict[tuple[str, int], Scores] = {(r["arm"], r["seed"]): r["scores"] for r in records}
    for seed, arm in itertools.product(options.seeds, options.only):
        if (arm, seed) in done:
            continue
        started = time.process_time()
        found = frame_dice(trained(finetuned(arm, seed, options)), store, numbers, task, WORLD.device)
        done[arm, seed] = {region: found[f"dice {region}"] for region in regions} | {"mean": found["score"]}
        record = {"arm": arm, "seed": seed, "scores": done[arm, seed], "cpu_s": round(time.process_time() - started)}
        with kept.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record) + "\n")
        text = page(done, regions, options.steps, len(numbers))
        print(text, flush=True)
        if options.output:
            options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
