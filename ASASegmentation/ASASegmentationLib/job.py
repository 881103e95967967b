"""One segmentation in a process of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import numpy as np

from asa.tasks import Task

from .engine_job import EngineJob
from .inputs import Snapshot
from .parameters import Settings
from .process import ProcessRunner
from .result import Result, read_result


class Job(EngineJob[Result]):
    """Runs `python -m asa.job` on copies of volumes.

    `moved` is asked, once the results are there, for the matrix from where the scan was to where it is now.
    """

    WHAT = "segmentation"

    def __init__(
        self,
        snapshots: Sequence[Snapshot],
        task: Task,
        settings: Settings,
        runner: ProcessRunner,
        moved: Callable[[], np.ndarray],
    ) -> None:
        self._snapshots, self._task, self._settings, self._moved = snapshots, task, settings, moved
        super().__init__(runner)

    def prepare(self) -> list[str]:
        settings = self._settings
        images = {snapshot.modality: str(snapshot.write(self.folder)) for snapshot in self._snapshots}
        request = {
            "images": images,
            "output": str(self.folder / "result"),
            "task": self._task.name,
            "model": settings.model or None,
            "device": settings.device,
            "align": "auto" if settings.align else "none",
            "tta": settings.flip or None,  # unticked: as the model says
            "posterior": settings.posterior,
            "segmentation_file": False,  # the segments are made in the scene
        }
        self._snapshots = ()
        (self.folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
        return ["-m", "asa.job", "request.json"]

    def reader(self) -> Callable[[], Result]:
        moved = self._moved()  # asked here, because the scene is the GUI thread's
        return lambda: read_result(self.folder / "result", self._task, moved)
