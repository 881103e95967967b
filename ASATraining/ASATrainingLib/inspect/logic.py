"""Looking into models, without Qt: one program at a time, and what was answered before is there at once."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import slicer
from slicer.i18n import tr as _

from ASASlicerLib import volumes
from ASASlicerLib.engine_job import CleanUp, JobState
from ASASlicerLib.process import ProcessRunner
from ASASlicerLib.signals import Signal
from ASASlicerLib.steps import Steps, go_on
from ASASlicerLib.volumes import Snapshot
from ASATrainingLib.inspect.look import Answer, LookJob, Question
from ASATrainingLib.runs.checkpoints import Checkpoint

Key = tuple[str, int, bytes, Question]


class LookLogic:
    """Asks the engine and keeps its answers, on disk, until it is closed.

    `poll` has to be called some ten times a second; it never waits.

    Signals: `changed()` when a program starts or ends, `progressed(Progress)`, `answered(Answer)` for the checkpoint
    that is to be shown, `kept(Checkpoint)` when the answer of any is there, `failed(str)` with a sentence.
    """

    def __init__(self, runner: ProcessRunner) -> None:
        self.changed, self.progressed = Signal(), Signal()
        self.answered, self.kept, self.failed = Signal(), Signal(), Signal()
        self._runner = runner
        self._folder: Path | None = None
        self._answers: dict[tuple[Key, tuple[str, float]], tuple[Path, Path]] = {}
        self._job: LookJob | None = None
        self._wanted: tuple[Key, tuple[str, float]] | None = None  # what is to be shown once it is there
        self._loading: Steps[Answer] | None = None
        self._ended = CleanUp()

    def close(self) -> None:
        """Ends a running program and takes its answers off the disk: they show a patient."""
        self.cancel()
        self._ended.finish()
        self._loading = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def running(self) -> bool:
        return self._job is not None

    def problem(self, volume: slicer.vtkMRMLVolumeNode | None, models: Sequence[Checkpoint]) -> str:
        """Why nothing can be looked at, in a sentence; "" when it can."""
        if volume is None:
            return _("Choose a T1-weighted volume.")
        if reason := volumes.unusable(volume):
            return reason
        return "" if models else _("Choose a run with checkpoints, or open a checkpoint or a model.")

    def known(self, volume: slicer.vtkMRMLVolumeNode, question: Question, model: Checkpoint) -> bool:
        """Whether the answer is there already."""
        return (_key(volume, question), model.stamp) in self._answers

    def show(self, volume: slicer.vtkMRMLVolumeNode, question: Question, model: Checkpoint) -> bool:
        """Brings an answer that is there already; False when there is none."""
        self._wanted = (_key(volume, question), model.stamp)
        return self._load()

    def show_nothing(self) -> None:
        """What is on its way is kept when it comes, but not brought: it is of another volume than the one chosen."""
        self._wanted = self._loading = None

    def look(
        self,
        volume: slicer.vtkMRMLVolumeNode,
        question: Question,
        shown: Checkpoint,
        models: Sequence[Checkpoint],
        drawn: np.ndarray | None = None,
    ) -> None:
        """Asks for the answers of `models`, of which that of `shown` is brought as soon as it is there.

        `drawn` (K, J, I) marks what to hide, on the grid of the volume. Raises ValueError with a sentence when it
        cannot be done.
        """
        if self._job is not None:
            raise ValueError(_("A look is on its way already."))
        if reason := self.problem(volume, models):
            raise ValueError(reason)
        key = _key(volume, question)
        self._wanted = (key, shown.stamp)
        missing = [model for model in models if (key, model.stamp) not in self._answers]
        self._load()
        if not missing:
            return
        affine = volumes.ijk_to_ras(volume)
        scan = Snapshot.of("scan", volume, volume)
        mask = Snapshot("mask", lambda: drawn.astype(np.uint8), affine) if drawn is not None else None
        try:
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="asa-look-"))
            output = Path(tempfile.mkdtemp(dir=self._folder))
            self._job = LookJob(
                self._runner,
                scan,
                mask,
                question,
                missing,
                output,
                self._folder / "kept",
                lambda model, shared, own: self._keep(key, model, shared, own),
            )
        except OSError as error:
            text = _("No temporary folder could be made: {reason}.")
            raise ValueError(text.format(reason=error.strerror or error)) from error
        self.changed()

    def cancel(self) -> None:
        """Ends the running program; what was answered so far stays."""
        if self._job is not None:
            self._job.cancel()
            self._ended.add(self._job)
            self._job = None
            self.changed()

    def poll(self) -> None:
        """Takes in what the program said, and an answer that has been read."""
        self._ended.go_on()
        if self._loading is not None:
            self._go_on_loading(self._loading)
        if self._job is not None:
            self._follow(self._job)

    def _follow(self, job: LookJob) -> None:
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
        self._answers[key, model.stamp] = shared, own
        self.kept(model)
        if self._wanted == (key, model.stamp):
            self._load()

    def _load(self) -> bool:
        places = self._answers.get(self._wanted) if self._wanted is not None else None
        # What was being read was wanted before, and is not any more.
        self._loading = Answer.read(*places) if places is not None else None
        return places is not None

    def _go_on_loading(self, loading: Steps[Answer]) -> None:
        try:
            answer = go_on(loading)
        except (OSError, ValueError, LookupError) as error:
            self._loading = None
            self.failed(_("The answer could not be read: {reason}").format(reason=error))
            return
        if answer is not None:
            self._loading = None
            self.answered(answer)


def _key(volume: slicer.vtkMRMLVolumeNode, question: Question) -> Key:
    """Changes with the voxels of a volume, with its place and with the question."""
    image = volume.GetImageData()
    changed = image.GetMTime() if image is not None else 0
    return volume.GetID(), changed, volumes.ijk_to_ras(volume).tobytes(), question
