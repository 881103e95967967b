"""Segmentation logic without Qt: from the parameter node to segments in the scene, reported through signals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

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
from ASASlicerLib.job_logic import JobLogic
from ASASlicerLib.process import ProcessRunner
from ASASlicerLib.steps import Steps, advance
from ASASlicerLib.volumes import Origin

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


class SegmentationLogic(JobLogic[Result, Outcome]):
    """Runs one job at a time; `surfaces` creates surfaces that are missing, `visits` compares two visits.

    `runner` starts the process, `ask` asks the user a yes-no question.
    """

    def __init__(self, mrml_scene: slicer.vtkMRMLScene, runner: ProcessRunner, ask: Ask) -> None:
        super().__init__()
        self.surfaces = SurfaceMaker(runner)
        self.visits = VisitsLogic(mrml_scene, runner)
        self._scene = mrml_scene
        self._runner = runner
        self._ask = ask
        self._origin: Origin | None = None
        self._target_id = ""  # of the segmentation that a result is added to
        self._image_ids: dict[str, str] = {}  # the volumes of all modalities, by key
        self._undo: Callable[[], Steps[None]] | None = None
        self._undoing: Steps[bool] | None = None
        self._closing = mrml_scene.AddObserver(mrml_scene.StartCloseEvent, lambda *_: self._on_scene_closing())

    def close(self) -> None:
        """End a running job and stop observing the scene; clean-up takes at most one second."""
        self.surfaces.close()
        self._scene.RemoveObserver(self._closing)
        super().close()

    @property
    def busy(self) -> bool:
        """Whether work remains, including clean-up."""
        return super().busy or self.surfaces.busy or self._undoing is not None

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
        self._origin = origin = Origin.of(self._scene, scan)
        self._target_id = target.GetID() if target is not None else ""
        self._image_ids = {key: volume.GetID() for key, volume in chosen.items()}
        for note in volumes.notes(chosen, scan):
            self.logged(note)
        settings = self._with_model(parameters)
        if target is not None and edits.has_surfaces(target):  # otherwise Slicer creates them, which is slow
            settings = replace(settings, surfaces=True)
        self.begin(
            lambda: Job(
                volumes.snapshots(chosen, scan), reference, parameters.task, settings, self._runner, origin.moved
            )
        )

    def _with_model(self, parameters: Parameters) -> Settings:
        """Return the settings with a model that is installed."""
        settings, model = parameters.settings, parameters.model
        if not settings.model or model is None or model.name == settings.model:
            return settings
        text = _("The model {chosen} is not installed on this computer; {name} is used instead.")
        self.logged(text.format(chosen=settings.model, name=model.name))
        return replace(settings, model=model.name)

    def poll(self) -> None:
        """Process the job's progress, and its results once it is done."""
        ending = bool(self._ended) or self.surfaces.busy
        self._ended.advance()
        self.surfaces.poll()
        if self._undoing is not None:
            self._continue_undo(self._undoing)
        elif ending and not self.busy:
            self.changed()  # nothing remains to poll for
        self.advance()

    def undo(self) -> None:
        """Begin to remove the last result from the scene; a small one is removed immediately."""
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

    def _on_scene_closing(self) -> None:
        self._undo = self._undoing = None
        self.surfaces.cancel()
        self.drop()

    def bring_in(self, result: Result) -> Steps[Outcome]:
        """Add a result to the scene, to the chosen segmentation or to a new one."""
        assert self._origin is not None
        volume, name = self._origin.volume, self._origin.name
        node = self._scene.GetNodeByID(self._target_id) if self._target_id else None
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
        images = {key: self._scene.GetNodeByID(node_id) for key, node_id in self._image_ids.items()}
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
