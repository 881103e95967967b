"""Runs that queue for a device, and that have their folder to themselves, whatever becomes of their processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from Testing.engine.tiny_pretraining import make_store, settings

from asa.errors import InputError
from asa.runs.folder import Run
from asa.runs.queue import device_queue, exclusive_run, holders
from asa.training.session import session

ENGINE = Path(__file__).resolve().parents[3] / "ASASegmentation"
HOLD = "from asa.runs.queue import device_queue, exclusive_run; from pathlib import Path; import time, sys\n"
SLEEP = "print('has it', flush=True); time.sleep(60)"


@pytest.fixture(autouse=True)
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue of the test's own."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))


@pytest.fixture
def elsewhere() -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Runs code in another process until it says a line."""
    started = []

    def run(code: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(ENGINE)}
        command = [sys.executable, "-c", HOLD + code]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8", errors="replace", env=environment)
        started.append(process)
        assert process.stdout is not None and process.stdout.readline() == "has it\n"
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()


def phase(run: Path) -> str:
    try:
        return str(json.loads((run / "state.json").read_text())["phase"])
    except (OSError, ValueError):
        return ""


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def test_a_device_is_had_by_one_after_the_other(elsewhere: Callable, tmp_path: Path) -> None:
    first = elsewhere(f"with device_queue('cuda:0', Path('/first')): {SLEEP}")
    assert holders("cuda:0") == [Path("/first")] and holders("cpu") == []
    seen: list[Path] = []

    def waiting(run: Path) -> None:
        seen.append(run)
        assert holders("cuda:0") == [Path("/first"), tmp_path]
        first.kill()  # without a word; its lock goes with it

    with device_queue("cuda:0", tmp_path, waiting):
        assert holders("cuda:0") == [tmp_path]
    assert seen[0] == Path("/first")
    assert holders("cuda:0") == []


def test_a_folder_is_trained_in_by_one_process(
    elsewhere: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asa.runs.queue.LEAVING_S", 0.2)
    other = elsewhere(f"with exclusive_run(Path({str(tmp_path)!r})): {SLEEP}")
    with pytest.raises(InputError, match="Another process is already training in"), exclusive_run(tmp_path):
        pass
    other.kill()
    other.wait()
    with exclusive_run(tmp_path):
        pass


def test_what_fails_before_the_first_step_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError), session(tmp_path, "cpu"):
        assert phase(tmp_path) == "starting"
        raise InputError("no such store")
    assert phase(tmp_path) == "failed"
    assert "failed: no such store" in (tmp_path / "log.txt").read_text()
    with pytest.raises(InputError), session(tmp_path / "never made", "cpu"):
        raise InputError("no such store")
    assert not (tmp_path / "never made").exists()


def test_queued_runs_follow_each_other_and_can_be_stopped(elsewhere: Callable, tmp_path: Path) -> None:
    """One process holds the CPU, two runs wait: one is stopped while it waits, the other trains to its end."""
    first = elsewhere(f"with device_queue('cpu', Path('/first')): {SLEEP}")
    store = make_store(tmp_path / "store")
    (tmp_path / "settings.json").write_text(json.dumps(settings(store, epochs=2)))
    command = [sys.executable, "-m", "asa", "pretrain", str(tmp_path / "settings.json"), "--device", "cpu", "--queue"]
    environment = {**os.environ, "PYTHONPATH": str(ENGINE)}
    runs = [tmp_path / "stopped", tmp_path / "trained"]
    processes = [subprocess.Popen([*command, "-o", str(run)], env=environment) for run in runs]
    wait_for(lambda: all(phase(run) == "queued" for run in runs))
    assert "which is in use by first" in (runs[0] / "log.txt").read_text()
    Run(runs[0]).stop_path.touch()
    assert processes[0].wait(60) == 130
    assert phase(runs[0]) == "stopped" and not Run(runs[0]).stop_path.exists()
    first.send_signal(signal.SIGKILL)
    assert processes[1].wait(60) == 0
    assert phase(runs[1]) == "finished"


def test_a_stop_file_ends_a_run_with_a_checkpoint(tmp_path: Path) -> None:
    from Testing.engine.tiny_pretraining import run

    folder = tmp_path / "run"
    schedule = {"log_every": 1, "checkpoint_every": 0, "validate_every": 0}
    values = settings(make_store(tmp_path / "store"), schedule=schedule)
    event = Run.event

    def stop_at_three(self: Run, kind: str, **more: object) -> None:
        event(self, kind, **more)
        if kind == "step" and more["step"] == 3:
            self.stop_path.touch()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "event", stop_at_three)
        assert run(values, folder) == "stopped"
    state = json.loads((folder / "state.json").read_text())
    assert (state["phase"], state["step"], state["steps"], state["device"]) == ("stopped", 3, 10, "cpu")
    assert Run(folder).checkpoint_path("last").is_file() and not Run(folder).stop_path.exists()
    assert run(values, folder) == "finished"
