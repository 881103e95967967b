"""Run one segmentation in a separate process, and create its surfaces in another."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from asa.events import Progress
from asa.tasks import Task
from ASASegmentationLib.parameters import Settings
from ASASegmentationLib.results.result import LABELS, Result, read_result, segment_specs
from ASASlicerLib.engine_job import EngineJob
from ASASlicerLib.process import ProcessRunner
from ASASlicerLib.steps import Steps
from ASASlicerLib.volumes import Snapshot


class Job(EngineJob[Result]):
    """Runs `python -m asa.jobs.segment` on copies of volumes and creates surfaces from its result.

    `reference` is the modality whose grid the result is on. `moved` is called once the results are available and
    returns the matrix from the scan's position at the start to its current position.
    """

    def __init__(
        self,
        snapshots: Sequence[Snapshot],
        reference: str,
        task: Task,
        settings: Settings,
        runner: ProcessRunner,
        moved: Callable[[], np.ndarray],
    ) -> None:
        self._snapshots, self._reference = snapshots, reference
        self._task, self._settings, self._moved = task, settings, moved
        super().__init__(runner)

    def prepare(self) -> Steps[list[str]]:
        """Write the volumes and the request; return the arguments for Python.

        Raises:
            OSError: a file cannot be written.
            ChangedError: a volume changed while it was being written.
        """
        images = {}
        for snapshot in self._snapshots:
            images[snapshot.name] = yield from snapshot.write(self.folder)
        self._snapshots = ()
        request = self._settings.request(images, self._reference).to_json()
        request |= {"output": str(self.folder / "result")}
        request |= {"segmentation_file": False}  # the segments are created in the scene
        return self.program("asa.jobs.segment", request)

    def results(self) -> Steps[Result]:
        """Read the result folder, after creating surfaces if they are shown.

        Raises:
            OSError, ValueError, LookupError: a file is missing or invalid.
        """
        if self._settings.surfaces:
            yield from self._make_surfaces()
        self.progress = Progress("adding", 1.0)
        return (yield from read_result(self.folder / "result", self._task, self._moved()))

    def _make_surfaces(self) -> Steps[None]:
        """Create the surfaces; the segmentation is valid without them."""
        self.progress = Progress("surfaces", 1.0)
        folder = self.folder / "result"
        segments = [{"labels": str(folder / LABELS), "values": spec.values} for spec in segment_specs(self._task)]
        request = {"folder": str(folder), "segments": segments}
        try:
            code = yield from self.run(self.program("ASASegmentationLib.segments.surfaces", request))
        except OSError as error:
            self.log.append(f"Surfaces: {error}")
            return
        if code != 0:
            self.log.append(f"Surfaces: exit code {code}")
