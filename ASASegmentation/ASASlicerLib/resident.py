"""Keep one process of the engine running between requests, so that the next one pays no start and no loading.

The process reads requests from a pipe and ends by itself after a while without any, or once the pipe is closed, which
the operating system does when Slicer ends or crashes. Requests are answered one after the other.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from asa.events import Reported, from_line
from asa.temporary import private_folder
from ASASlicerLib.process import Process, ProcessRunner, PythonRunner

PROGRAM = ("-m", "asa.jobs.resident")
# Programs that the resident engine answers as requests.
_REQUESTS = {"asa.jobs.segment": "segment"}
_KILLED = -9


class ListeningProcess(Process, Protocol):
    """A running program that takes lines."""

    def send(self, line: str) -> None:
        """Write a line to its standard input.

        Raises:
            OSError: it has ended.
        """


class ListeningRunner(ProcessRunner, Protocol):
    """Interface that starts programs, also with a pipe to them."""

    def open(self, arguments: Sequence[str], folder: Path) -> ListeningProcess:
        """Run `python *arguments` in a folder, with a pipe to its standard input.

        Raises:
            OSError: it cannot be started.
        """


class Request:
    """A request to the engine; used like the process of a program that answers it alone."""

    def __init__(self, resident: ResidentRunner, line: str) -> None:
        self.line = line
        self.sent_to: ListeningProcess | None = None
        self.code: int | None = None
        self.heard = False  # whether the engine has said anything
        self.retried = False
        self.output: list[tuple[str, str]] = []
        self._resident = resident

    def lines(self) -> list[tuple[str, str]]:
        """Return the output since the last call: ("stdout" or "stderr", line without its end)."""
        self._resident.advance()
        found, self.output = self.output, []
        return found

    @property
    def exit_code(self) -> int | None:
        """None until it is answered, and all output was read."""
        return None if self.output else self.code

    def stop(self) -> None:
        """Drop the request; if the engine works on it, kill the engine: it may be too busy to listen."""
        self._resident.drop(self)

    def discard(self) -> None:
        """Let the engine finish, and ignore its answer."""
        if self.sent_to is None:
            self._resident.drop(self)


class ResidentRunner:
    """Starts programs; those of the engine's requests in one process that stays. No call blocks."""

    def __init__(self, runner: ListeningRunner) -> None:
        self._runner = runner
        self._engine: ListeningProcess | None = None
        self._folder: Path | None = None
        self._waiting: list[Request] = []
        self.starts = 0  # how often the process was started; what it kept is lost each time

    def start(self, arguments: Sequence[str], folder: Path) -> Process:
        """Run `python *arguments` in a folder, or have the resident engine answer it.

        Raises:
            OSError: it cannot be started.
        """
        name = _REQUESTS.get(arguments[1]) if arguments[0] == "-m" else None
        if name is None:
            return self._runner.start(arguments, folder)
        return self.ask(name, folder / arguments[-1])

    def ask(self, name: str, file: Path) -> Request:
        """Send a request as soon as those before it are answered.

        Args:
            name: segment or refine.
            file: the request.

        Raises:
            OSError: the engine cannot be started.
        """
        request = Request(self, json.dumps({"request": name, "file": str(file)}))
        self._waiting.append(request)
        try:
            self._send_next()
        except OSError:
            self._waiting.remove(request)
            raise
        return request

    @property
    def running(self) -> bool:
        """Whether there is a process."""
        return self._engine is not None and self._engine.exit_code is None

    def advance(self) -> None:
        """Pass on what the engine has said, and send the next request."""
        engine = self._engine
        if engine is None:
            return
        for stream, line in engine.lines():
            event = from_line(line) if stream == "stdout" else None
            if not self._waiting or self._waiting[0].sent_to is not engine:
                continue  # nobody asked: a library that warns between requests
            first = self._waiting[0]
            first.heard = True
            if isinstance(event, Reported) and event.name == "ended":
                first.code = int(event.values["exit_code"])
                self._waiting.pop(0)
            else:
                first.output.append((stream, line))
        if (code := engine.exit_code) is not None:
            self._engine = None
            self._end_of_engine(engine, code)
        try:
            self._send_next()
        except OSError as error:
            first = self._waiting.pop(0)
            first.output.append(("stderr", str(error)))
            first.code = 1

    def drop(self, request: Request) -> None:
        """Take a request back; kill the engine if it works on it."""
        if request not in self._waiting:
            return
        self._waiting.remove(request)
        request.output, request.code = [], _KILLED
        if request.sent_to is not None and request.sent_to is self._engine:
            self._kill()
            try:
                self._send_next()
            except OSError as error:
                for other in self._waiting:
                    other.output.append(("stderr", str(error)))
                    other.code = 1
                self._waiting = []

    def close(self) -> None:
        """Kill the engine and remove its temporary files."""
        for request in list(self._waiting):
            request.output, request.code = [], _KILLED
        self._waiting = []
        self._kill()

    def _kill(self) -> None:
        """Kill the engine and remove its temporary files."""
        if self._engine is not None:
            self._engine.stop()
            self._engine = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _end_of_engine(self, engine: ListeningProcess, code: int) -> None:
        """Let the request that the engine did not answer fail, or send it again if the engine had not seen it."""
        if not self._waiting or self._waiting[0].sent_to is not engine:
            return
        first = self._waiting[0]
        if not first.heard and not first.retried:  # it was sent in the moment in which the engine ended by itself
            first.sent_to, first.retried = None, True
            return
        self._waiting.pop(0)
        first.code = code or 1

    def _send_next(self) -> None:
        if not self._waiting or self._waiting[0].sent_to is not None:
            return
        first = self._waiting[0]
        if self._engine is None or self._engine.exit_code is not None:
            self._engine = self._started()
        try:
            self._engine.send(first.line)
        except OSError:  # it has just ended by itself
            self._engine = self._started()
            self._engine.send(first.line)
        first.sent_to = self._engine

    def _started(self) -> ListeningProcess:
        if self._folder is not None:  # what a crashed engine left there
            shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = private_folder("engine")
        self.starts += 1
        return self._runner.open(PROGRAM, self._folder)


_shared: ResidentRunner | None = None


def shared_runner() -> ResidentRunner:
    """Return the runner of the application: the panel and the effect use the same process."""
    global _shared
    if _shared is None:
        _shared = ResidentRunner(PythonRunner(Path(__file__).resolve().parents[1]))
    return _shared
