"""Stand-ins for the engine's job."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from asa.tasks import TASKS
from ASASegmentationLib.segments import surfaces
from ASASegmentationLib.visits.job import PROGRAM
from ASASlicerLib.nifti import read_nifti, write_nifti
from ASASlicerLib.steps import finish
from ASASlicerLib.tests.fakes import FakeProcess


class FakeJob(FakeProcess):
    """A fake job that finishes when it is polled."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.doubts: list[str] = []

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
        write_gzipped(result / "segmentation.nii.gz", labels.T, affine)
        if request["posterior"]:
            write_gzipped(result / "uncertainty.nii.gz", (image / image.max()).astype(np.float32).T, affine)
        (result / "overlay.png").write_bytes(b"picture")
        (result / "record.zip").write_bytes(b"record of %d voxels" % np.count_nonzero(labels))
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


class FakeComparison(FakeProcess):
    """A fake comparison that finishes when it is told to."""

    doubts: tuple[str, ...] = ()

    def finish(self) -> None:
        """Calls what became brighter new lesions, or tissue that was gained, and ends well."""
        request = json.loads((self.folder / "request.json").read_text(encoding="utf-8"))
        key = request["reference"]
        (earlier, affine), (later, _affine) = (
            finish(read_nifti(Path(images[key]))) for images in (request["earlier"], request["images"])
        )
        result = Path(request["output"])
        result.mkdir()
        change = (later > earlier).astype(np.uint8)
        images = {f"visit1_{key}": earlier, f"visit2_{key}": later, "change": change}
        for name, array in images.items():
            write_gzipped(result / f"{name}.nii.gz", array.T, affine)
        lesions = request["task"] == "wmh"
        place = (affine @ [*np.argwhere(change).mean(axis=0), 1.0])[:3].tolist() if change.any() else [0.0, 0.0, 0.0]
        name, title = ("new", "New lesions") if lesions else ("gained", "Brain tissue gained")
        row = {"name": "all", "title": "All of it", "first_ml": 10.0, "second_ml": 11.0, "change_ml": 1.0}
        row |= {"change_percent": 9.52, "noise_percent": 1.0, "verdict": "increase"}
        lesion = {"number": 1, "state": "new", "first_ml": 0.0, "second_ml": 1.0, "centre_mm": place}
        report = {
            "registration": {"midway_to_visit2": np.eye(4).tolist()},
            "trust": {"verdict": "doubtful" if self.doubts else "ok", "reasons": [*self.doubts]},
            "warnings": [*self.doubts, "thick slices"],
            "changes": [row, {**row, "title": "Unmeasured", "change_percent": None, "verdict": "noise unknown"}],
            "lesions": [lesion] if lesions else [],
            "map": [{"value": 1, "name": name, "title": title, "colour": [213, 94, 0], "volume_ml": 1.0}],
        }
        (result / "report.json").write_text(json.dumps(report), encoding="utf-8")
        self.say(event="done")
        self.end()


def write_gzipped(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """Writes an array (K, J, I) as .nii.gz."""
    plain = path.with_suffix("")
    finish(write_nifti(plain, lambda: array, affine))
    path.write_bytes(gzip.compress(plain.read_bytes(), compresslevel=1))


class FakeRunner:
    """Starts a FakeJob, or a FakeComparison, and remembers it."""

    def __init__(self) -> None:
        self.process: Any = None  # a FakeJob or a FakeComparison, once one was started

    def start(self, arguments: Sequence[str], folder: Path) -> FakeProcess:
        if PROGRAM in arguments:
            self.process = FakeComparison(folder)
            return self.process
        process = FakeJob(folder)
        if surfaces.__name__ in arguments:  # of so small a head they take no time
            surfaces.main(str(folder / arguments[-1]))
            process.end()
        else:
            self.process = process
        return process
