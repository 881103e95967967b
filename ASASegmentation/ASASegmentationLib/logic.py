"""The click, without Qt: from the parameter node to segments in the scene. Reports through plain Python callables."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field

import numpy as np
import slicer

from . import edits, inputs, scene
from .callbacks import Signal
from .edits import State
from .engine_job import JobState
from .job import Job
from .parameters import Parameters
from .process import ProcessRunner
from .result import Result

Ask = Callable[[str], bool]


@dataclass(frozen=True)
class Outcome:
    """What a finished job brought: the node, the names of segments kept as the user left them, sentences to show."""

    node: slicer.vtkMRMLSegmentationNode
    kept: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    overview: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class _Origin:
    """What a job was started on: ids survive the removal of the nodes, `affine` is the scan's 4x4 at that time."""

    volume_id: str
    volume_name: str
    affine: np.ndarray
    target_id: str


class SegmentationLogic:
    """Runs one job at a time.

    `runner` starts the process, `ask` puts a yes-no question to the user. `poll` has to be called some twenty times a
    second while a job runs; it never waits.

    Signals: `changed()` when a job starts or ends, `progressed(Progress)`, `logged(str)`, `finished(Outcome)`,
    `failed(str)` with a sentence for the user, `cancelled()`.
    """

    def __init__(self, mrml_scene: slicer.vtkMRMLScene, runner: ProcessRunner, ask: Ask) -> None:
        self.changed, self.progressed, self.logged = Signal(), Signal(), Signal()
        self.finished, self.failed, self.cancelled = Signal(), Signal(), Signal()
        self._scene = mrml_scene
        self._runner = runner
        self._ask = ask
        self._job: Job | None = None
        self._arrival: Generator[None, None, Outcome] | None = None  # results on their way into the scene
        self._origin: _Origin | None = None
        self._logged = 0  # lines of the job's log that were passed on
        self._undo: Callable[[], None] | None = None
        self._closing = mrml_scene.AddObserver(mrml_scene.StartCloseEvent, lambda *_: self._on_scene_closing())

    def close(self) -> None:
        """Ends a running job and lets go of the scene."""
        self.cancel()
        self._scene.RemoveObserver(self._closing)

    @property
    def running(self) -> bool:
        return self._job is not None or self._arrival is not None

    @property
    def can_undo(self) -> bool:
        return self._undo is not None and not self.running

    def problem(self, parameters: Parameters) -> str:
        """Why nothing can be segmented, in a sentence; "" when it can."""
        return inputs.problem(parameters.modalities, parameters.volumes())

    def start(self, parameters: Parameters) -> None:
        """Starts a job. Raises ValueError with the sentence of `problem` when there is one."""
        if self.running:
            raise ValueError("A segmentation is running already.")
        if reason := self.problem(parameters):
            raise ValueError(reason)
        volumes = parameters.volumes()
        first = next(iter(volumes.values()))
        target = parameters.segmentation
        target_id = target.GetID() if target is not None else ""
        self._origin = _Origin(first.GetID(), first.GetName(), inputs.ijk_to_ras(first), target_id)
        for note in inputs.notes(volumes):
            self.logged(note)
        settings = parameters.settings
        try:
            self._job = Job(inputs.snapshots(volumes), parameters.task, settings, self._runner, self._moved)
        except OSError as error:
            self.failed(f"No temporary folder could be made: {error.strerror or error}.")
            return
        self._logged = 0
        self.changed()

    def cancel(self) -> None:
        """Ends the running job, if there is one; the scene stays as it is. Results that arrive already are let in."""
        if self._job is not None:
            self._job.cancel()
            self._end()
            self.cancelled()

    def poll(self) -> None:
        """Takes in what the job did, and its results once it is done."""
        if self._arrival is not None:
            self._go_on(self._arrival)
        elif self._job is not None:
            self._follow(self._job)

    def _go_on(self, arrival: Generator[None, None, Outcome]) -> None:
        """One more piece into the scene; the GUI goes on between them."""
        try:
            next(arrival)
        except StopIteration as end:
            self._arrival = None
            self.changed()
            self.finished(end.value)

    def _follow(self, job: Job) -> None:
        before = job.progress
        job.poll()
        for line in job.log[self._logged :]:
            self.logged(line)
        self._logged = len(job.log)
        if job.progress != before:
            self.progressed(job.progress)
        if job.state is JobState.DONE:
            assert job.result is not None
            self._job, self._arrival = None, self._bring_in(job.result)
        elif job.state is JobState.FAILED:
            self._end()
            self.failed(job.error)

    def undo(self) -> None:
        """Takes the last result out of the scene again."""
        if self._undo is not None:
            self._undo()
            self._undo = None
            self.changed()

    def _end(self) -> None:
        self._job = None
        self.changed()

    def _on_scene_closing(self) -> None:
        self._undo = None
        self.cancel()
        if self._arrival is not None:
            self._arrival = None
            self.changed()

    def _volume(self) -> slicer.vtkMRMLVolumeNode | None:
        return self._scene.GetNodeByID(self._origin.volume_id) if self._origin is not None else None

    def _moved(self) -> np.ndarray:
        """From where the scan was to where it is, should a transform have been hardened on it; transforms above it are
        taken over by the segmentation instead."""
        volume = self._volume()
        if volume is None or self._origin is None:
            return np.eye(4)
        return inputs.ijk_to_ras(volume) @ np.linalg.inv(self._origin.affine)

    def _bring_in(self, result: Result) -> Generator[None, None, Outcome]:
        assert self._origin is not None
        volume = self._volume()
        name = volume.GetName() if volume is not None else self._origin.volume_name
        node = self._scene.GetNodeByID(self._origin.target_id) if self._origin.target_id else None
        notes = list(result.warnings)
        kept: tuple[str, ...] = ()
        if node is None:
            node = scene.new_segmentation(self._scene, result, volume, f"{name} {result.task.name}")
            node_id = node.GetID()
            self._undo = lambda: self._remove(node_id)
        else:
            kept = yield from self._update(node, result)
        scene.set_volume_table(node, result.volumes)
        for extra in result.extra:
            yield
            scene.add_extra_volume(self._scene, extra, volume, f"{name} {extra.name}")
        if kept:
            notes.insert(0, f"Kept as you left them: {', '.join(kept)}.")
        return Outcome(node, kept, tuple(notes), result.overview)

    def _update(
        self, node: slicer.vtkMRMLSegmentationNode, result: Result
    ) -> Generator[None, None, tuple[str, ...]]:
        """Brings a result into an existing node; returns the names of the segments that stay as the user left them."""
        found = {}
        for key in result.segments:
            found[key] = edits.inspect(node, key)
            yield
        foreign = [key for key in found if found[key].state is State.FOREIGN]
        replace = bool(foreign) and self._ask(
            f"{node.GetName()} has segments that ASA did not make: {', '.join(foreign)}. Replace them?"
        )
        for undo in edits.update(node, result.segments, found, replace):
            self._undo = undo
            yield
        node.SetAttribute(scene.TASK_ATTRIBUTE, result.task.name)
        stayed = {State.EDITED, State.REMOVED} | (set() if replace else {State.FOREIGN})
        return tuple(result.segments[key].GetName() for key in found if found[key].state in stayed)

    def _remove(self, node_id: str) -> None:
        node = self._scene.GetNodeByID(node_id)
        if node is not None:
            table = scene.volume_table(node)
            if table is not None:
                self._scene.RemoveNode(table)
            self._scene.RemoveNode(node)
