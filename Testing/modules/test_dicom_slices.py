"""Which slices a DICOM export lies on, and when it is refused; without pydicom and highdicom, which few have."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import slicer

from asa.tasks import TASKS
from ASASegmentationLib.results.dicom_seg import NotDicomError, export_dicom_seg
from ASASegmentationLib.results.result import segment_specs
from ASASegmentationLib.segments import edits
from ASASegmentationLib.segments.build import build_segments
from ASASlicerLib.steps import finish
from ASASlicerLib.volumes import ijk_to_ras

SHAPE = (10, 8, 6)


class Header(SimpleNamespace):
    """As much of pydicom's Dataset as is used."""

    def __contains__(self, keyword: str) -> bool:
        return hasattr(self, keyword)


@pytest.fixture
def slices(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The slices of a series by file, which the database and pydicom give."""
    found = {
        str(k): Header(
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            ImagePositionPatient=[0, 0, 3 * k],
            PixelSpacing=[1, 1],
            Columns=SHAPE[0],
            Rows=SHAPE[1],
        )
        for k in range(SHAPE[2])
    }
    database = SimpleNamespace(isOpen=True, fileForInstance=lambda uid: uid if uid in found else "")
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    pydicom = ModuleType("pydicom")
    pydicom.dcmread = lambda file, **_: found[file]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pydicom", pydicom)
    monkeypatch.setitem(sys.modules, "highdicom", ModuleType("highdicom"))
    yield found
    slicer.mrmlScene.Clear(0)


def export(labels: np.ndarray, path: Path) -> None:
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    volume.SetIJKToRASDirections(-1, 0, 0, 0, -1, 0, 0, 0, 1)
    volume.SetSpacing(1, 1, 3)
    slicer.util.updateVolumeFromArray(volume, np.zeros(SHAPE[::-1], np.int16))
    volume.SetAttribute("DICOM.instanceUIDs", " ".join(map(str, range(SHAPE[2]))))
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    finish(edits.add(node, finish(build_segments(labels, ijk_to_ras(volume), segment_specs(TASKS["tissue"])))))
    export_dicom_seg(node, volume, path)


def test_slices_that_are_gone_are_not_left_out_in_silence(slices: dict[str, Any], tmp_path: Path) -> None:
    del slices["3"]
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:4, 2:7] = 2
    with pytest.raises(NotDicomError, match="5 of the 6 slices"):
        export(labels, tmp_path / "seg.dcm")


def test_files_of_many_slices_are_refused(slices: dict[str, Any], tmp_path: Path) -> None:
    for dataset in slices.values():
        del dataset.ImageOrientationPatient  # enhanced DICOM stores it per frame
    with pytest.raises(NotDicomError, match="multi-frame"):
        export(np.ones(SHAPE, np.uint8), tmp_path / "seg.dcm")
