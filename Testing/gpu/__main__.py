"""Check ASA on a machine with a GPU: pre-train, fine-tune, segment, run out of memory and recover, bf16 beside fp32.

    python -m Testing.gpu OUT                  at most eight minutes on a GPU; needs no data
    python -m Testing.gpu OUT --device cpu     the same lines on a processor, in a smaller dry run

Heads are painted from the atlas, so nothing is read from outside the repository. Writes times and findings to
OUT/gpu.json and prints them as a table; ends with 1 if a check fails.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from Testing.engine.atlas_heads import box, folded, head, painted, true_matrix

from asa.devices import choose_device
from asa.geometry import resample
from asa.runs.folder import read_events
from asa.tasks import TASKS
from asa.volume import Volume, read_volume, write_volume

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIGS = REPOSITORY / "Resources" / "Configs"
PEOPLE = 6
# Tissues of the atlas, in its order, as values of the task 'tissue'.
VALUES = np.array([3, 2, 1, 4, 0, 0, 0], np.uint8)
# Labels of a model on the GPU and on the processor: rounding moves borders by single voxels.
SAME_LABELS = 0.99


@dataclass
class Check:
    """What is run, where, and what came of it."""

    out: Path
    device: str
    minutes: float
    shape: tuple[int, int, int]
    seconds: dict[str, float] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def step(self, name: str, action: Callable[[], object]) -> None:
        """Run one step, time it, and go on after a failure."""
        started = time.monotonic()
        try:
            action()
        except Exception as error:
            self.failures.append(f"{name}: {error}")
        self.seconds[name] = round(time.monotonic() - started, 1)
        print(f"{name:32} {self.seconds[name]:8.1f} s", flush=True)

    def asa(self, *words: object) -> str:
        """Run a command of ASA and return its output.

        Raises:
            RuntimeError: it failed, with its last lines.
        """
        command = [sys.executable, "-m", "asa", *map(str, words)]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
        if done.returncode:
            raise RuntimeError(f"asa {words[0]} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
        return done.stdout

    def settings(self, name: str, template: str, **changes: Any) -> Path:
        """Write a settings file: a template of Resources/Configs with changes."""
        values = yaml.safe_load((CONFIGS / template).read_text(encoding="utf-8"))
        for key, value in changes.items():
            values[key] = {**values[key], **value} if isinstance(value, dict) else value
        path = self.out / f"{name}.yaml"
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
        return path

    def require(self, holds: object, sentence: str) -> None:
        """Record a failure if something does not hold."""
        if not holds:
            self.failures.append(sentence)


def paint(check: Check) -> None:
    """Write stripped T1s as a BIDS tree for pre-training and as cases with their tissue labels."""
    table = ["case,subject,t1,labels"]
    for person in range(PEOPLE):
        matrix = true_matrix(pitch=3 * person - 6, roll=person - 2)
        scan = head(matrix, "t1", person=person, stripped=True)
        tissue = painted("t1", True, person)
        chosen = VALUES[np.argmax(np.concatenate([folded(person), 1 - folded(person).sum(0, keepdims=True)]), axis=0)]
        labels = resample(Volume(tissue.storage.to_array(chosen), tissue.grid), box(), 0, np.linalg.inv(matrix))
        folder = check.out / "scans" / f"sub-{person}" / "anat"
        folder.mkdir(parents=True)
        write_volume(scan, folder / f"sub-{person}_T1w.nii.gz")
        write_volume(scan.with_array(labels.array.astype(np.uint8)), check.out / f"labels-{person}.nii.gz")
        table.append(f"p{person},p{person},scans/sub-{person}/anat/sub-{person}_T1w.nii.gz,labels-{person}.nii.gz")
    (check.out / "cases.csv").write_text("\n".join(table) + "\n", encoding="utf-8")


def prepare(check: Check) -> None:
    """Make both stores."""
    how = ("--stripped", "--size", "frame", "-o")
    check.asa("prepare", "pretrain", "--bids", check.out / "scans", *how, check.out / "scan_store")
    cases = ("--data", check.out / "cases.csv", "--dataset", "tissue")
    check.asa("prepare", "finetune", *cases, *how, check.out / "case_store")


def pretrain(check: Check, precision: str) -> None:
    """Pre-train within the budget, and record the seconds of a step."""
    run = check.out / f"pretrain_{precision}"
    settings = check.settings(
        run.name,
        "pretrain_starter.yaml",
        store=str(check.out / "scan_store"),
        crop=list(check.shape),
        precision=precision,
        preview_every=0,
        validation_scans=2,
        warmup_epochs=2,
        schedule={"log_every": 5, "validate_every": 20},
    )
    check.asa("pretrain", settings, "-o", run, "--device", check.device, "--budget-minutes", check.minutes / 4)
    losses = record_steps(check, run)
    check.require(np.mean(losses[-3:]) < np.mean(losses[:3]), f"Pre-training in {precision} did not learn: {losses}.")


def record_steps(check: Check, run: Path) -> list[float]:
    """Record the median seconds of a step and the memory of a run; return the losses."""
    steps = [event for event in read_events(run / "events.jsonl") if event["event"] == "step"]
    check.facts[f"{run.name}, seconds a step"] = statistics.median(step["seconds"] for step in steps[1:] or steps)
    check.facts[f"{run.name}, GiB"] = max(step["memory_gib"] for step in steps)
    return [step["loss"] for step in steps]


def finetune(check: Check) -> None:
    """Fine-tune from the pre-trained encoder within the budget, and make a model of the run."""
    run = check.out / "finetune"
    settings = check.settings(
        run.name,
        "finetune_starter.yaml",
        store=str(check.out / "case_store"),
        crop=list(check.shape),
        shares=[4, 1, 1],
        validation_cases=1,
        init=str(check.out / "pretrain_fp32"),
        optimisation={"warmup_steps": 5},
        schedule={"log_every": 5, "validate_every": 20, "checkpoint_every": 20},
    )
    check.asa("finetune", settings, "-o", run, "--device", check.device, "--budget-minutes", check.minutes / 2)
    losses = record_steps(check, run)
    check.require(np.mean(losses[-3:]) < np.mean(losses[:3]), f"Fine-tuning did not learn: {losses}.")
    check.asa("export", run, "--name", "gpu-check", "-o", check.out / "model")


def segment(check: Check, name: str, device: str) -> Path:
    """Segment the first head with the model of the run."""
    scan = check.out / "scans" / "sub-0" / "anat" / "sub-0_T1w.nii.gz"
    check.asa("segment", scan, "--model", check.out / "model", "--device", device, "-o", check.out / name)
    return check.out / name / "segmentation.nii.gz"


def compare_devices(check: Check) -> None:
    """The labels of the device are those of the processor."""
    found = [read_volume(segment(check, f"on_{device}", device), labels=True).array for device in ("cpu", check.device)]
    first, second = found
    for label in TASKS["tissue"].labels:
        one, other = first == label.value, second == label.value
        dice = 2 * (one & other).sum() / max(1, one.sum() + other.sum())
        check.facts[f"Dice of {label.name} on {check.device} and cpu"] = round(float(dice), 4)
        check.require(not one.any() or dice >= SAME_LABELS, f"{label.name}: Dice {dice:.3f} between devices.")


def run_out_of_memory(check: Check) -> None:
    """Segment while another program holds nearly all of the memory: in windows, or one sentence, and then as before."""
    from asa.inference.predictor import Predictor
    from asa.models import find_model

    device = choose_device(check.device)
    predictor = Predictor(find_model(str(check.out / "model"), "tissue"), device)
    image = np.random.default_rng(0).normal(size=(1, 160, 192, 160)).astype(np.float32)
    whole = predictor.posterior(image)
    failed = 0
    real = predictor.run

    def once_too_large(x: torch.Tensor, origin: tuple[int, int, int]) -> torch.Tensor:
        nonlocal failed
        if x.shape[-3:] == image.shape[-3:]:
            failed += 1
            if device.type == "cuda":
                hold = torch.empty(2 * torch.cuda.mem_get_info(device)[0], dtype=torch.uint8, device=device)
                hold.fill_(0)
            raise torch.cuda.OutOfMemoryError("the dry run has no GPU")
        return real(x, origin)

    predictor.run = once_too_large  # type: ignore[method-assign]
    windows = predictor.posterior(image)
    check.facts["passes that ran out of memory"] = failed
    check.require(failed > 0, "Nothing ran out of memory.")
    agree = float((whole.argmax(0) == windows.argmax(0)).mean())
    check.facts["same label in one pass and in windows"] = round(agree, 3)
    check.require(np.isfinite(windows).all() and agree > 0.5, f"Windows agree with one pass in {agree:.0%} only.")


def main() -> int:
    """Run all checks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder for everything that is written; must not exist")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, help="for the trainings together; default 4, on a processor 8, idle")
    options = parser.parse_args()
    small = options.device == "cpu"
    choose_device(options.device)
    options.out.mkdir(parents=True)
    check = Check(
        options.out, options.device, options.minutes or (8 if small else 4), (64, 64, 64) if small else (96, 96, 96)
    )
    check.step("Paint heads", lambda: paint(check))
    check.step("Prepare", lambda: prepare(check))
    for precision in ("fp32", "bf16"):
        check.step(f"Pre-train in {precision}", lambda precision=precision: pretrain(check, precision))  # type: ignore[misc]
    check.step("Fine-tune and export", lambda: finetune(check))
    check.step("Segment on both devices", lambda: compare_devices(check))
    check.step("Run out of memory", lambda: run_out_of_memory(check))
    for name, fact in check.facts.items():
        print(f"{name:50} {fact}")
    found = {"device": options.device, "torch": torch.__version__, "seconds": check.seconds, "facts": check.facts}
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    (options.out / "gpu.json").write_text(json.dumps({**found, "failures": check.failures}, indent=1), encoding="utf-8")
    for failure in check.failures:
        print(f"FAILED: {failure}", file=sys.stderr)
    return int(bool(check.failures))


if __name__ == "__main__":
    sys.exit(main())
