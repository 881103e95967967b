"""Signals: whenever one arrives, nothing half-written is left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from asa import cli, interrupts
from asa.files import atomic_path
from asa.jobs.result_folder import publish, staging_in

ENGINE = Path(cli.__file__).parents[2]
WATCHED = ("result_folder.py", "files.py", "interrupts.py", "contextlib.py")


@pytest.fixture(autouse=True)
def handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give the signals back to the tests' own program; no test here needs the disk to be quick."""
    monkeypatch.setattr("asa.files._flush_to_disk", lambda path: None)
    old = {number: signal.getsignal(number) for number in interrupts.install(signal.default_int_handler)}
    yield
    for number, handler in old.items():
        signal.signal(number, handler)
    interrupts._state.waiting = interrupts._state.requested = False


def interrupted_at(line: int, work: Any) -> bool:
    """Call ``work`` with a signal before the given line that the watched files run; whether there was such a line."""
    count = 0

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal count
        if Path(frame.f_code.co_filename).name not in WATCHED:
            return None
        if event == "line":
            count += 1
            if count == line:
                interrupts._interrupt(signal.SIGINT, frame)
        return trace

    interrupts._state.waiting = interrupts._state.requested = False
    sys.settrace(trace)
    try:
        work()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(None)
    interrupts.finish()  # as when the program ends
    return count >= line


def test_a_result_folder_is_complete_or_absent_wherever_the_signal_falls(tmp_path: Path) -> None:
    report = {"files": ["a.txt", "b.txt"], "outputs": {"a.txt": {}, "b.txt": {}}, "settings": {"x": 1}}
    folder = tmp_path / "new" / "out"

    def work() -> None:
        with staging_in(folder) as staging:
            for name in report["files"]:
                (staging / name).write_text(name)
            publish(staging, folder, dict(report))

    line, complete, absent = 0, 0, 0
    there = True
    while there:
        line += 1
        there = interrupted_at(line, work)
        found = {path.name for path in folder.iterdir()} if folder.exists() else set()
        assert found in (set(), {"a.txt", "b.txt", "report.json"}), f"line {line}"
        assert found or list(tmp_path.iterdir()) == [], f"line {line}"
        complete, absent = complete + bool(found), absent + (not found)
        for path in folder.iterdir() if found else ():
            path.unlink()
        with contextlib.suppress(OSError):
            folder.rmdir()
            folder.parent.rmdir()
    assert absent > 50 and complete > 5


def test_a_file_is_whole_or_absent_wherever_the_signal_falls(tmp_path: Path) -> None:
    def work() -> None:
        with atomic_path(tmp_path / "a.txt") as temporary:
            temporary.write_text("whole")

    line = 1
    while interrupted_at(line, work):
        found = {path.name: path.read_text() for path in tmp_path.iterdir()}
        assert found in ({}, {"a.txt": "whole"}), f"line {line}"
        (tmp_path / "a.txt").unlink(missing_ok=True)
        line += 1
    assert line > 20


def test_a_signal_waits_for_work_that_is_not_done_by_halves() -> None:
    interrupts.interruptible()
    reached = False
    with pytest.raises(KeyboardInterrupt), interrupts.deferred():
        signal.raise_signal(signal.SIGINT)
        reached = True
    assert reached


def test_a_signal_that_a_library_swallowed_is_raised_again() -> None:
    interrupts.interruptible()
    with contextlib.suppress(KeyboardInterrupt):  # as in a destructor
        signal.raise_signal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        interrupts.check()


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="a signal that Windows lacks")
def test_what_the_caller_ignores_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    interrupts.interruptible()
    signal.raise_signal(signal.SIGHUP)
    assert not interrupts.requested()


def test_another_thread_installs_nothing() -> None:
    found: list[Any] = []

    def work() -> None:
        found.append(interrupts.install(signal.default_int_handler))
        with interrupts.deferred():
            found.append(interrupts._state.deferred)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [{}, 0]


def wait_for(path: Path, process: subprocess.Popen[Any]) -> None:
    while not path.exists():
        assert process.poll() is None
        time.sleep(0.005)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process without asking it")
@pytest.mark.parametrize(("name", "times"), [("SIGINT", 3), ("SIGTERM", 1), ("SIGHUP", 1)])
def test_a_signal_while_segmenting_leaves_nothing(tmp_path: Path, name: str, times: int) -> None:
    image = tmp_path / "head.nii.gz"
    image.write_bytes(b"no image")
    program = (
        "import sys, time\n"
        "from types import ModuleType\n"
        "from asa.jobs import segment as job\n"
        "from asa.__main__ import main\n"
        "def segment(request, progress):\n"
        f"    open({str(tmp_path / 'begun')!r}, 'w').close()\n"
        "    time.sleep(60)\n"
        "job._engine = lambda: segment\n"
        f"sys.argv[1:] = ['segment', {str(image)!r}, '-o', {str(tmp_path / 'new' / 'out')!r}]\n"
        "main()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ENGINE)}
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
    )
    wait_for(tmp_path / "begun", process)
    for _ in range(times):
        process.send_signal(getattr(signal, name))
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert err.splitlines()[-1].startswith("Error: Cancelled") and "Traceback" not in err
    assert {path.name for path in tmp_path.iterdir()} == {"begun", "head.nii.gz"}
