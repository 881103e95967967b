"""The SLURM script, on submitit's stand-in for a cluster: this computer."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
import yaml
from Testing.engine import tiny_pretraining as tiny
from Testing.engine.labelled_files import tumour_head

from asa.data.case_store import prepare_cases
from asa.data.datasets import DATASETS


def pretraining(folder):
    return tiny.settings(tiny.make_store(folder / "store"), epochs=3)


def finetuning(folder):
    for seed in range(2):
        tumour_head(folder / "heads", f"BraTS2021_{seed:05d}", seed)
    prepare_cases(DATASETS["brats2021"], folder / "heads", folder / "store", shape=(32, 32, 32), align=False)
    optimisation = {"steps": 2, "batch": 2, "micro_batch": 1, "precision": "fp32"}
    return {
        "store": str(folder / "store"),
        "shares": [1, 0, 1],
        "size": "small",
        "crop": [32, 32, 32],
        "optimisation": optimisation,
    }


@pytest.mark.slow
@pytest.mark.parametrize(("what", "make", "processes"), [("pretrain", pretraining, 1), ("finetune", finetuning, 2)])
def test_a_job_runs_to_its_end(repository, tmp_path, what, make, processes):
    """Several processes are asked for as GPUs; where there are none, they compute on processors (gloo)."""
    pytest.importorskip("submitit", reason="needs: pip install submitit")
    if processes > 1 and torch.cuda.is_available():
        pytest.skip("several processes on processors: this computer has a GPU")
    settings = tmp_path / "settings.yaml"
    settings.write_text(yaml.safe_dump(make(tmp_path)))
    script = repository / "Resources/Scripts/train_slurm.py"
    gpus = str(processes if processes > 1 else 0)
    place = ("--gpus", gpus, "--cpus", "1", "--cluster", "local", "--wait")
    command = [sys.executable, str(script), what, str(settings), "-o", str(tmp_path / "run"), *place]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        command, env=environment, capture_output=True, encoding="utf-8", errors="replace", timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run/state.json").read_text())["phase"] == "finished"
