"""Run one comparison of two visits in a separate process, and read what it found."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from asa.events import Progress
from asa.tasks import Code, Task, Terminology
from ASASegmentationLib.parameters import Settings
from ASASegmentationLib.results.result import ExtraVolume, read_extra
from ASASegmentationLib.segments.build import SegmentSpec, build_segments
from ASASlicerLib.engine_job import EngineJob
from ASASlicerLib.nifti import read_nifti
from ASASlicerLib.process import ProcessRunner
from ASASlicerLib.steps import Steps
from ASASlicerLib.volumes import Snapshot

PROGRAM = "asa.jobs.compare_program"
_CHANGE_MAP = "change.nii.gz"
_TISSUE = Terminology(Code("SCT", "85756007", "Tissue"), Code("SCT", "85756007", "Tissue"))


@dataclass(frozen=True)
class Comparison:
    """What changed between two visits, in the space of the later scan.

    `images` are those of the earlier and of the later visit, in one place. `segments` show what changed, by id.
    `changes` are the rows of changes.csv, `lesions` those of lesions.csv with their `centre` in RAS mm. `doubts` say
    why the comparison must not be used unchecked; `warnings` are other messages for the user.
    """

    images: tuple[ExtraVolume, ExtraVolume]
    segments: Mapping[str, slicer.vtkSegment]
    changes: tuple[Mapping[str, Any], ...]
    lesions: tuple[Mapping[str, Any], ...]
    doubts: tuple[str, ...]
    warnings: tuple[str, ...]


class CompareJob(EngineJob[Comparison]):
    """Runs `python -m asa.jobs.compare_program` on copies of the volumes of both visits.

    `reference` is the modality that is shown. `moved` is called once the results are available and returns the matrix
    from the later scan's position at the start to its current position.
    """

    def __init__(
        self,
        earlier: Sequence[Snapshot],
        later: Sequence[Snapshot],
        reference: str,
        task: Task,
        settings: Settings,
        runner: ProcessRunner,
        moved: Callable[[], np.ndarray],
    ) -> None:
        self._visits, self._reference = (earlier, later), reference
        self._task, self._settings, self._moved = task, settings, moved
        super().__init__(runner)

    def prepare(self) -> Steps[list[str]]:
        """Write the volumes and the request; return the arguments for Python.

        Raises:
            OSError: a file cannot be written.
            ChangedError: a volume changed while it was being written.
        """
        images: list[dict[str, Path]] = []
        for name, snapshots in zip(("earlier", "later"), self._visits, strict=True):
            folder = self.folder / name
            folder.mkdir()
            images.append({})
            for snapshot in snapshots:
                images[-1][snapshot.name] = yield from snapshot.write(folder)
        self._visits = ((), ())
        request = self._settings.request(images[1], self._reference).to_json()
        request |= {"earlier": {key: str(path) for key, path in images[0].items()}}
        request |= {"output": str(self.folder / "result")}
        return self.program(PROGRAM, request)

    def results(self) -> Steps[Comparison]:
        """Read the result folder.

        Raises:
            OSError, ValueError, LookupError: a file is missing or invalid.
        """
        self.progress = Progress("adding", 1.0)
        folder = self.folder / "result"
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        placed = self._moved() @ np.asarray(report["registration"]["midway_to_visit2"], float)
        earlier = yield from read_extra(folder / f"visit1_{self._reference}.nii.gz", placed)
        later = yield from read_extra(folder / f"visit2_{self._reference}.nii.gz", placed)
        labels, affine = yield from read_nifti(folder / _CHANGE_MAP)
        code = (self._task.labels[0].terminology if report["lesions"] else _TISSUE).slicer_entry
        specs = [
            SegmentSpec(part["name"], part["title"], tuple(part["colour"]), (int(part["value"]),), code)
            for part in report["map"]
        ]
        segments = yield from build_segments(labels, placed @ affine, specs)
        doubts = tuple(report["trust"]["reasons"])
        return Comparison(
            images=(earlier, later),
            segments=segments,
            changes=tuple(report["changes"]),
            lesions=tuple({**row, "centre": (placed @ [*row["centre_mm"], 1.0])[:3]} for row in report["lesions"]),
            doubts=doubts,
            warnings=tuple(text for text in report["warnings"] if text not in doubts),
        )
