"""A program of its own for the job: its lines as they come, and its end together with all that it started."""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

_GRACE_S = 1.0  # between asking a program to end and making it
_POSIX = os.name == "posix"


class Process(Protocol):
    """A running program, as the job sees it. Nothing here waits."""

    def lines(self) -> list[tuple[str, str]]:
        """What was written since the last call: ("stdout" or "stderr", line without its end)."""

    @property
    def exit_code(self) -> int | None:
        """None while it runs or its output is still coming."""

    def stop(self) -> None:
        """Ends it and everything it started, within two seconds."""


class ProcessRunner(Protocol):
    """Starts programs."""

    def start(self, arguments: Sequence[str], folder: Path) -> Process:
        """Runs `python *arguments` in a folder. Raises OSError when it cannot be started."""


def python_executable() -> str:
    """The Python that runs jobs: inside Slicer `PythonSlicer`, which has Slicer's packages; else this one."""
    return shutil.which("PythonSlicer") or sys.executable


class PythonRunner:
    """Starts Python programs that can import the engine.

    `python_path`: folder the engine `asa` lies in.
    """

    def __init__(self, python_path: Path) -> None:
        self._python_path = python_path

    def start(self, arguments: Sequence[str], folder: Path) -> RunningProcess:
        path = os.pathsep.join(filter(None, (str(self._python_path), os.environ.get("PYTHONPATH"))))
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
        return RunningProcess([python_executable(), *arguments], folder, environment)


class RunningProcess:
    """A program in a process group of its own, its output read by two threads."""

    def __init__(self, command: Sequence[str], folder: Path, environment: dict[str, str]) -> None:
        # On Windows CREATE_NO_WINDOW keeps a console from flashing up; `taskkill /T` finds the children there.
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            start_new_session=_POSIX,
            creationflags=0 if _POSIX else getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        self._queue: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        self._readers = [
            threading.Thread(target=self._read, args=(name, getattr(self._process, name)), daemon=True)
            for name in ("stdout", "stderr")
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, name: str, stream: object) -> None:
        with contextlib.suppress(ValueError, OSError):  # closed under our hands
            for line in stream:  # type: ignore[attr-defined]
                self._queue.put((name, line.rstrip("\r\n")))

    def lines(self) -> list[tuple[str, str]]:
        found = []
        while not self._queue.empty():
            found.append(self._queue.get())
        return found

    @property
    def pid(self) -> int:
        """Its process id, which on POSIX is also that of its process group."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        code = self._process.poll()
        if code is None or any(reader.is_alive() for reader in self._readers) or not self._queue.empty():
            return None
        return code

    def stop(self) -> None:
        """Asks the whole group to end, and kills what is still there a second later, from a thread."""
        if _POSIX:
            self._signal(signal.SIGTERM)
            # Not a daemon: leaving Slicer right after cancelling must not leave the job behind.
            threading.Thread(target=self._kill_later).start()
        else:
            subprocess.Popen(
                ["taskkill", "/F", "/T", "/PID", str(self._process.pid)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )

    def _kill_later(self) -> None:
        deadline = time.monotonic() + _GRACE_S
        while time.monotonic() < deadline and self._process.poll() is None:
            time.sleep(0.02)
        # Also when the leader has ended: what it started may not have.
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)
