"""Collaborators for tests: a program that needs no engine, a user who answers as received, a head."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk

from ASASlicerLib.dependencies import Package, Plan


class FakeProcess:
    """A program that runs until it is received to end; what it says is put into its mouth."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stopped = False
        self._lines: list[tuple[str, str]] = []
        self._exit_code: int | None = None

    def say(self, **event: object) -> None:
        """Write one event to standard output."""
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


class FakeDialogs:
    """Answers every question with `answer` and records all messages."""

    def __init__(self, answer: bool = True, file: str = "") -> None:
        self.answer = answer
        self.file = file
        self.messages: list[str] = []

    def ask(self, question: str) -> bool:
        self.messages.append(question)
        return self.answer

    def tell(self, message: str) -> None:
        self.messages.append(message)

    def show_text(self, title: str, text: str) -> None:
        self.messages.append(text)

    def choose_file(self, proposed: str) -> str:
        return self.file

    def choose_folder(self, title: str) -> str:
        return self.file

    def busy(self) -> contextlib.AbstractContextManager[object]:
        return contextlib.nullcontext()


class FakeInstaller:
    """Records the requested packages; fails with `reason` if given."""

    def __init__(self, reason: str = "") -> None:
        self.installed: list[Package] = []
        self._reason = reason

    def install(self, packages: tuple[Package, ...], wheels: Path | None) -> None:
        if self._reason:
            raise RuntimeError(self._reason)
        self.installed += packages


class MemoryStore:
    """Settings that last as long as the test."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def value(self, key: str) -> Any:
        return self.values.get(key)

    def setValue(self, key: str, value: Any) -> None:
        self.values[key] = value


def nothing_missing(wheels: Path | None) -> Plan:
    """Return a plan without missing packages."""
    return Plan((), False, wheels, "")


def head_array() -> np.ndarray:
    """Return a ball of four nested shells that grow brighter inwards, as in a T1: (K, J, I), 16 bit."""
    k, j, i = np.mgrid[:40, :48, :44]
    radius = np.sqrt(((i - 21) / 18) ** 2 + ((j - 23) / 20) ** 2 + ((k - 19) / 16) ** 2)
    return np.select([radius < 0.4, radius < 0.6, radius < 0.8, radius < 1.0], [250, 180, 120, 60], 0).astype(np.int16)


def add_head(name: str, ijk_to_ras: np.ndarray | None = None) -> slicer.vtkMRMLScalarVolumeNode:
    """A volume in the scene with `head_array`; 2 mm voxels."""
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    matrix = vtk.vtkMatrix4x4()
    affine = np.diag([-2.0, -2.0, 2.0, 1.0]) if ijk_to_ras is None else ijk_to_ras
    matrix.DeepCopy(affine.ravel())
    volume.SetIJKToRASMatrix(matrix)
    slicer.util.updateVolumeFromArray(volume, head_array())
    volume.CreateDefaultDisplayNodes()
    return volume
