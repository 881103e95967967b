"""Collaborators for tests: a job that needs no engine, and a user who answers as told."""

from __future__ import annotations

import contextlib
import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import slicer
import vtk

from asa.tasks import TASKS
from ASASegmentationLib.segments import surfaces
from ASASlicerLib.dependencies import Package, Plan
from ASASlicerLib.nifti import read_nifti, write_nifti
from ASASlicerLib.steps import finish


class FakeProcess:
    """A job that has done its work when it is asked to go on; until then it runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stopped = False
        self.doubts: list[str] = []
        self._lines: list[tuple[str, str]] = []
        self._exit_code: int | None = None

    def say(self, **event: object) -> None:
        """Writes one event to standard output."""
        self._lines.append(("stdout", json.dumps(event)))

    def complain(self, line: str) -> None:
        """Writes a line to standard error."""
        self._lines.append(("stderr", line))

    def end(self, code: int = 0) -> None:
        self._exit_code = code

    def lines(self) -> list[tuple[str, str]]:
        lines, self._lines = self._lines, []
        return lines

    @property
    def exit_code(self) -> int | None:
        return None if self._lines else self._exit_code

    def stop(self) -> None:
        self.stopped = True
        self._exit_code = -15

    def finish(self) -> None:
        """Segments by intensity alone and ends well."""
        request = json.loads((self.folder / "request.json").read_text(encoding="utf-8"))
        task = TASKS[request["task"]]
        image, affine = finish(read_nifti(Path(request["images"][request["reference"]])))
        labels = np.zeros(image.shape, np.uint8)
        for number, label in enumerate(task.labels, 1):
            labels[image > number * image.max() / (len(task.labels) + 1)] = label.value
        result = Path(request["output"])
        result.mkdir()
        self._write(result / "segmentation.nii.gz", labels.T, affine)
        if request["posterior"]:
            self._write(result / "uncertainty.nii.gz", (image / image.max()).astype(np.float32).T, affine)
        (result / "overlay.png").write_bytes(b"picture")
        rows = [
            {
                "name": label.name,
                "title": label.title,
                "kind": "label",
                "values": [label.value],
                "volume_ml": float((labels == label.value).sum()) / 1000,
                "percent_of_brain": 10.0,
                "left_ml": 1.0,
                "right_ml": 1.0,
                "asymmetry_percent": None,
            }
            for label in task.labels
        ]
        everything = [label.value for label in task.labels]
        rows.append({**rows[0], "name": "all", "title": "All", "kind": "region", "values": everything})
        (result / "volumes.json").write_text(json.dumps({"volumes": rows}), encoding="utf-8")
        report = {"warnings": ["thick slices"], "trust": {"verdict": "doubtful", "reasons": self.doubts}}
        (result / "report.json").write_text(json.dumps(report), encoding="utf-8")
        self.say(event="done")
        self.end()

    def _write(self, path: Path, array: np.ndarray, affine: np.ndarray) -> None:
        plain = path.with_suffix("")
        finish(write_nifti(plain, lambda: array, affine))
        path.write_bytes(gzip.compress(plain.read_bytes(), compresslevel=1))


class FakeRunner:
    """Starts a FakeProcess and remembers it."""

    def __init__(self) -> None:
        self.process: FakeProcess | None = None

    def start(self, arguments: Sequence[str], folder: Path) -> FakeProcess:
        process = FakeProcess(folder)
        if surfaces.__name__ in arguments:  # of so small a head they take no time
            surfaces.main(str(folder / arguments[-1]))
            process.end()
        else:
            self.process = process
        return process


class FakeDialogs:
    """Answers every question with `answer` and keeps what was said."""

    def __init__(self, answer: bool = True, file: str = "") -> None:
        self.answer = answer
        self.file = file
        self.said: list[str] = []

    def ask(self, question: str) -> bool:
        self.said.append(question)
        return self.answer

    def tell(self, message: str) -> None:
        self.said.append(message)

    def show_text(self, title: str, text: str) -> None:
        self.said.append(text)

    def choose_file(self, proposed: str) -> str:
        return self.file

    def choose_folder(self, title: str) -> str:
        return self.file

    def busy(self) -> contextlib.AbstractContextManager[object]:
        return contextlib.nullcontext()


class FakeInstaller:
    """Remembers what it was asked for; with `reason` it fails."""

    def __init__(self, reason: str = "") -> None:
        self.installed: list[Package] = []
        self._reason = reason

    def install(self, packages: tuple[Package, ...], wheels: Path | None) -> None:
        if self._reason:
            raise RuntimeError(self._reason)
        self.installed += packages


def nothing_missing(wheels: Path | None) -> Plan:
    """All packages are there."""
    return Plan((), False, wheels, "")


def add_head(name: str, ijk_to_ras: np.ndarray | None = None) -> slicer.vtkMRMLScalarVolumeNode:
    """A volume in the scene: a ball of four nested shells that grow brighter inwards, as in a T1; 2 mm voxels."""
    k, j, i = np.mgrid[:40, :48, :44]
    radius = np.sqrt(((i - 21) / 18) ** 2 + ((j - 23) / 20) ** 2 + ((k - 19) / 16) ** 2)
    array = np.select([radius < 0.4, radius < 0.6, radius < 0.8, radius < 1.0], [250, 180, 120, 60], 0).astype(np.int16)
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    matrix = vtk.vtkMatrix4x4()
    affine = np.diag([-2.0, -2.0, 2.0, 1.0]) if ijk_to_ras is None else ijk_to_ras
    matrix.DeepCopy(affine.ravel())
    volume.SetIJKToRASMatrix(matrix)
    slicer.util.updateVolumeFromArray(volume, array)
    volume.CreateDefaultDisplayNodes()
    return volume
