"""A DICOM scan gives a segmentation object and a measurement report: right place, right codes, of the right patient."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from Testing.engine import dicom_files
from Testing.engine.dicom_files import NAME, NUMBER, pydicom

from asa.errors import DependencyError
from asa.geometry import Alignment
from asa.jobs import segment as job
from asa.report import measure
from asa.report.dicom import write_dicom
from asa.request import SegmentRequest
from asa.tasks import TASKS
from asa.volume import read_volume

highdicom = pytest.importorskip("highdicom", reason="DICOM output needs highdicom")

LABELS = TASKS["tissue"].labels


def segmented(scan: Path, folder: Path) -> job.Finished:
    return job.run(SegmentRequest({"t1": scan}, also=("dicom", "html")), folder, segmentation_file=False)


def voxels_of(folder: Path, scan: Path) -> dict[tuple[int, tuple[float, ...]], np.ndarray]:
    """Label value and position of a slice (LPS mm) -> mask (rows, columns), of the label map that is in the folder."""
    labels = read_volume(folder / "segmentation.nii.gz", labels=True)
    stored = labels.storage.to_stored(labels.array)
    affine = labels.storage.stored_affine(labels.grid)
    found = {}
    for k in range(stored.shape[2]):
        x, y, z = affine[:3, 3] + k * affine[:3, 2]
        for label in LABELS:
            if (mask := label.value == stored[:, :, k].T).any():
                found[label.value, tuple(np.round((-x, -y, z), 3) + 0.0)] = mask
    return found


@pytest.mark.parametrize("kind", ["classic", "tilted", "enhanced"])
def test_segments_lie_where_the_label_map_has_them(fake: ModuleType, tmp_path: Path, kind: str) -> None:
    if kind == "enhanced":
        scan = dicom_files.write_enhanced(tmp_path / "scan" / "enhanced.dcm", order=[*range(15, -1, -1)])
    else:
        turn = dicom_files.TILTED if kind == "tilted" else dicom_files.AXIAL
        scan = dicom_files.write_series(tmp_path / "scan", orientation=turn)[0]
    out = tmp_path / "out"
    assert {"segmentation.dcm", "measurements.dcm"} <= set(segmented(scan, out).report["files"])
    seg = highdicom.seg.segread(out / "segmentation.dcm")
    expected = voxels_of(out, scan)
    assert seg.number_of_segments == len(LABELS)
    found = {}
    for frame, pixels in zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array, strict=True):
        number = frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        position = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        found[LABELS[number - 1].value, tuple(np.round(position, 3) + 0.0)] = pixels > 0
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[key], expected[key]) for key in expected)
    assert seg.FrameOfReferenceUID == pydicom.dcmread(scan).FrameOfReferenceUID


@pytest.fixture
def result(fake: ModuleType, tmp_path: Path) -> Path:
    segmented(dicom_files.write_series(tmp_path / "scan")[0], tmp_path / "out")
    return tmp_path / "out"


def test_codes_and_names(result: Path) -> None:
    seg = highdicom.seg.segread(result / "segmentation.dcm")
    for number, label in enumerate(LABELS, 1):
        described = seg.get_segment_description(number)
        assert described.segment_label == label.title and described.algorithm_type.value == "AUTOMATIC"
        kind = described.segmented_property_type
        terms = label.terminology.type
        assert (kind.value, kind.scheme_designator, kind.meaning) == (terms.value, terms.scheme, terms.meaning)
    assert seg.SeriesDescription == "ASA tissue, doubtful: review" and seg.SeriesInstanceUID


def items(node: Any, name: str) -> list[Any]:
    """Content items of a name, at any depth."""
    found = [one for one in node.get("ContentSequence", []) if one.ConceptNameCodeSequence[0].CodeMeaning == name]
    return found + [deep for one in node.get("ContentSequence", []) for deep in items(one, name)]


def test_the_report_holds_the_volumes_and_refers_to_the_segments(result: Path) -> None:
    report = highdicom.sr.srread(result / "measurements.dcm")
    seg = pydicom.dcmread(result / "segmentation.dcm")
    rows = {row["title"]: row["volume_ml"] for row in read_json(result)["volumes"]}
    groups = items(report, "Measurement Group")
    measured, referenced = {}, {}
    for group in groups:
        (title,) = (one.TextValue for one in items(group, "Tracking Identifier"))
        (volume,) = items(group, "Volume")
        value = volume.MeasuredValueSequence[0]
        assert value.MeasurementUnitsCodeSequence[0].CodeValue == "mL"
        measured[title] = float(value.NumericValue)
        for reference in items(group, "Referenced Segment"):
            (one,) = reference.ReferencedSOPSequence
            assert one.ReferencedSOPInstanceUID == seg.SOPInstanceUID
            referenced[title] = one.ReferencedSegmentNumber
    assert measured == pytest.approx(rows)
    assert {label.title: number for number, label in enumerate(LABELS, 1)}.items() <= referenced.items()
    assert report.VerificationFlag == "UNVERIFIED"
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"


def read_json(folder: Path) -> Any:
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


def test_the_patient_is_in_these_two_files_and_no_other(result: Path) -> None:
    for name in ("segmentation.dcm", "measurements.dcm"):
        dataset = pydicom.dcmread(result / name)
        assert (dataset.PatientName, dataset.PatientID) == (NAME, NUMBER)
        assert dataset.StudyInstanceUID == "1.2.826.0.1.3680043.8.498.1"
    others = [path for path in result.iterdir() if path.suffix != ".dcm"]
    assert [
        path.name for path in others if NUMBER.encode() in path.read_bytes() or b"Mueller" in path.read_bytes()
    ] == []


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="needs dciodvfy of dicom3tools")
@pytest.mark.parametrize("name", ["segmentation.dcm", "measurements.dcm"])
def test_the_validator_of_the_standard_finds_no_fault(result: Path, name: str) -> None:
    done = subprocess.run(["dciodvfy", str(result / name)], capture_output=True, encoding="utf-8", errors="replace")
    said = (done.stdout + done.stderr).splitlines()
    assert [line for line in said if line.startswith(("Error", "Warning"))] == []


def test_libraries_do_not_quote_the_patient(
    fake: ModuleType, tmp_path: Path, recwarn: pytest.WarningsRecorder, capfd: pytest.CaptureFixture[str]
) -> None:
    odd = {"PatientName": "Jane_Doe", "PatientAge": "42"}  # a name of one component, an age without a unit
    segmented(dicom_files.write_series(tmp_path / "scan", **odd)[0], tmp_path / "out")
    said = capfd.readouterr()
    assert "Jane" not in said.out + said.err + "".join(str(one.message) for one in recwarn)
    assert pydicom.dcmread(tmp_path / "out" / "segmentation.dcm").PatientAge == ""


def test_images_without_a_frame_of_reference_give_a_warning(fake: ModuleType, tmp_path: Path) -> None:
    files = dicom_files.write_series(tmp_path / "scan")
    for file in files:
        dataset = pydicom.dcmread(file)
        del dataset.FrameOfReferenceUID, dataset.PatientBirthDate, dataset.StudyID
        dataset.save_as(file)
    finished = segmented(files[0], tmp_path / "out")
    assert "No segmentation.dcm was written, because the images have no frame of reference." in finished.warnings
    assert not (tmp_path / "out" / "segmentation.dcm").exists()
    assert (tmp_path / "out" / "measurements.dcm").is_file()


def test_nothing_found_is_no_segmentation_object(tmp_path: Path) -> None:
    scan = dicom_files.write_series(tmp_path / "scan")[0]
    volume = read_volume(scan)
    empty = volume.with_array(np.zeros(volume.array.shape, np.uint8))
    task, paths = TASKS["tissue"], [tmp_path / "segmentation.dcm", tmp_path / "measurements.dcm"]
    measurements = measure(empty, empty, task, Alignment(np.eye(4), "identity", 1.0))
    warnings = write_dicom(scan, empty, task, measurements, paths, doubtful=False)
    assert warnings == ["No segmentation.dcm was written, because all segments are empty."] and not paths[0].exists()
    report = highdicom.sr.srread(paths[1])
    assert {float(one.MeasuredValueSequence[0].NumericValue) for one in items(report, "Volume")} == {0.0}


def test_a_missing_package_is_named_before_anything_is_computed(
    fake: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = dicom_files.write_series(tmp_path / "scan")
    monkeypatch.setattr(job.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DependencyError, match=r"slicer-asa\[dicom\]"):
        segmented(files[0], tmp_path / "out")
