"""Run one engine job at a time and bring its results into the scene, without Qt; reported through signals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from slicer.i18n import tr as _

from ASASlicerLib.engine_job import CleanUp, EngineJob, JobState
from ASASlicerLib.signals import Signal
from ASASlicerLib.steps import Steps, advance

_R = TypeVar("_R")
_O = TypeVar("_O")


class JobLogic(Generic[_R, _O]):
    """Follows a job from its start to the outcome of its results in the scene.

    Subclasses call `begin`, and implement `bring_in`. Call `poll` about twenty times a second while the logic is
    `busy`; it never blocks.

    Signals: `changed()` when a job starts or ends, `progressed(Progress)`, `logged(str)`, `finished(outcome)`,
    `failed(str)` with a sentence for the user, `cancelled()`.
    """

    def __init__(self) -> None:
        self.changed, self.progressed, self.logged = Signal(), Signal(), Signal()
        self.finished, self.failed, self.cancelled = Signal(), Signal(), Signal()
        self._job: EngineJob[_R] | None = None
        self._arrival: Steps[_O] | None = None  # results being added to the scene
        self._ended = CleanUp()
        self._logged = 0  # number of log lines already reported

    def bring_in(self, result: _R) -> Steps[_O]:
        """Add the results of a job to the scene and return the outcome."""
        raise NotImplementedError

    def close(self) -> None:
        """End a running job; clean-up takes at most one second."""
        self.cancel()
        self._ended.finish()

    @property
    def running(self) -> bool:
        """Whether a job is running or its results are being added to the scene."""
        return self._job is not None or self._arrival is not None

    @property
    def busy(self) -> bool:
        """Whether work remains, including clean-up."""
        return self.running or bool(self._ended)

    def begin(self, make: Callable[[], EngineJob[_R]]) -> None:
        """Start the job that `make` returns."""
        try:
            self._job = make()
        except OSError as error:
            text = _("The temporary folder could not be created: {reason}.")
            self.failed(text.format(reason=error.strerror or error))
            return
        self._logged = 0
        self.changed()

    def cancel(self) -> None:
        """Cancel the running job, if any. Results that are already being added to the scene are still added."""
        if self._job is not None:
            self._job.cancel()
            self._end(self._job)
            self.cancelled()

    def drop(self) -> None:
        """Forget the job and its results, because their scene is being closed."""
        self.cancel()
        if self._arrival is not None:
            self._arrival = None
            self.changed()

    def poll(self) -> None:
        """Process the job's progress, and its results once it is done."""
        ending = bool(self._ended)
        self._ended.advance()
        if ending and not self.busy:
            self.changed()  # nothing remains to poll for
        self.advance()

    def advance(self) -> None:
        """Go on with the job, or with its results."""
        if self._arrival is not None:
            self._arrive(self._arrival)
        elif self._job is not None:
            self._follow(self._job)

    def _arrive(self, arrival: Steps[_O]) -> None:
        """Add the next part of the results to the scene; the GUI stays responsive in between."""
        try:
            outcome = advance(arrival)
        except Exception as error:  # whatever the scene raises, the panel must not wait forever
            self._arrival = None
            self.changed()
            self.failed(_("The results could not be added to the scene: {reason}").format(reason=error))
            raise
        if outcome is not None:
            self._arrival = None
            self.changed()
            self.finished(outcome)

    def _follow(self, job: EngineJob[_R]) -> None:
        before = job.progress
        job.poll()
        for line in job.log[self._logged :]:
            self.logged(line)
        self._logged = len(job.log)
        if job.progress != before:
            self.progressed(job.progress)
        if job.state is JobState.DONE:
            assert job.result is not None
            self._arrival = self.bring_in(job.result)
            self._end(job)
        elif job.state is JobState.FAILED:
            self._end(job)
            self.failed(job.error)

    def _end(self, job: EngineJob[_R]) -> None:
        self._job = None
        self._ended.add(job)
        self.changed()
