"""A segmentation as DICOM: the right voxels over the right slices, with names and codes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import slicer

from asa.tasks import TASKS
from ASASegmentationLib.results.dicom_seg import NotDicomError, export_dicom_seg
from ASASegmentationLib.results.result import segment_specs
from ASASegmentationLib.segments import edits
from ASASegmentationLib.segments.build import build_segments
from ASASlicerLib.dicom_tags import read_tags
from ASASlicerLib.steps import finish
from ASASlicerLib.volumes import ijk_to_ras

pydicom = pytest.importorskip("pydicom", reason="DICOM export needs pydicom and highdicom")
highdicom = pytest.importorskip("highdicom", reason="DICOM export needs highdicom")


class Database:
    """As much of ctkDICOMDatabase as is used."""

    isOpen = True

    def __init__(self, files: dict[str, str]) -> None:
        self._files = files

    def fileForInstance(self, uid: str) -> str:
        return self._files.get(uid, "")

    def instanceValue(self, uid: str, tag: str) -> str:
        group, element = (int(part, 16) for part in tag.split(","))
        return str(pydicom.dcmread(self._files[uid]).get((group, element), SimpleNamespace(value="")).value)


@pytest.fixture
def scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An oblique series of six slices, 8 rows and 10 columns, loaded as Slicer loads it."""
    sitk = pytest.importorskip("SimpleITK")
    turn = np.deg2rad(20)
    row, column = np.array([np.cos(turn), np.sin(turn), 0]), np.array([-np.sin(turn), np.cos(turn), 0])
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    files = {}
    for number in range(6):
        image = sitk.GetImageFromArray(np.full((8, 10), 100 * number, np.int16))
        image.SetSpacing((1.5, 2.0))
        tags = {
            "0008|0016": "1.2.840.10008.5.1.4.1.1.4",
            "0008|0060": "MR",
            "0008|103e": "Sag T1 MPRAGE",
            "0010|0020": "patient",
            "0020|000d": "1.2.3.1",
            "0020|000e": "1.2.3.2",
            "0020|0052": "1.2.3.3",
            "0008|0018": f"1.2.3.4.{number + 1}",
            "0020|0013": str(number + 1),
            "0020|0032": "\\".join(f"{x:.6f}" for x in (-5.0, 7.0, 3.0 * number)),
            "0020|0037": "\\".join(f"{x:.6f}" for x in (*row, *column)),
            "0018|0050": "3",
        }
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        path = tmp_path / f"{number}.dcm"
        writer.SetFileName(str(path))
        writer.Execute(image)
        dataset = pydicom.dcmread(path)
        dataset.StudyDate = dataset.StudyTime = dataset.AccessionNumber = dataset.StudyID = ""
        dataset.PatientName = dataset.PatientBirthDate = dataset.PatientSex = dataset.ReferringPhysicianName = ""
        dataset.save_as(path)
        files[f"1.2.3.4.{number + 1}"] = str(path)
    volume = slicer.util.loadVolume(str(tmp_path / "0.dcm"))
    volume.SetAttribute("DICOM.instanceUIDs", " ".join(files))
    monkeypatch.setattr(slicer, "dicomDatabase", Database(files), raising=False)
    yield volume
    slicer.mrmlScene.Clear(0)


def segmentation_of(volume: Any, labels: np.ndarray) -> Any:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "tissue")
    node.CreateDefaultDisplayNodes()
    segments = finish(build_segments(labels, ijk_to_ras(volume), segment_specs(TASKS["tissue"])))
    finish(edits.add(node, segments))
    return node


def test_tags_are_read_from_the_database(scan: Any) -> None:
    assert read_tags(scan)["SeriesDescription"] == "Sag T1 MPRAGE"


def test_voxels_names_and_codes(scan: Any, tmp_path: Path) -> None:
    dimensions = scan.GetImageData().GetDimensions()
    assert dimensions == (10, 8, 6)
    labels = np.zeros(dimensions, np.uint8)
    labels[1:4, 2:7, 0:2] = 2
    labels[6:9, 1:3, 3] = 3
    path = tmp_path / "seg.dcm"
    export_dicom_seg(segmentation_of(scan, labels), scan, path)
    seg = highdicom.seg.segread(path)
    assert [s.segment_label for s in map(seg.get_segment_description, (1, 2))] == ["Grey matter", "White matter"]
    assert seg.get_segment_description(1).segmented_property_type.value == "389081007"
    image = slicer.util.arrayFromVolume(scan)
    for number, value in ((1, 2), (2, 3)):
        for k in range(6):
            uid = f"1.2.3.4.{int(image[k, 0, 0]) // 100 + 1}"  # the slice knows its number by its intensity
            frame = seg.get_pixels_by_source_instance([uid], segment_numbers=[number], ignore_spatial_locations=True)
            np.testing.assert_array_equal(frame[0, ..., 0] != 0, value == labels[:, :, k].T)


def test_a_scan_that_did_not_come_from_dicom_is_refused(scan: Any, tmp_path: Path) -> None:
    scan.RemoveAttribute("DICOM.instanceUIDs")
    node = segmentation_of(scan, np.ones((10, 8, 6), np.uint8))
    with pytest.raises(NotDicomError, match="not loaded from DICOM"):
        export_dicom_seg(node, scan, tmp_path / "seg.dcm")


def test_a_scan_that_was_moved_is_refused(scan: Any, tmp_path: Path) -> None:
    node = segmentation_of(scan, np.ones((10, 8, 6), np.uint8))
    scan.SetOrigin(1.0, 2.0, 3.0)
    with pytest.raises(NotDicomError, match="moved or resampled"):
        export_dicom_seg(node, scan, tmp_path / "seg.dcm")
