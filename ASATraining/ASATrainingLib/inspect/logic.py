"""Inspection logic without Qt: one program at a time, with cached results."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import slicer
from slicer.i18n import tr as _

from asa.temporary import private_folder
from ASASlicerLib import volumes
from ASASlicerLib.engine_job import CleanUp, JobState
from ASASlicerLib.process import ProcessRunner
from ASASlicerLib.signals import Signal
from ASASlicerLib.steps import Steps, advance
from ASASlicerLib.volumes import Snapshot
from ASATrainingLib.inspect.inspection import Inspection, InspectionJob, InspectionRequest
from ASATrainingLib.runs.checkpoints import Checkpoint

Key = tuple[str, int, bytes, InspectionRequest]


class InspectionLogic:
    """Runs inspections and caches the results on disk until it is closed.

    Call `poll` about ten times a second; it never blocks.

    Signals: `changed()` when a program starts or ends, `progressed(Progress)`, `completed(Inspection)` for the
    checkpoint that is to be shown, `cached(Checkpoint)` when the inspection of any is there, `failed(str)` with a
    sentence.
    """

    def __init__(self, runner: ProcessRunner) -> None:
        self.changed, self.progressed = Signal(), Signal()
        self.completed, self.cached, self.failed = Signal(), Signal(), Signal()
        self._runner = runner
        self._folder: Path | None = None
        self._cache: dict[tuple[Key, tuple[str, float]], tuple[Path, Path]] = {}
        self._job: InspectionJob | None = None
        self._wanted: tuple[Key, tuple[str, float]] | None = None  # what to show once it is available
        self._loading: Steps[Inspection] | None = None
        self._ended = CleanUp()

    def close(self) -> None:
        """End a running program and delete the cached results, which show a patient."""
        self.cancel()
        self._ended.finish()
        self._loading = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def running(self) -> bool:
        """Whether an inspection is running."""
        return self._job is not None

    def problem(self, volume: slicer.vtkMRMLVolumeNode | None, models: Sequence[Checkpoint]) -> str:
        """Return why an inspection cannot start, as a sentence, or "" if it can."""
        if volume is None:
            return _("Choose a T1-weighted volume.")
        if reason := volumes.unusable(volume):
            return reason
        return "" if models else _("Choose a run with checkpoints, or open a checkpoint or a model.")

    def known(self, volume: slicer.vtkMRMLVolumeNode, request: InspectionRequest, model: Checkpoint) -> bool:
        """Return whether the result is cached."""
        return (_key(volume, request), model.stamp) in self._cache

    def show(self, volume: slicer.vtkMRMLVolumeNode, request: InspectionRequest, model: Checkpoint) -> bool:
        """Load a cached result; return False if there is none."""
        self._wanted = (_key(volume, request), model.stamp)
        return self._load()

    def show_nothing(self) -> None:
        """Stop showing pending results, which belong to another volume; they are still cached."""
        self._wanted = self._loading = None

    def start(
        self,
        volume: slicer.vtkMRMLVolumeNode,
        request: InspectionRequest,
        shown: Checkpoint,
        models: Sequence[Checkpoint],
        drawn: np.ndarray | None = None,
    ) -> None:
        """Inspect `models` and load the result of `shown` as soon as it is available.

        Args:
            volume: the scan.
            request: settings of the inspection.
            shown: the model whose result is loaded.
            models: all models to inspect.
            drawn: (K, J, I), marks what to hide on the grid of the volume.

        Raises:
            ValueError: it cannot start; the message is a sentence for the user.
        """
        if self._job is not None:
            raise ValueError(_("An inspection is already running."))
        if reason := self.problem(volume, models):
            raise ValueError(reason)
        key = _key(volume, request)
        self._wanted = (key, shown.stamp)
        missing = [model for model in models if (key, model.stamp) not in self._cache]
        self._load()
        if not missing:
            return
        affine = volumes.ijk_to_ras(volume)
        scan = Snapshot.of("scan", volume, volume)
        mask = Snapshot("mask", lambda: drawn.astype(np.uint8), affine) if drawn is not None else None
        try:
            if self._folder is None:
                self._folder = private_folder("inspection")
            output = Path(tempfile.mkdtemp(dir=self._folder))
            self._job = InspectionJob(
                self._runner,
                scan,
                mask,
                request,
                missing,
                output,
                self._folder / "kept",
                lambda model, shared, own: self._keep(key, model, shared, own),
            )
        except OSError as error:
            text = _("The temporary folder could not be created: {reason}.")
            raise ValueError(text.format(reason=error.strerror or error)) from error
        self.changed()

    def cancel(self) -> None:
        """Cancel the running program; finished results are kept."""
        if self._job is not None:
            self._job.cancel()
            self._ended.add(self._job)
            self._job = None
            self.changed()

    def poll(self) -> None:
        """Process the program's output and loaded results."""
        self._ended.advance()
        if self._loading is not None:
            self._advance_loading(self._loading)
        if self._job is not None:
            self._follow(self._job)

    def _follow(self, job: InspectionJob) -> None:
        before = job.progress
        job.poll()
        if job.progress != before:
            self.progressed(job.progress)
        if job.ended:
            self._ended.add(job)
            self._job = None
            self.changed()
            if job.state is JobState.FAILED:
                self.failed(job.error)

    def _keep(self, key: Key, model: Checkpoint, shared: Path, own: Path) -> None:
        self._cache[key, model.stamp] = shared, own
        self.cached(model)
        if self._wanted == (key, model.stamp):
            self._load()

    def _load(self) -> bool:
        places = self._cache.get(self._wanted) if self._wanted is not None else None
        # Drop a result that is no longer wanted.
        self._loading = Inspection.read(*places) if places is not None else None
        return places is not None

    def _advance_loading(self, loading: Steps[Inspection]) -> None:
        try:
            inspection = advance(loading)
        except (OSError, ValueError, LookupError) as error:
            self._loading = None
            self.failed(_("The result of the inspection could not be read: {reason}").format(reason=error))
            return
        if inspection is not None:
            self._loading = None
            self.completed(inspection)


def _key(volume: slicer.vtkMRMLVolumeNode, request: InspectionRequest) -> Key:
    """Return a key that changes with the voxels and position of a volume and with the request."""
    image = volume.GetImageData()
    changed = image.GetMTime() if image is not None else 0
    return volume.GetID(), changed, volumes.ijk_to_ras(volume).tobytes(), request
