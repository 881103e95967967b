"""The record of a result: what a later correction needs, in one small file that travels with the segmentation.

A zip of numpy arrays (no pickles) and JSON: the label map, the probabilities in steps of 1/255, and those parts of
report.json that say which images they belong to and how the series lie to one another.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from asa.errors import InputError
from asa.tasks import TASKS, Task
from asa.volume import Grid

FORMAT = 1
_PARTS = ("task", "inputs", "reference", "series", "alignment")
_HEADER, _LABELS, _POSTERIOR = "record.json", "labels.npy", "posterior.npy"
_STEPS = 255


@dataclass(frozen=True)
class Record:
    """A result as it was made.

    Attributes:
        report: the entries task, inputs, reference, series and alignment of its report.json.
        grid: of the label map.
        labels: (T, H, W) uint8 label map.
        posterior: (1 + number of labels, T, H, W) float16 probabilities of the background and the labels.
    """

    report: Mapping[str, Any]
    grid: Grid
    labels: npt.NDArray[np.uint8]
    posterior: npt.NDArray[np.float16]

    @property
    def task(self) -> Task:
        """The task of the result."""
        return TASKS[self.report["task"]]

    def write(self, path: Path) -> None:
        """Write the file.

        Raises:
            OSError: it cannot be written.
        """
        header = {
            "format": FORMAT,
            "report": {part: self.report[part] for part in _PARTS},
            "shape": list(self.grid.shape),
            "affine": self.grid.affine.tolist(),
        }
        steps = np.empty((len(self.posterior) - 1, *self.grid.shape), np.uint8)  # that of the background follows
        for step, probability in zip(steps, self.posterior[1:], strict=True):
            step[:] = np.rint(np.clip(probability.astype(np.float32), 0, 1) * _STEPS)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=3) as archive:
            archive.writestr(_HEADER, json.dumps(header))
            for name, array in ((_LABELS, self.labels), (_POSTERIOR, steps)):
                with archive.open(name, "w", force_zip64=True) as stream:
                    np.lib.format.write_array(stream, np.ascontiguousarray(array), allow_pickle=False)

    @staticmethod
    def read(path: Path) -> Record:
        """Read a file.

        Raises:
            InputError: it is not a record, or damaged.
        """
        try:
            with zipfile.ZipFile(path) as archive:
                header = json.loads(archive.read(_HEADER))
                labels, steps = (
                    np.load(io.BytesIO(archive.read(name)), allow_pickle=False) for name in (_LABELS, _POSTERIOR)
                )
            report = {part: header["report"][part] for part in _PARTS}
            task, grid = TASKS[report["task"]], Grid(tuple(header["shape"]), np.asarray(header["affine"], float))
            whole = steps.shape == (len(task.labels), *grid.shape) and labels.shape == grid.shape
            if header["format"] != FORMAT or not whole or labels.dtype != np.uint8 or steps.dtype != np.uint8:
                raise ValueError("It has another format.")
        except (OSError, ValueError, LookupError, TypeError, zipfile.BadZipFile) as error:
            raise InputError("The stored probabilities are damaged; segment again to use probabilities.") from error
        posterior = np.empty((1 + len(steps), *grid.shape), np.float16)
        for row, step in zip(posterior[1:], steps, strict=True):
            row[:] = step * np.float32(1 / _STEPS)
        posterior[0] = np.clip(1 - posterior[1:].sum(axis=0, dtype=np.float32), 0, 1)
        return Record(report, grid, labels, posterior)
