"""A program of its own for the job: its lines as they come, and its end together with all that it started.

Without threads: while Slicer waits for events its main thread keeps Python's global lock, so that other Python threads
hardly get on there.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

# PythonSlicer is a launcher: of a Python that was killed or crashed it says this on standard error, and ends with 1.
LAUNCHER_WORDS = "exit abnormally - Report the problem"
_POSIX = os.name == "posix"
_BLOCK = 1 << 16
_MOST_BLOCKS = 16  # at one call, so that a program that talks without end cannot hold up the GUI
# A console that is not seen, on Windows: without any, each program that the program starts would open one.
_FLAGS = 0 if _POSIX else getattr(subprocess, "CREATE_NO_WINDOW", 0)


class Process(Protocol):
    """A running program, as the job sees it. Nothing here waits."""

    def lines(self) -> list[tuple[str, str]]:
        """What was written since the last call: ("stdout" or "stderr", line without its end)."""

    @property
    def exit_code(self) -> int | None:
        """None while it runs or has output that `lines` did not give yet."""

    def stop(self) -> None:
        """Ends it and everything it started, at once."""


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
        temporary = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder))  # what a killed program leaves goes with it
        return RunningProcess([python_executable(), *arguments], folder, {**self._environment(), **temporary})

    def detach(self, arguments: Sequence[str], folder: Path, output: Path) -> subprocess.Popen[bytes]:
        """Starts a program that goes on when this one ends, its output appended to a file. Raises OSError."""
        with output.open("ab") as stream:
            return subprocess.Popen(
                [python_executable(), *arguments],
                cwd=folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=_POSIX,
                creationflags=_FLAGS | (0 if _POSIX else getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)),
            )

    def _environment(self) -> dict[str, str]:
        path = os.pathsep.join(filter(None, (str(self._python_path), os.environ.get("PYTHONPATH"))))
        output = {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
        return {**os.environ, **output, "PYTHONPATH": path}


class RunningProcess:
    """A program in a process group of its own."""

    def __init__(self, command: Sequence[str], folder: Path, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=_POSIX,
            creationflags=_FLAGS,
        )
        assert self._process.stdout is not None and self._process.stderr is not None
        self._pipes = {"stdout": self._process.stdout.fileno(), "stderr": self._process.stderr.fileno()}
        self._unfinished = dict.fromkeys(self._pipes, b"")  # lines of which the end is still to come
        self._drained = False
        if _POSIX:
            for pipe in self._pipes.values():
                os.set_blocking(pipe, False)

    def lines(self) -> list[tuple[str, str]]:
        ended = self._process.poll() is not None  # asked first: whatever it wrote can be read now
        found, empty = [], True
        for name, pipe in self._pipes.items():
            for _ in range(_MOST_BLOCKS):
                if not (block := _available(pipe)):
                    break
                *whole, self._unfinished[name] = (self._unfinished[name] + block).split(b"\n")
                found += [(name, _text(line)) for line in whole]
            else:
                empty = False
            if ended and empty and self._unfinished[name]:
                found.append((name, _text(self._unfinished[name])))
                self._unfinished[name] = b""
        self._drained = ended and empty
        return found

    @property
    def pid(self) -> int:
        """Its process id, which on POSIX is also that of its process group."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        code = self._process.poll()
        return code if self._drained else None

    def stop(self) -> None:
        """Kills without asking: all that it wrote lies in its folder, and what it is busy with it might not leave."""
        if _POSIX:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        else:
            end_tree(self._process.pid)


def end_tree(pid: int) -> None:
    """Ends a program and all that it started, on Windows; does not wait for it. Raises OSError."""
    words = ["taskkill", "/F", "/T", "/PID", str(pid)]
    subprocess.Popen(words, creationflags=_FLAGS, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _available(pipe: int) -> bytes:
    """What can be read from a pipe without waiting."""
    try:
        if not _POSIX:
            import _winapi
            import msvcrt

            waiting = _winapi.PeekNamedPipe(msvcrt.get_osfhandle(pipe), 0)[0]  # type: ignore[attr-defined]
            return os.read(pipe, min(waiting, _BLOCK)) if waiting else b""
        return os.read(pipe, _BLOCK)
    except OSError:  # nothing there yet, or closed
        return b""


def _text(line: bytes) -> str:
    return line.decode("utf-8", errors="replace").rstrip("\r")
