"""A run killed at any moment goes on as if it had never stopped; two processes compute what one does."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from Testing.engine import tiny_pretraining as tiny

from asa.runs.folder import read_events
from asa.training import checkpoint

PROGRAM = Path(tiny.__file__)
LOOPBACK = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), "")
# 127.0.0.1 by number: where a computer does not know its own name, looking it up takes minutes.
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", "2")


def start(runs: dict[Path, dict[str, Any]], *prefix: str, die: str = "") -> subprocess.CompletedProcess[str]:
    """Run the program to its end; nothing of it is left behind, whatever happens."""
    path = os.pathsep.join(p for p in sys.path if p)
    environment = {**os.environ, "DIE": die, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, "GLOO_SOCKET_IFNAME": LOOPBACK}
    values = json.dumps({str(folder): settings for folder, settings in runs.items()})
    command = [sys.executable, *prefix, str(PROGRAM), values]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(
        command, env=environment, encoding="utf-8", errors="replace", start_new_session=True, **pipes
    )
    try:
        out, err = process.communicate(timeout=tiny.HANGS_AFTER_S + 300)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tiny.make_store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def undisturbed(store, tmp_path_factory):
    """In a process of its own as those that are killed: one that other tests have used may round otherwise."""
    folder = tmp_path_factory.mktemp("undisturbed")
    done = start({folder: tiny.settings(store)})
    assert done.returncode == 0, done.stderr
    return folder


def assert_the_same(together: dict[int, float], alone: dict[int, float]) -> None:
    assert together.keys() == alone.keys()
    assert all(together[step] == pytest.approx(alone[step], rel=1e-4) for step in alone)


@pytest.mark.slow
@pytest.mark.parametrize("die", ["after 5", "writing 3"])
def test_killed_and_resumed_is_the_same_run(store, undisturbed, tmp_path, die):
    killed = start({tmp_path: tiny.settings(store)}, die=die)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(tiny.losses(tmp_path)) < len(tiny.losses(undisturbed))
    resumed = start({tmp_path: tiny.settings(store)})
    assert resumed.returncode == 0, resumed.stderr
    assert tiny.losses(tmp_path) == tiny.losses(undisturbed)
    for name in ("last", "best"):
        ours, theirs = (checkpoint.load(f / "checkpoints" / f"{name}.safetensors") for f in (tmp_path, undisturbed))
        assert ours[1] == theirs[1]
        assert all((ours[0][key] == theirs[0][key]).all() for key in ours[0].keys() | theirs[0].keys())


@pytest.mark.slow
def test_two_processes_equal_one(store, undisturbed, tmp_path):
    """With a copy of the network each, and with the network shared out."""
    runs = {tmp_path / sharding: tiny.settings(store, sharding=sharding) for sharding in ("ddp", "fsdp")}
    done = start(runs, *TORCHRUN)
    assert done.returncode == 0, done.stderr
    for folder in runs:
        assert_the_same(tiny.losses(folder), tiny.losses(undisturbed))


@pytest.mark.slow
def test_torchrun_restarts_what_was_killed(store, undisturbed, tmp_path):
    done = start({tmp_path: tiny.settings(store)}, *TORCHRUN, "--max-restarts", "1", die="after 5")
    assert done.returncode == 0, done.stderr
    assert_the_same(tiny.losses(tmp_path), tiny.losses(undisturbed))
    assert any(event["event"] == "resume" for event in read_events(tmp_path / "events.jsonl"))


@pytest.mark.slow
def test_one_process_goes_on_where_two_sharded_ones_were_killed(store, undisturbed, tmp_path):
    runs = {tmp_path: tiny.settings(store, sharding="fsdp")}
    done = start(runs, *TORCHRUN, "--max-restarts", "1", die="after 5, after 7")
    assert done.returncode != 0 and max(tiny.losses(tmp_path)) == 7, done.stderr
    assert tiny.run(tiny.settings(store), tmp_path) == "finished"
    assert_the_same(tiny.losses(tmp_path), tiny.losses(undisturbed))


def test_losses_fall(undisturbed):
    losses = tiny.losses(undisturbed)
    assert losses[max(losses)] < 0.9 * losses[1]
