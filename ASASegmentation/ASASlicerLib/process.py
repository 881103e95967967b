"""Run a program in a separate process, read its output without blocking, and end it with all its children.

No threads are used: while Slicer waits for events its main thread holds Python's global lock, so that other Python
threads hardly run.
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

# PythonSlicer is a launcher: if its Python was killed or crashed, it prints this on standard error and exits with 1.
LAUNCHER_MESSAGE = "exit abnormally - Report the problem"
_POSIX = os.name == "posix"
_BLOCK = 1 << 16
_MOST_BLOCKS = 16  # per call, so that a program with endless output cannot block the GUI
# A hidden console on Windows: without one, each child process would open its own.
_FLAGS = 0 if _POSIX else getattr(subprocess, "CREATE_NO_WINDOW", 0)


class Process(Protocol):
    """Interface of a running program. No call blocks."""

    def lines(self) -> list[tuple[str, str]]:
        """Return the output since the last call: ("stdout" or "stderr", line without its end)."""

    @property
    def exit_code(self) -> int | None:
        """None while it runs or has output that `lines` has not returned yet."""

    def stop(self) -> None:
        """Kill the program and its children."""


class ProcessRunner(Protocol):
    """Interface that starts programs."""

    def start(self, arguments: Sequence[str], folder: Path) -> Process:
        """Run `python *arguments` in a folder.

        Raises:
            OSError: it cannot be started.
        """


def python_executable() -> str:
    """Return the Python that runs jobs: `PythonSlicer` inside Slicer, otherwise this interpreter."""
    return shutil.which("PythonSlicer") or sys.executable


class PythonRunner:
    """Starts Python programs that can import the engine.

    `python_path`: folder the engine `asa` lies in.
    """

    def __init__(self, python_path: Path) -> None:
        self._python_path = python_path

    def start(self, arguments: Sequence[str], folder: Path) -> RunningProcess:
        """Run `python *arguments` in a folder.

        Raises:
            OSError: it cannot be started.
        """
        return self._run(arguments, folder, listens=False)

    def open(self, arguments: Sequence[str], folder: Path) -> RunningProcess:
        """Run `python *arguments` in a folder, with a pipe to its standard input.

        Raises:
            OSError: it cannot be started.
        """
        return self._run(arguments, folder, listens=True)

    def _run(self, arguments: Sequence[str], folder: Path, listens: bool) -> RunningProcess:
        # temporary files of a killed program are removed with the folder
        temporary = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder))
        command = [python_executable(), *arguments]
        return RunningProcess(command, folder, {**self._environment(), **temporary}, listens)

    def detach(self, arguments: Sequence[str], folder: Path, output: Path) -> subprocess.Popen[bytes]:
        """Start a program that survives this one, its output appended to a file.

        Raises:
            OSError: it cannot be started.
        """
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
    """A program in its own process group."""

    def __init__(
        self, command: Sequence[str], folder: Path, environment: dict[str, str], listens: bool = False
    ) -> None:
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE if listens else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=_POSIX,
            creationflags=_FLAGS,
        )
        assert self._process.stdout is not None and self._process.stderr is not None
        self._pipes = {"stdout": self._process.stdout.fileno(), "stderr": self._process.stderr.fileno()}
        self._unfinished = dict.fromkeys(self._pipes, b"")  # incomplete last lines
        self._drained = False
        if _POSIX:
            for pipe in self._pipes.values():
                os.set_blocking(pipe, False)

    def send(self, line: str) -> None:
        """Write a line to its standard input; short lines do not block, because the engine reads immediately.

        Raises:
            OSError: it has ended.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")

    def lines(self) -> list[tuple[str, str]]:
        """Return the lines of output since the last call: (name of the stream, line)."""
        ended = self._process.poll() is not None  # checked first: all its output is available after its end
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
        """Process id, on POSIX also the id of its process group."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code once the program has ended and all its output was read, None before."""
        code = self._process.poll()
        return code if self._drained else None

    def stop(self) -> None:
        """Kill the process group: all output is in its folder, and it may be too busy to end gracefully."""
        if _POSIX:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        else:
            kill_tree(self._process.pid)


def kill_tree(pid: int) -> None:
    """Kill a program and its children on Windows, without waiting.

    Raises:
        OSError: it cannot be killed.
    """
    words = ["taskkill", "/F", "/T", "/PID", str(pid)]
    subprocess.Popen(words, creationflags=_FLAGS, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _available(pipe: int) -> bytes:
    """Return what can be read from a pipe without blocking."""
    try:
        if not _POSIX:
            import _winapi
            import msvcrt

            waiting = _winapi.PeekNamedPipe(msvcrt.get_osfhandle(pipe), 0)[0]  # type: ignore[attr-defined]
            return os.read(pipe, min(waiting, _BLOCK)) if waiting else b""
        return os.read(pipe, _BLOCK)
    except OSError:  # no data yet, or closed
        return b""


def _text(line: bytes) -> str:
    return line.decode("utf-8", errors="replace").rstrip("\r")
