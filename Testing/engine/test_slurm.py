"""The SLURM script, on submitit's stand-in for a cluster: this computer."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

spec = importlib.util.spec_from_file_location("tiny_pretraining", Path(__file__).with_name("tiny_pretraining.py"))
tiny = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tiny)


@pytest.mark.slow
def test_a_job_runs_to_its_end(repository, tmp_path):
    pytest.importorskip("submitit", reason="needs: pip install submitit")
    settings = tmp_path / "settings.yaml"
    settings.write_text(yaml.safe_dump(tiny.settings(tiny.make_store(tmp_path / "store"), epochs=3)))
    script = repository / "Resources/Scripts/train_slurm.py"
    place = ("--gpus", "0", "--cpus", "1", "--cluster", "local", "--wait")
    command = [sys.executable, str(script), "pretrain", str(settings), "-o", str(tmp_path / "run"), *place]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run/state.json").read_text())["phase"] == "finished"
