"""Logic of the comparison without Qt: from volumes to nodes in the scene, reported through signals."""

from __future__ import annotations

from collections.abc import Mapping

import slicer
from slicer.i18n import tr as _

from ASASegmentationLib.parameters import Parameters
from ASASegmentationLib.visits import overlay
from ASASegmentationLib.visits.job import CompareJob, Comparison
from ASASegmentationLib.visits.overlay import Shown
from ASASlicerLib import volumes
from ASASlicerLib.job_logic import JobLogic
from ASASlicerLib.names import shortened
from ASASlicerLib.process import ProcessRunner
from ASASlicerLib.steps import Steps
from ASASlicerLib.volumes import Origin

Volumes = Mapping[str, slicer.vtkMRMLVolumeNode]


class VisitsLogic(JobLogic[Comparison, Shown]):
    """Runs one comparison at a time; its outcome is what is shown of it in the scene."""

    def __init__(self, mrml_scene: slicer.vtkMRMLScene, runner: ProcessRunner) -> None:
        super().__init__()
        self._scene, self._runner = mrml_scene, runner
        self._origin: Origin | None = None  # of the later scan

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
        self._origin = origin = Origin.of(self._scene, scan)
        used = {key: earlier[key] for key in later}
        self.begin(
            lambda: CompareJob(
                volumes.snapshots(used, used[reference]),
                volumes.snapshots(later, scan),
                reference,
                parameters.task,
                parameters.settings,
                self._runner,
                origin.moved,
            )
        )

    def bring_in(self, result: Comparison) -> Steps[Shown]:
        """Add a comparison to the scene."""
        assert self._origin is not None
        return overlay.add(self._scene, result, self._origin.volume, self._origin.name)
