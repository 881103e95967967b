"""A program of the engine in a process of its own, followed without ever waiting for it."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Generic, TypeVar

from .process import Process, ProcessRunner

_T = TypeVar("_T")
_CLEAN_UP_S = 5.0
_OUT_OF_MEMORY_KILL = -9


class JobState(Enum):
    """Where a job is. It moves down this list only."""

    PREPARING = 1
    RUNNING = 2
    READING = 3
    DONE = 4
    FAILED = 5
    CANCELLED = 6


@dataclass(frozen=True)
class Progress:
    """`stage` is the engine's name for what it does; `remaining_s` is None while nobody can tell."""

    stage: str
    fraction: float
    remaining_s: float | None = None


def in_background(function: Callable[[], _T]) -> Future[_T]:
    """Runs a function in a thread of its own."""
    future: Future[_T] = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:  # handed to whoever asks for the result
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


class EngineJob(Generic[_T]):
    """Writes the inputs, runs `python *arguments`, reads its results. Call `poll` from time to time until it ended.

    Its files lie in a private temporary folder, which is gone afterwards. Subclasses say what is written, run and read:
    `prepare`, `reader`, and `take` for events beyond progress, warning and error.
    """

    WHAT = "program"  # in sentences for the user

    def __init__(self, runner: ProcessRunner) -> None:
        self.state = JobState.PREPARING
        self.progress = Progress("preparing", 0.0)
        self.log: list[str] = []
        self.error = ""
        self.result: _T | None = None
        self.folder = Path(tempfile.mkdtemp(prefix="asa-"))  # readable by this user only
        self._runner = runner
        self._process: Process | None = None
        self._reading: Future[_T] | None = None
        self._preparing = in_background(self.prepare)

    def prepare(self) -> list[str]:
        """Writes the inputs and returns the arguments for Python. Runs in a thread of its own; may raise OSError."""
        raise NotImplementedError

    def reader(self) -> Callable[[], _T]:
        """Called on the GUI thread once the program ended well; what it returns reads the results in another one and
        may raise OSError, ValueError or LookupError."""
        raise NotImplementedError

    def take(self, event: Mapping[str, Any]) -> None:
        """An event of the program's own."""

    @property
    def ended(self) -> bool:
        return self.state in (JobState.DONE, JobState.FAILED, JobState.CANCELLED)

    def cancel(self) -> None:
        """Ends the process and all that it started, within two seconds; nothing is waited for."""
        if self.ended:
            return
        if self._process is not None:
            self._process.stop()
        self._end(JobState.CANCELLED)

    def poll(self) -> None:
        """Takes in what happened since the last call."""
        if self.state is JobState.PREPARING and self._preparing.done():
            self._launch()
        elif self.state is JobState.RUNNING:
            self._follow()
        elif self.state is JobState.READING and self._reading is not None and self._reading.done():
            self._finish()

    def _launch(self) -> None:
        try:
            self._process = self._runner.start(self._preparing.result(), self.folder)
        except OSError as error:
            self._fail(f"The {self.WHAT} could not be started in {self.folder.parent}: {error.strerror or error}.")
        else:
            self.state = JobState.RUNNING

    def _follow(self) -> None:
        assert self._process is not None
        for stream, line in self._process.lines():
            event = _event(line) if stream == "stdout" else None
            if event is None:
                self.log.append(line)
            else:
                self._take(event)
        code = self._process.exit_code
        if code == 0 and not self.error:
            self.state = JobState.READING
            self._reading = in_background(self.reader())
        elif code is not None:
            self._fail(self.error or self._crash(code))

    def _take(self, event: Mapping[str, Any]) -> None:
        if event["event"] == "progress":
            self.progress = Progress(event["stage"], float(event["fraction"]), event.get("remaining_s"))
        elif event["event"] in ("warning", "error"):
            self.log.append(f"{event['event'].capitalize()}: {event['message']}")
            if event["event"] == "error":
                self.error = event["message"]
        else:
            self.take(event)

    def _finish(self) -> None:
        assert self._reading is not None
        try:
            self.result = self._reading.result()
        except (OSError, ValueError, LookupError) as error:
            self._fail(f"The results could not be read: {error}")
        else:
            self._end(JobState.DONE)

    def _fail(self, message: str) -> None:
        self.error = message
        self._end(JobState.FAILED)

    def _crash(self, code: int) -> str:
        if code == _OUT_OF_MEMORY_KILL:
            reason = "most likely because memory ran out. Close other programs and retry."
            return f"The system ended the {self.WHAT}, {reason}"
        return f"The {self.WHAT} program stopped unexpectedly (exit code {code}). The log shows its last words."

    def _end(self, state: JobState) -> None:
        self.state = state
        # Not a daemon: leaving Slicer must not leave a patient's images behind.
        threading.Thread(target=self._clean_up).start()

    def _clean_up(self) -> None:
        deadline = time.monotonic() + _CLEAN_UP_S
        while time.monotonic() < deadline and not self._idle():
            time.sleep(0.05)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _idle(self) -> bool:
        if self._process is not None:
            self._process.lines()  # nobody else reads them any more
            return self._process.exit_code is not None
        return self._preparing.done()


def _event(line: str) -> dict[str, Any] | None:
    """The event in a line of the engine's, None when it is something else."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None
