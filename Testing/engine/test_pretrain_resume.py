"""A run killed at any moment goes on as if it had never stopped; two processes compute what one does."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from asa.training import checkpoint
from asa.training.run import read_events

PROGRAM = Path(__file__).with_name("tiny_pretraining.py")
spec = importlib.util.spec_from_file_location("tiny_pretraining", PROGRAM)
tiny = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tiny)


TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def start(store: Path, folder: Path, *prefix: str, die: str = "", **changes) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(p for p in sys.path if p)
    environment = {**os.environ, "DIE": die, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    values = json.dumps(tiny.settings(store, **changes))
    command = [sys.executable, *prefix, str(PROGRAM), str(store), str(folder), values]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500, check=False)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tiny.make_store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def undisturbed(store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    assert tiny.run(tiny.settings(store), folder) == "finished"
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("die", ["after 5", "writing 3"])
def test_killed_and_resumed_is_the_same_run(store, undisturbed, tmp_path, die):
    killed = start(store, tmp_path, die=die)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(tiny.losses(tmp_path)) < len(tiny.losses(undisturbed))
    assert tiny.run(tiny.settings(store), tmp_path) == "finished"
    assert tiny.losses(tmp_path) == tiny.losses(undisturbed)
    for name in ("last", "best"):
        ours, theirs = (checkpoint.load(f / "checkpoints" / f"{name}.safetensors") for f in (tmp_path, undisturbed))
        assert ours[1] == theirs[1]
        assert all((ours[0][key] == theirs[0][key]).all() for key in ours[0].keys() | theirs[0].keys())


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["ddp", "fsdp"])
def test_two_processes_equal_one(store, undisturbed, tmp_path, sharding):
    done = start(store, tmp_path, *TORCHRUN, sharding=sharding)
    assert done.returncode == 0, done.stderr
    together, alone = tiny.losses(tmp_path), tiny.losses(undisturbed)
    assert together.keys() == alone.keys()
    assert all(together[step] == pytest.approx(alone[step], rel=1e-4) for step in alone)


@pytest.mark.slow
def test_torchrun_restarts_what_was_killed(store, undisturbed, tmp_path):
    done = start(store, tmp_path, *TORCHRUN, "--max-restarts", "1", die="after 5")
    assert done.returncode == 0, done.stderr
    together, alone = tiny.losses(tmp_path), tiny.losses(undisturbed)
    assert together.keys() == alone.keys()
    assert all(together[step] == pytest.approx(alone[step], rel=1e-4) for step in alone)
    assert any(event["event"] == "resume" for event in read_events(tmp_path / "events.jsonl"))


@pytest.mark.slow
def test_one_process_goes_on_where_two_sharded_ones_were_killed(store, undisturbed, tmp_path):
    assert start(store, tmp_path, *TORCHRUN, die="after 5", sharding="fsdp").returncode != 0
    assert start(store, tmp_path, *TORCHRUN, die="after 7", sharding="fsdp").returncode != 0
    assert tiny.run(tiny.settings(store), tmp_path) == "finished"
    together, alone = tiny.losses(tmp_path), tiny.losses(undisturbed)
    assert together.keys() == alone.keys()
    assert all(together[step] == pytest.approx(alone[step], rel=1e-4) for step in alone)


def test_losses_fall(undisturbed):
    losses = tiny.losses(undisturbed)
    assert losses[max(losses)] < 0.9 * losses[1]
