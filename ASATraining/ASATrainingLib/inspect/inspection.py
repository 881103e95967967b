"""Inspection of a model: the request, the engine process, and its results on disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asa.events import Reported
from ASASlicerLib.engine_job import EngineJob
from ASASlicerLib.nifti import read_nifti, right_handed
from ASASlicerLib.process import ProcessRunner
from ASASlicerLib.steps import Steps
from ASASlicerLib.volumes import Snapshot
from ASATrainingLib.inspect.patches import Attention, Patches
from ASATrainingLib.runs.checkpoints import Checkpoint

_SHARED, _OWN = ("image", "importance", "hidden"), ("reconstruction", "error")


@dataclass(frozen=True)
class InspectionRequest:
    """Parameters of an inspection besides the scan and the weights.

    `ratio`: share of the patches to hide at random, following from `seed`; `brain_only`: of those with brain in them.
    `drawn`: the patches to hide instead, b"" for random ones: bits of a bool array. `stripped`: the scan shows the
    brain only; `align`: align it with the brain frame first.
    """

    ratio: float = 0.75
    seed: int = 0
    brain_only: bool = False
    drawn: bytes | None = None
    stripped: bool = False
    align: bool = True

    def arguments(self) -> list[str]:
        """Return the arguments of `asa inspect`; the drawn mask is a separate file."""
        words = ["--seed", str(self.seed), "--align" if self.align else "--aligned"]
        words += ["--stripped"] if self.stripped else []
        if self.drawn is None:
            words += ["--ratio", f"{self.ratio:.4f}", "--brain-only" if self.brain_only else "--anywhere"]
        return words


@dataclass(frozen=True, eq=False)
class Inspection:
    """Results of an inspection, in Slicer's voxel order.

    `volumes`: image, importance, hidden, reconstruction, error, each (K, J, I); `ijk_to_ras` is their 4x4 affine in mm
    before the scan's transforms, right-handed. `hidden` (N,) marks the hidden patches. `summary` is
    inspect.json. `attention` is None where it is missing.
    """

    volumes: Mapping[str, np.ndarray]
    ijk_to_ras: np.ndarray
    patches: Patches
    hidden: np.ndarray
    summary: Mapping[str, Any]
    attention: Attention | None

    @staticmethod
    def read(shared: Path, own: Path) -> Steps[Inspection]:
        """Read the results.

        Args:
            shared: folder of what all models have in common.
            own: folder of this model.

        Raises:
            OSError, ValueError, LookupError: a file is missing or invalid.
        """
        volumes = {}
        affine = np.eye(4)
        for folder, names in ((shared, (*_SHARED, "patches")), (own, _OWN)):
            for name in names:
                array, affine = right_handed(*(yield from read_nifti(folder / f"{name}.nii")))
                volumes[name] = np.ascontiguousarray(array.T)
                yield True
        summary = json.loads((own / "inspect.json").read_text(encoding="utf-8"))
        patches = Patches.of(volumes.pop("patches"), summary)
        try:
            attention = Attention(own)
        except (OSError, ValueError):
            attention = None
        hidden = yield from patches.marked(volumes["hidden"])
        return Inspection(volumes, affine, patches, hidden, summary, attention)


class InspectionJob(EngineJob[None]):
    """Runs `asa inspect` for checkpoints of one network and reports each result as soon as it is available.

    `scan` and `mask` are copies of volumes. The answers lie in `output`; `kept` is where the aligned scan is kept.
    `completed(checkpoint, shared folder, own folder)` is called from `poll`.
    """

    def __init__(
        self,
        runner: ProcessRunner,
        scan: Snapshot,
        mask: Snapshot | None,
        request: InspectionRequest,
        models: Sequence[Checkpoint],
        output: Path,
        kept: Path,
        completed: Callable[[Checkpoint, Path, Path], None],
    ) -> None:
        self._scan: Snapshot | None = scan
        self._mask, self._request, self._models = mask, request, models
        self._output, self._kept = output, kept
        self._completed = completed
        self._count = 0
        super().__init__(runner)

    def prepare(self) -> Steps[list[str]]:
        """Write the scan and the mask; return the arguments for Python.

        Raises:
            OSError: a file cannot be written.
            ChangedError: a volume changed while it was being written.
        """
        assert self._scan is not None
        image = yield from self._scan.write(self.folder)
        words = ["-m", "asa", "inspect", *(str(model.path) for model in self._models), "--image", str(image)]
        words += ["--output", str(self._output), "--kept", str(self._kept), "--json", "--attention"]
        if self._mask is not None:
            words += ["--mask", str((yield from self._mask.write(self.folder)))]
        self._scan = self._mask = None
        return [*words, *self._request.arguments()]

    def take(self, event: Reported) -> None:
        """Report each inspected model as soon as its results are available."""
        if event.name == "inspected" and self._count < len(self._models):
            own = Path(event.values["folder"])
            self._completed(self._models[self._count], self._output, own)
            self._count += 1

    def results(self) -> Steps[None]:
        """Return nothing; each result was reported on arrival."""
        yield True  # each result was reported on arrival
