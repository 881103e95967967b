"""One segmentation in a process of its own, followed without ever waiting for it."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from asa.tasks import Task

from .inputs import Snapshot
from .parameters import Settings
from .process import Process, ProcessRunner
from .result import Result, read_result

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


class Job:
    """Writes the inputs, runs `python -m asa.job`, reads its results. Call `poll` from time to time until it ended.

    `moved` is asked, once the results are there, for the matrix from where the scan was to where it is now.
    """

    def __init__(
        self,
        snapshots: Sequence[Snapshot],
        task: Task,
        settings: Settings,
        runner: ProcessRunner,
        moved: Callable[[], np.ndarray],
    ) -> None:
        self.state = JobState.PREPARING
        self.progress = Progress("preparing", 0.0)
        self.log: list[str] = []
        self.error = ""
        self.result: Result | None = None
        self._task = task
        self._runner = runner
        self._moved = moved
        self._cancelled = False
        self._process: Process | None = None
        self._reading: Future[Result] | None = None
        self._folder = Path(tempfile.mkdtemp(prefix="asa-"))  # readable by this user only
        self._preparing = in_background(lambda: self._prepare(snapshots, settings))

    @property
    def ended(self) -> bool:
        return self.state in (JobState.DONE, JobState.FAILED, JobState.CANCELLED)

    def cancel(self) -> None:
        """Ends the process and all that it started, within two seconds; nothing is waited for."""
        if self.ended:
            return
        self._cancelled = True
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

    def _prepare(self, snapshots: Sequence[Snapshot], settings: Settings) -> None:
        images = {snapshot.modality: str(snapshot.write(self._folder)) for snapshot in snapshots}
        request = {
            "images": images,
            "output": str(self._folder / "result"),
            "task": self._task.name,
            "model": settings.model or None,
            "device": settings.device,
            "align": "auto" if settings.align else "none",
            "tta": settings.flip or None,  # unticked: as the model says
            "posterior": settings.posterior,
            "segmentation_file": False,  # the segments are made in the scene
        }
        (self._folder / "request.json").write_text(json.dumps(request), encoding="utf-8")

    def _launch(self) -> None:
        try:
            self._preparing.result()
            self._process = self._runner.start(["-m", "asa.job", "request.json"], self._folder)
        except OSError as error:
            self._fail(f"The segmentation could not be started in {self._folder.parent}: {error.strerror or error}.")
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
            moved = self._moved()  # asked here, because the scene is the GUI thread's
            self._reading = in_background(lambda: read_result(self._folder / "result", self._task, moved))
        elif code is not None:
            self._fail(self.error or _crash(code))

    def _take(self, event: Mapping[str, Any]) -> None:
        if event["event"] == "progress":
            self.progress = Progress(event["stage"], float(event["fraction"]), event.get("remaining_s"))
        elif event["event"] in ("warning", "error"):
            self.log.append(f"{event['event'].capitalize()}: {event['message']}")
            if event["event"] == "error":
                self.error = event["message"]

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

    def _end(self, state: JobState) -> None:
        self.state = state
        # Not a daemon: leaving Slicer must not leave a patient's images behind.
        threading.Thread(target=self._clean_up).start()

    def _clean_up(self) -> None:
        deadline = time.monotonic() + _CLEAN_UP_S
        while time.monotonic() < deadline and not self._idle():
            time.sleep(0.05)
        shutil.rmtree(self._folder, ignore_errors=True)

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


def _crash(code: int) -> str:
    if code == _OUT_OF_MEMORY_KILL:
        return "The system ended the segmentation, most likely because memory ran out. Close other programs and retry."
    return f"The segmentation program stopped unexpectedly (exit code {code}). The log shows its last words."
