"""Logic of the comparison without Qt: from volumes to nodes in the scene, reported through signals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import slicer
from slicer.i18n import tr as _

from ASASegmentationLib.parameters import Parameters
from ASASegmentationLib.visits import overlay
from ASASegmentationLib.visits.job import CompareJob
from ASASegmentationLib.visits.overlay import Shown
from ASASlicerLib import volumes
from ASASlicerLib.engine_job import CleanUp, JobState
from ASASlicerLib.names import shortened
from ASASlicerLib.process import ProcessRunner
from ASASlicerLib.signals import Signal
from ASASlicerLib.steps import Steps, advance

Volumes = Mapping[str, slicer.vtkMRMLVolumeNode]


@dataclass(frozen=True)
class _Origin:
    """The later scan at the start of a job: its id remains valid after the node is removed; `affine` is its 4x4."""

    volume_id: str
    name: str
    affine: np.ndarray


class VisitsLogic:
    """Runs one comparison at a time. Call `poll` about twenty times a second while it is `busy`; it never blocks.

    Signals: `changed()` when a job starts or ends or has come further, `logged(str)`, `finished(Shown)`, `failed(str)`
    with a sentence for the user, `cancelled()`.
    """

    def __init__(self, mrml_scene: slicer.vtkMRMLScene, runner: ProcessRunner) -> None:
        self.changed, self.logged = Signal(), Signal()
        self.finished, self.failed, self.cancelled = Signal(), Signal(), Signal()
        self._scene, self._runner = mrml_scene, runner
        self._job: CompareJob | None = None
        self._arrival: Steps[Shown] | None = None
        self._origin: _Origin | None = None
        self._ended = CleanUp()
        self._logged = 0

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

    @property
    def progress(self) -> tuple[str, float]:
        """The stage of the running job, and the fraction that is done."""
        return (self._job.progress.stage, self._job.progress.fraction) if self._job is not None else ("adding", 1.0)

    def problem(self, parameters: Parameters, earlier: Volumes) -> str:
        """Return why the visits cannot be compared, as a sentence, or "" if they can.

        Args:
            parameters: the task and the volumes of the later visit.
            earlier: modality key -> volume of the earlier visit.
        """
        later = parameters.volumes()
        if reason := volumes.problem(parameters.modalities, later):
            return _("Later visit: {reason}").format(reason=reason)
        titles = {modality.key: _(modality.title) for modality in parameters.modalities}
        missing = [titles[key] for key in later if key not in earlier]
        if missing:
            text = _("Choose the {modalities} of the earlier visit.")
            return text.format(modalities=_(" and ").join(missing))
        used = {volume.GetID() for volume in later.values()}
        for volume in earlier.values():
            if volume.GetID() in used:
                return _("{volume} is selected for both visits.").format(volume=shortened(volume.GetName()))
        if reason := volumes.problem(parameters.modalities, earlier):
            return _("Earlier visit: {reason}").format(reason=reason)
        return ""

    def start(self, parameters: Parameters, earlier: Volumes) -> None:
        """Start a comparison.

        Args:
            parameters: the task and the volumes of the later visit.
            earlier: modality key -> volume of the earlier visit; without a `problem`.
        """
        later, scan = parameters.volumes(), parameters.reference
        assert scan is not None
        reference = next(key for key, volume in later.items() if volume is scan)
        self._origin = _Origin(scan.GetID(), scan.GetName(), volumes.ijk_to_ras(scan))
        used = {key: earlier[key] for key in later}
        try:
            self._job = CompareJob(
                volumes.snapshots(used, used[reference]),
                volumes.snapshots(later, scan),
                reference,
                parameters.task,
                parameters.settings,
                self._runner,
                self._moved,
            )
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
        """Forget a job whose scene is being closed."""
        self._arrival = None
        self.cancel()

    def poll(self) -> None:
        """Process the job's progress, and its results once it is done."""
        ending = bool(self._ended)
        self._ended.advance()
        if ending and not self.busy:
            self.changed()
        if self._arrival is not None:
            self._arrive(self._arrival)
        elif self._job is not None:
            self._follow(self._job)

    def _arrive(self, arrival: Steps[Shown]) -> None:
        try:
            shown = advance(arrival)
        except Exception as error:  # whatever the scene raises, the panel must not wait forever
            self._arrival = None
            self.changed()
            self.failed(_("The results could not be added to the scene: {reason}").format(reason=error))
            raise
        if shown is not None:
            self._arrival = None
            self.changed()
            self.finished(shown)

    def _follow(self, job: CompareJob) -> None:
        before = job.progress
        job.poll()
        for line in job.log[self._logged :]:
            self.logged(line)
        self._logged = len(job.log)
        if job.state is JobState.DONE:
            assert job.result is not None and self._origin is not None
            volume = self._scene.GetNodeByID(self._origin.volume_id)
            name = volume.GetName() if volume is not None else self._origin.name
            self._arrival = overlay.add(self._scene, job.result, volume, name)
            self._end(job)
        elif job.state is JobState.FAILED:
            self._end(job)
            self.failed(job.error)
        elif job.progress != before:
            self.changed()

    def _end(self, job: CompareJob) -> None:
        self._job = None
        self._ended.add(job)
        self.changed()

    def _moved(self) -> np.ndarray:
        """Return the matrix from the later scan's position at the start to its current one."""
        assert self._origin is not None
        volume = self._scene.GetNodeByID(self._origin.volume_id)
        if volume is None:
            return np.eye(4)
        return volumes.ijk_to_ras(volume) @ np.linalg.inv(self._origin.affine)
