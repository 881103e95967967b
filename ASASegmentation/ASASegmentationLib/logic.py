"""Segmentation logic without Qt: from the parameter node to segments in the scene, reported through signals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import slicer
from slicer.i18n import tr as _

from ASASegmentationLib.job import Job
from ASASegmentationLib.parameters import Parameters, Settings
from ASASegmentationLib.results import record, scene
from ASASegmentationLib.results.result import Result
from ASASegmentationLib.segments import edits
from ASASegmentationLib.segments.edits import State
from ASASegmentationLib.segments.retained_rows import retained_rows
from ASASegmentationLib.segments.surface_job import SurfaceMaker
from ASASegmentationLib.visits.logic import VisitsLogic
from ASASlicerLib import volumes
from ASASlicerLib.engine_job import CleanUp, JobState
from ASASlicerLib.process import ProcessRunner
from ASASlicerLib.signals import Signal
from ASASlicerLib.steps import Steps, advance

Ask = Callable[[str], bool]


@dataclass(frozen=True)
class Outcome:
    """Result of a finished job: the node, its scan, and the names of segments that keep the user's edits.

    `hidden` are the names of earlier results on the same scan that were visible before. `focus` is a point, in RAS mm,
    that the slice views should show.
    """

    node: slicer.vtkMRMLSegmentationNode
    volume: slicer.vtkMRMLVolumeNode | None = None
    kept: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    overview: bytes = field(default=b"", repr=False)
    focus: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class _Origin:
    """Inputs of a job: ids remain valid after the nodes are removed, `affine` is the scan's 4x4 at the start.

    `image_ids` are the volumes of all modalities, by key.
    """

    volume_id: str
    volume_name: str
    affine: np.ndarray
    target_id: str
    image_ids: dict[str, str]


class SegmentationLogic:
    """Runs one job at a time; `surfaces` creates surfaces that are missing, `visits` compares two visits.

    `runner` starts the process, `ask` asks the user a yes-no question. Call `poll` about twenty times a second while
    the logic is `busy`; it never blocks.

    Signals: `changed()` when a job starts or ends, `progressed(Progress)`, `logged(str)`, `finished(Outcome)`,
    `failed(str)` with a sentence for the user, `cancelled()`.
    """

    def __init__(self, mrml_scene: slicer.vtkMRMLScene, runner: ProcessRunner, ask: Ask) -> None:
        self.changed, self.progressed, self.logged = Signal(), Signal(), Signal()
        self.finished, self.failed, self.cancelled = Signal(), Signal(), Signal()
        self.surfaces = SurfaceMaker(runner)
        self.visits = VisitsLogic(mrml_scene, runner)
        self._scene = mrml_scene
        self._runner = runner
        self._ask = ask
        self._job: Job | None = None
        self._arrival: Steps[Outcome] | None = None  # results being added to the scene
        self._ended = CleanUp()
        self._origin: _Origin | None = None
        self._logged = 0  # number of log lines already reported
        self._undo: Callable[[], Steps[None]] | None = None
        self._undoing: Steps[bool] | None = None
        self._closing = mrml_scene.AddObserver(mrml_scene.StartCloseEvent, lambda *_: self._on_scene_closing())

    def close(self) -> None:
        """End a running job and stop observing the scene; clean-up takes at most one second."""
        self.cancel()
        self.surfaces.close()
        self._scene.RemoveObserver(self._closing)
        self._ended.finish()

    @property
    def running(self) -> bool:
        """Whether a job is running or its results are being added to the scene."""
        return self._job is not None or self._arrival is not None

    @property
    def busy(self) -> bool:
        """Whether work remains, including clean-up."""
        return self.running or bool(self._ended) or self.surfaces.busy or self._undoing is not None

    @property
    def can_undo(self) -> bool:
        """Whether there is a last segmentation to undo, and no job is running."""
        return self._undo is not None and not self.running and self._undoing is None

    def problem(self, parameters: Parameters) -> str:
        """Return why segmentation cannot start, as a sentence, or "" if it can."""
        return volumes.problem(parameters.modalities, parameters.volumes())

    def start(self, parameters: Parameters) -> None:
        """Start a job.

        Raises:
            ValueError: there is a `problem`; the message is its sentence.
        """
        if self.running or self._undoing is not None:
            raise ValueError(_("A segmentation is already running."))
        if reason := self.problem(parameters):
            raise ValueError(reason)
        chosen, scan = parameters.volumes(), parameters.reference
        assert scan is not None
        reference = next(key for key, volume in chosen.items() if volume is scan)
        target = parameters.segmentation
        target_id = target.GetID() if target is not None else ""
        image_ids = {key: volume.GetID() for key, volume in chosen.items()}
        self._origin = _Origin(scan.GetID(), scan.GetName(), volumes.ijk_to_ras(scan), target_id, image_ids)
        for note in volumes.notes(chosen, scan):
            self.logged(note)
        settings = self._with_model(parameters)
        if target is not None and edits.has_surfaces(target):  # otherwise Slicer creates them, which is slow
            settings = replace(settings, surfaces=True)
        try:
            snapshots = volumes.snapshots(chosen, scan)
            self._job = Job(snapshots, reference, parameters.task, settings, self._runner, self._moved)
        except OSError as error:
            text = _("The temporary folder could not be created: {reason}.")
            self.failed(text.format(reason=error.strerror or error))
            return
        self._logged = 0
        self.changed()

    def _with_model(self, parameters: Parameters) -> Settings:
        """Return the settings with a model that is installed."""
        settings, model = parameters.settings, parameters.model
        if not settings.model or model is None or model.name == settings.model:
            return settings
        text = _("The model {chosen} is not installed on this computer; {name} is used instead.")
        self.logged(text.format(chosen=settings.model, name=model.name))
        return replace(settings, model=model.name)

    def cancel(self) -> None:
        """Cancel the running job, if any. Results that are already being added to the scene are still added."""
        if self._job is not None:
            self._job.cancel()
            self._end(self._job)
            self.cancelled()

    def poll(self) -> None:
        """Process the job's progress, and its results once it is done."""
        ending = bool(self._ended) or self.surfaces.busy
        self._ended.advance()
        self.surfaces.poll()
        if self._undoing is not None:
            self._continue_undo(self._undoing)
        elif ending and not self.busy:
            self.changed()  # nothing remains to poll for
        if self._arrival is not None:
            self._arrive(self._arrival)
        elif self._job is not None:
            self._follow(self._job)

    def _arrive(self, arrival: Steps[Outcome]) -> None:
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
            self._arrival = self._bring_in(job.result)
            self._end(job)
        elif job.state is JobState.FAILED:
            self._end(job)
            self.failed(job.error)

    def undo(self) -> None:
        """Begin to remove the last result from the scene; a small one is gone at once."""
        if self._undo is not None:
            self._undoing, self._undo = _reaching_end(self._undo()), None
            self._continue_undo(self._undoing)

    def _continue_undo(self, undoing: Steps[bool]) -> None:
        try:
            done = advance(undoing)
        except Exception:  # whatever the scene raises, the panel must not wait forever
            self._undoing = None
            self.changed()
            raise
        if done:
            self._undoing = None
        self.changed()

    def _end(self, job: Job) -> None:
        self._job = None
        self._ended.add(job)
        self.changed()

    def _on_scene_closing(self) -> None:
        self._undo = self._undoing = None
        self.cancel()
        self.surfaces.cancel()
        if self._arrival is not None:
            self._arrival = None
            self.changed()

    def _volume(self) -> slicer.vtkMRMLVolumeNode | None:
        return self._scene.GetNodeByID(self._origin.volume_id) if self._origin is not None else None

    def _moved(self) -> np.ndarray:
        """Return the matrix from the scan's position at the start to its current one, in case a transform was hardened.

        Parent transforms are applied to the segmentation instead.
        """
        volume = self._volume()
        if volume is None or self._origin is None:
            return np.eye(4)
        return volumes.ijk_to_ras(volume) @ np.linalg.inv(self._origin.affine)

    def _bring_in(self, result: Result) -> Steps[Outcome]:
        assert self._origin is not None
        volume = self._volume()
        name = volume.GetName() if volume is not None else self._origin.volume_name
        node = self._scene.GetNodeByID(self._origin.target_id) if self._origin.target_id else None
        kept: dict[str, edits.Voxels | None] = {}
        names: tuple[str, ...] = ()
        if node is None:
            node = yield from scene.new_segmentation(self._scene, result, volume, f"{name} {result.task.name}")
            node_id = node.GetID()
            self._undo = _step(partial(self._remove, node_id))
        else:
            restore = _both(_step(scene.remember(node)), _step(record.remember(node)))
            kept = yield from self._update(node, result)
            self._undo = _both(self._undo, restore)
            names = tuple(_name(node, key) or result.segments[key].GetName() for key in kept)
        hidden = scene.hide_others(node)
        self._undo = _both(self._undo, _step(partial(self._show, [other.GetID() for other in hidden])))
        scene.set_warnings(node, result.doubts, result.warnings)
        scene.set_rows(node, result.volumes)
        scene.set_volume_table(node, retained_rows(result.volumes, result.task, kept))
        yield True
        self._attach(node, result)
        for extra in result.extra:
            yield True
            added = scene.add_extra_volume(self._scene, extra, volume, f"{name} {extra.name}").GetID()
            self._undo = _both(self._undo, _step(partial(self._remove, added)))
        focus = yield from scene.lesion_centre(node, result.task)
        return Outcome(node, volume, names, tuple(other.GetName() for other in hidden), result.overview, focus)

    def _attach(self, node: slicer.vtkMRMLSegmentationNode, result: Result) -> None:
        """Store with a segmentation what its correction needs."""
        assert self._origin is not None
        images = {key: self._scene.GetNodeByID(node_id) for key, node_id in self._origin.image_ids.items()}
        record.attach_images(node, {key: volume for key, volume in images.items() if volume is not None})
        if result.record:
            record.attach_record(node, result.record)

    def _update(self, node: slicer.vtkMRMLSegmentationNode, result: Result) -> Steps[dict[str, edits.Voxels | None]]:
        """Add a result to an existing node and return the segments that keep the user's edits.

        Maps segment id to voxels, None for segments that the user removed.
        """
        found = {}
        for key in result.segments:
            found[key] = yield from edits.inspect(node, key)
        foreign = [key for key in found if found[key].state is State.FOREIGN]
        replace_foreign = bool(foreign) and self._ask(
            _(
                "{segmentation} contains segments that ASA did not create: {segments}.\n\nReplace them with "
                "the new result? "
                "ASA segments that you have edited are always kept."
            ).format(segmentation=node.GetName(), segments=", ".join(_name(node, key) for key in foreign))
        )
        for undo in edits.update(node, result.segments, found, replace_foreign):
            self._undo = undo
            yield True
        node.SetAttribute(scene.TASK_ATTRIBUTE, result.task.name)
        stayed = {State.EDITED, State.REMOVED} | (set() if replace_foreign else {State.FOREIGN})
        return {key: one.voxels for key, one in found.items() if one.state in stayed}

    def _show(self, node_ids: list[str]) -> None:
        for node_id in node_ids:
            if (node := self._scene.GetNodeByID(node_id)) is not None:
                node.GetDisplayNode().SetVisibility(True)

    def _remove(self, node_id: str) -> None:
        node = self._scene.GetNodeByID(node_id)
        if node is not None:
            for part in filter(None, (scene.volume_table(node), record.record_node(node))):
                self._scene.RemoveNode(part)
            self._scene.RemoveNode(node)


def _both(first: Callable[[], Steps[None]] | None, second: Callable[[], Steps[None]]) -> Callable[[], Steps[None]]:
    def steps() -> Steps[None]:
        if first is not None:
            yield from first()
        yield from second()

    return steps


def _reaching_end(steps: Steps[None]) -> Steps[bool]:
    yield from steps
    return True


def _step(work: Callable[[], None]) -> Callable[[], Steps[None]]:
    def steps() -> Steps[None]:
        work()
        yield True

    return steps


def _name(node: slicer.vtkMRMLSegmentationNode, key: str) -> str:
    """Return the name of a segment, or "" if it does not exist."""
    segment = node.GetSegmentation().GetSegment(key)
    return str(segment.GetName()) if segment is not None else ""
