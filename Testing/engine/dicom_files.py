"""Small DICOM series for tests, as a scanner writes them; they name a patient, who must be found nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pydicom = pytest.importorskip("pydicom", reason="DICOM needs pydicom")
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset  # noqa: E402
from pydicom.uid import ExplicitVRLittleEndian, generate_uid  # noqa: E402

MR, ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"
CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
NAME, NUMBER, BIRTH = "Mueller^Anna", "MRN-4711", "19700131"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
TILTED = (0.8, 0.6, 0.0, -0.6, 0.8, 0.0)
SPACING = (6.0, 5.0, 7.0)  # between columns, rows and slices, mm


def noise(slices: int = 16, rows: int = 20, columns: int = 18, seed: int = 0) -> npt.NDArray[np.int16]:
    """Voxels (slices, rows, columns) of a field of view that can hold a head."""
    return np.random.default_rng(seed).integers(0, 1000, (slices, rows, columns)).astype(np.int16)


def write_series(folder: Path, voxels: npt.NDArray[Any] | None = None, **changes: Any) -> list[Path]:
    """Write a classic series, one file per slice, and return its files from the lowest slice to the highest.

    Args:
        folder: made if missing.
        voxels: (slices, rows, columns), int16.
        changes: attributes by keyword, of every file; ``orientation`` and ``positions`` (mm along the normal) are taken
            for the place of the slices, ``prefix`` for the names of the files.
    """
    voxels = noise() if voxels is None else voxels
    orientation: Sequence[float] = changes.pop("orientation", AXIAL)
    depths = changes.pop("positions", [SPACING[2] * number for number in range(len(voxels))])
    prefix = changes.pop("prefix", "IM")
    series = changes.pop("SeriesInstanceUID", None) or generate_uid()
    folder.mkdir(parents=True, exist_ok=True)
    normal = np.cross(orientation[:3], orientation[3:])
    files = []
    for number, (plane, depth) in enumerate(zip(voxels, depths, strict=True)):
        dataset = common(series, MR)
        dataset.InstanceNumber = len(voxels) - number  # which is no order to rely on
        dataset.ImagePositionPatient = [round(float(x), 6) for x in normal * depth + (-50.0, -60.0, -40.0)]
        dataset.ImageOrientationPatient = list(orientation)
        dataset.PixelSpacing = [SPACING[1], SPACING[0]]
        dataset.SliceThickness = SPACING[2]
        dataset.EchoTime, dataset.RepetitionTime = 3.0, 2000.0
        set_pixels(dataset, plane)
        for keyword, value in changes.items():
            setattr(dataset, keyword, value)
        files.append(folder / f"{prefix}{number:03d}")
        dataset.save_as(files[-1], enforce_file_format=True)
    return files


def write_enhanced(path: Path, voxels: npt.NDArray[Any] | None = None, **changes: Any) -> Path:
    """Write an enhanced multi-frame file; ``order`` is that of its frames, ``slopes`` the rescale slope of each."""
    voxels = noise() if voxels is None else voxels
    depths = changes.pop("positions", [SPACING[2] * number for number in range(len(voxels))])
    order = changes.pop("order", range(len(voxels)))
    slopes = changes.pop("slopes", [1.0] * len(voxels))
    dataset = common(generate_uid(), ENHANCED_MR)
    dataset.NumberOfFrames = len(voxels)
    shared = Dataset()
    shared.PlaneOrientationSequence = [made(ImageOrientationPatient=list(AXIAL))]
    shared.PixelMeasuresSequence = [made(PixelSpacing=[SPACING[1], SPACING[0]], SliceThickness=SPACING[2])]
    shared.MRTimingAndRelatedParametersSequence = [made(RepetitionTime=2000.0, FlipAngle=8.0, EchoTrainLength=1)]
    shared.MREchoSequence = [made(EffectiveEchoTime=3.0)]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = []
    for number in order:
        frame = Dataset()
        frame.PlanePositionSequence = [made(ImagePositionPatient=[-50.0, -60.0, -40.0 + depths[number]])]
        frame.PixelValueTransformationSequence = [
            made(RescaleSlope=slopes[number], RescaleIntercept=0, RescaleType="US")
        ]
        frame.FrameContentSequence = [made(StackID="1", InStackPositionNumber=number + 1)]
        dataset.PerFrameFunctionalGroupsSequence.append(frame)
    set_pixels(dataset, voxels[list(order)])
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def common(series: str, kind: str) -> FileDataset:
    """A file without pixels and place."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = kind, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = kind, meta.MediaStorageSOPInstanceUID
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate, dataset.PatientSex = NAME, NUMBER, BIRTH, "F"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.826.0.1.3680043.8.498.1", series
    dataset.FrameOfReferenceUID = "1.2.826.0.1.3680043.8.498.2"
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20240102", "101500", "1"
    dataset.AccessionNumber = dataset.ReferringPhysicianName = ""
    dataset.Modality, dataset.Manufacturer, dataset.SeriesNumber = "MR", "Scanner", 3
    dataset.SeriesDescription, dataset.ImageType = "Sag T1 MPRAGE", ["ORIGINAL", "PRIMARY", "M", "ND"]
    return dataset


def set_pixels(dataset: Any, pixels: npt.NDArray[Any]) -> None:
    """Store int16 pixels, (rows, columns) or (frames, rows, columns)."""
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    dataset.PixelData = pixels.astype("<i2").tobytes()


def made(**values: Any) -> Dataset:
    """An item of a sequence."""
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def change(file: Path, **values: Any) -> None:
    """Change attributes of a file."""
    dataset = pydicom.dcmread(file)
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    dataset.save_as(file, enforce_file_format=True)
