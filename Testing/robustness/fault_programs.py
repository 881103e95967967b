"""Programs of the engine on inputs so small that a run takes a fraction of a second; faults are injected into them.

Each works in a folder of its own, which holds its inputs (`in`), its results (`out`) and its temporary files (`tmp`).
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
from Testing.engine import fake_engine, labelled_files, tiny_pretraining

from asa.files import sha256

# Imported before the first fork, so that no run spends its time on it.
WARM = (
    "asa.cli.segment",
    "asa.cli.refine",
    "asa.cli.export",
    "asa.jobs.segment",
    "asa.jobs.refine",
    "asa.cohort.batch",
)
WARM += (
    "asa.report",
    "asa.inference.placement",
    "asa.data.case_store",
    "asa.data.datasets",
    "asa.training.publishing.card",
)
WARM += ("asa.training.pretraining.pretrain", "asa.training.parallel.distributed", "rich.progress", "PIL.Image")

# Files that state times, versions, or whether a result was made or reused.
TIMED = ("report.json", "summary.json", "index.json", "volumes.tsv")


def warm() -> None:
    """Import what the programs import."""
    for name in WARM:
        importlib.import_module(name)


@dataclass(frozen=True)
class Program:
    """A program and what it leaves.

    Attributes:
        inputs: writes the inputs into a folder.
        run: runs in this process on the inputs, results into the second folder; ends as the command does.
        outcome: file or part of a file -> digest of what must not depend on how a run was disturbed.
        whole: whether a file under its final name never changes again, as those of a run that goes on do.
        results: result folders below the second folder, which are complete or hold no report.json.
    """

    inputs: Callable[[Path], None]
    run: Callable[[Path, Path], None]
    outcome: Callable[[Path], dict[str, str]] = field(default=lambda out: digests(out))
    whole: bool = True
    results: Callable[[Path], list[Path]] = field(default=lambda out: finished(out))


def finished(out: Path) -> list[Path]:
    """Folders with a report, but for the hidden one that a killed run leaves to the next."""
    return [path.parent for path in out.rglob("report.json") if not path.parent.name.startswith(".")]


def digests(out: Path) -> dict[str, str]:
    """SHA-256 of every file; of ``TIMED`` ones, only that it is there."""
    found = {}
    for path in sorted(out.rglob("*")):
        if path.is_file():
            timed = path.name in TIMED or path.parent.name == "records"
            found[str(path.relative_to(out))] = "there" if timed else sha256(path)
    return found


def head(path: Path, seed: int = 0) -> None:
    """A head of 24 x 28 x 16 voxels of noise in two halves."""
    data = np.random.default_rng(seed).uniform(1, 100, (24, 28, 16)).astype(np.float32)
    data[12:] += 60
    data[:3] = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, np.diag([-4.0, 4.0, 6.0, 1.0])), path)


def without_a_network() -> None:
    """Let grey levels decide the labels, and write no segmentation file: a process of its own does that."""
    sys.modules.update(fake_engine.modules())
    find_spec = importlib.util.find_spec
    importlib.util.find_spec = lambda name, *rest: None if name == "slicer" else find_spec(name, *rest)


def command(*arguments: str) -> None:
    """Run the command line as its entry point does."""
    from asa.__main__ import main

    sys.argv = ["asa", *arguments]
    main()


def segment_one(given: Path, out: Path) -> None:
    without_a_network()
    command("segment", str(given / "t1.nii.gz"), "-o", str(out / "result"))


def segment_many(given: Path, out: Path) -> None:
    without_a_network()
    command("segment", str(given), "-o", str(out / "results"))


def result_and_marks(given: Path) -> None:
    """A finished result with probabilities, and a point to correct it by."""
    from asa.jobs import segment as job
    from asa.request import SegmentRequest

    without_a_network()
    head(given / "t1.nii.gz")
    request = SegmentRequest(images={"t1": given / "t1.nii.gz"}, posterior=True)
    job.run(request, given / "result", segmentation_file=False)
    point = {"kind": "point", "segment": "WM", "action": "add", "points_mm": [[-40.0, 56.0, 48.0]]}
    (given / "marks.json").write_text(json.dumps({"format": 1, "marks": [point]}), encoding="utf-8")


def refine(given: Path, out: Path) -> None:
    without_a_network()
    marks = str(given / "marks.json")
    command(
        "refine", str(given / "result"), "--marks", marks, "--t1", str(given / "t1.nii.gz"), "-o", str(out / "result")
    )


def prepare(given: Path, out: Path) -> None:
    """Prepare labelled cases that lie in the brain frame."""
    from asa.data.case_store import prepare_cases
    from asa.data.datasets import DATASETS

    plainly(lambda: prepare_cases(DATASETS["brats2021"], given, out / "store", shape=(16, 24, 16), align=False))


def pretrain(given: Path, out: Path) -> None:
    """Pre-train for ten steps."""
    import torch

    torch.set_num_threads(1)
    plainly(lambda: tiny_pretraining.run(tiny_pretraining.settings(given / "store"), out / "run"))


def trained(given: Path) -> None:
    """A finished pre-training run."""
    tiny_pretraining.run(tiny_pretraining.settings(tiny_pretraining.make_store(given / "store")), given / "run")
    described = {"name": "mine", "task": "pretraining", "modalities": ["t1"]}
    (given / "described.json").write_text(json.dumps(described), encoding="utf-8")


def publish(given: Path, out: Path) -> None:
    """Make a model of a run."""
    command("export", str(given / "run"), "-o", str(out / "mine"), "--description", str(given / "described.json"))


def plainly(work: Callable[[], object]) -> None:
    """Call a function, and end the process as the command would."""
    from asa.interrupts import interruptible, requested
    from asa.program import explain

    interruptible()
    try:
        work()
        if requested():
            sys.exit(130)
    except Exception as error:
        said = explain(error)
        print(f"Error: {said}", file=sys.stderr)
        sys.exit(130 if requested() else said.exit_code)


def run_outcome(out: Path) -> dict[str, str]:
    """The weights of a finished run; its log has times."""
    found = {}
    for name in ("last", "best"):
        path = out / "run" / "checkpoints" / f"{name}.safetensors"
        if path.exists():
            from asa.training import checkpoint

            tensors, record = checkpoint.load(path)
            found[name] = json.dumps([record["step"], *(float(one.double().sum()) for one in tensors.values())])
    return found


def cases(given: Path) -> None:
    for seed in range(3):
        labelled_files.tumour_head(given, f"BraTS2021_{seed:05d}", seed)


PROGRAMS = {
    "segment": Program(lambda given: head(given / "t1.nii.gz"), segment_one),
    "batch": Program(lambda given: [head(given / f"head{n}.nii.gz", n) for n in range(3)] and None, segment_many),
    "refine": Program(result_and_marks, refine),
    "prepare": Program(cases, prepare),
    "pretrain": Program(
        lambda given: tiny_pretraining.make_store(given / "store") and None, pretrain, run_outcome, whole=False
    ),
    "publish": Program(trained, publish),
}
