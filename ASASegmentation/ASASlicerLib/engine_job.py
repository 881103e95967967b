"""Run an engine program in a separate process and follow it without blocking."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Generic, TypeVar

from slicer.i18n import tr as _

from asa.events import Event, Failed, Progress, Reported, Warned, from_line
from asa.temporary import private_folder
from ASASlicerLib.process import LAUNCHER_MESSAGE, Process, ProcessRunner
from ASASlicerLib.steps import Steps, advance
from ASASlicerLib.volumes import ChangedError

_T = TypeVar("_T")
_CLEAN_UP_S = 5.0
_LAST_WAIT_S = 1.0  # for a killed process to be gone when the application closes
_OUT_OF_MEMORY_KILL = -9


class JobState(Enum):
    """State of a job, in order."""

    PREPARING = 1
    RUNNING = 2
    READING = 3
    DONE = 4
    FAILED = 5
    CANCELLED = 6


class EngineJob(Generic[_T]):
    """Writes the inputs, runs `python *arguments`, and reads the results.

    Call `poll` periodically until it has ended, then pass it to a `CleanUp`, which removes its private temporary
    folder. Subclasses implement `prepare`, `results`, and `take` for events other than progress, warning and error.
    """

    def __init__(self, runner: ProcessRunner) -> None:
        self.state = JobState.PREPARING
        self.progress = Progress("preparing", 0.0)
        self.log: list[str] = []
        self.error = ""
        self.result: _T | None = None
        self.folder = private_folder("job")
        self._runner = runner
        self._process: Process | None = None
        self._ended_at = 0.0
        self._steps = self._work()

    def prepare(self) -> Steps[list[str]]:
        """Write the inputs and return the arguments for Python.

        Raises:
            OSError: a file cannot be written.
            ChangedError: a volume changed while it was being written.
        """
        raise NotImplementedError

    def results(self) -> Steps[_T]:
        """Read the results after the program has succeeded.

        Raises:
            OSError, ValueError, LookupError: a file is missing or invalid.
        """
        raise NotImplementedError

    def take(self, event: Reported) -> None:
        """Handle an event specific to the program."""

    @property
    def ended(self) -> bool:
        """Whether the job is done, failed or cancelled."""
        return self.state in (JobState.DONE, JobState.FAILED, JobState.CANCELLED)

    def poll(self) -> None:
        """Do a few milliseconds of work, or process what happened since the last call."""
        if self.ended:
            return
        try:
            advance(self._steps)
        except Exception as error:  # a bug must not leave the panel waiting forever
            self._fail(_("Unexpected error: {reason}").format(reason=error))
            raise

    def cancel(self) -> None:
        """End the process and its children without waiting."""
        if not self.ended:
            self._end(JobState.CANCELLED)

    def clean_up(self) -> bool:
        """Remove the folder with the patient's images once no process writes to it; return whether it is gone."""
        given_up = time.monotonic() - self._ended_at > _CLEAN_UP_S
        if self._process is not None:
            self._process.lines()  # drain the pipes; the output is discarded
            if self._process.exit_code is None and not given_up:
                return False
        shutil.rmtree(self.folder, ignore_errors=True)
        return given_up or not self.folder.exists()  # on Windows a terminating process may still lock it

    def program(self, module: str, request: Mapping[str, object]) -> list[str]:
        """Write a request and return the arguments for Python.

        Raises:
            OSError: the file cannot be written.
        """
        (self.folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
        return ["-m", module, "request.json"]

    def run(self, arguments: Sequence[str]) -> Steps[int]:
        """Run `python *arguments` to its end and return its exit code.

        Raises:
            OSError: it cannot be started.
        """
        self._process = self._runner.start(arguments, self.folder)
        while True:
            for stream, line in self._process.lines():
                event = from_line(line) if stream == "stdout" else None
                if event is None:
                    self.log.append(line)
                else:
                    self._take(event)
            if (code := self._process.exit_code) is not None:
                return code
            yield False

    def _work(self) -> Steps[None]:
        try:
            arguments = yield from self.prepare()
            self.state = JobState.RUNNING
            code = yield from self.run(arguments)
        except ChangedError as error:
            self._fail(str(error))
            return
        except OSError as error:
            text = _("The segmentation program could not be started in {folder}: {reason}.")
            self._fail(text.format(folder=self.folder.parent, reason=error.strerror or error))
            return
        if code != 0 or self.error:
            self._fail(self.error or _crash(code, self.log))
            return
        self.state = JobState.READING
        try:
            self.result = yield from self.results()
        except (OSError, ValueError, LookupError) as error:
            self._fail(_("The results could not be read: {reason}").format(reason=error))
            return
        self._end(JobState.DONE)

    def _take(self, event: Event) -> None:
        if isinstance(event, Progress):
            self.progress = event
        elif isinstance(event, Warned):
            self.log.append(f"Warning: {event.message}")
        elif isinstance(event, Failed):
            self.log.append(f"Error: {event.message}")
            self.error = event.message
        else:
            self.take(event)

    def _fail(self, message: str) -> None:
        self.error = message
        self._end(JobState.FAILED)

    def _end(self, state: JobState) -> None:
        self.state = state
        self._ended_at = time.monotonic()
        if self._process is not None and self._process.exit_code is None:
            self._process.stop()


class CleanUp:
    """Ended jobs whose files and processes remain to be removed."""

    def __init__(self) -> None:
        self._jobs: list[EngineJob[Any]] = []

    def add(self, job: EngineJob[Any]) -> None:
        """Keep an ended job until its files and processes are removed."""
        self._jobs.append(job)

    def __bool__(self) -> bool:
        """Return whether jobs remain."""
        return bool(self._jobs)

    def advance(self) -> None:
        """Remove the jobs that can be removed now."""
        self._jobs = [job for job in self._jobs if not job.clean_up()]

    def finish(self) -> None:
        """Remove everything on exit; wait at most a second for processes to end."""
        until = time.monotonic() + _LAST_WAIT_S
        self.advance()
        while self and time.monotonic() < until:
            time.sleep(0.01)
            self.advance()


def _crash(code: int, log: Sequence[str]) -> str:
    if code == _OUT_OF_MEMORY_KILL:
        return _(
            "The operating system ended the program, probably because memory ran out. Close other programs "
            "and try again."
        )
    if any(LAUNCHER_MESSAGE in line for line in log):
        return _(
            "The program ended abruptly, probably because memory ran out. Close other programs and try again. "
            "See the log for details."
        )
    return _("The program stopped unexpectedly (exit code {code}). See the log for details.").format(code=code)
