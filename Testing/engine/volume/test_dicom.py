"""DICOM series become the volume that they show; what is no complete volume of one patient is refused in a sentence."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from Testing.engine import dicom_files
from Testing.engine.dicom_files import BIRTH, CAPTURE, NAME, NUMBER, SPACING, TILTED, change, noise, pydicom

from asa.errors import InputError
from asa.volume import read_volume
from asa.volume.dicom.headers import is_dicom
from asa.volume.dicom.stacks import contents_of, source_files, stack_at


def refused(path: Path) -> str:
    with pytest.raises(InputError) as error:
        read_volume(path)
    sentence = str(error.value)
    assert sentence.endswith(".") and sentence.count("\n") == 0
    for word in (*NAME.split("^"), NUMBER, BIRTH):
        assert word.lower() not in sentence.lower()
    return sentence


@pytest.mark.parametrize(
    "orientation", [dicom_files.AXIAL, TILTED, (0, 1, 0, 0, 0, -1)], ids=["axial", "tilted", "sagittal"]
)
def test_voxels_and_geometry_are_those_that_itk_reads(tmp_path: Path, orientation: tuple[float, ...]) -> None:
    sitk = pytest.importorskip("SimpleITK")
    files = dicom_files.write_series(tmp_path / "head", orientation=orientation, RescaleSlope=2, RescaleIntercept=-10)
    shutil.copy(Path(__file__), tmp_path / "head" / "notes.txt")
    image = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / "head")))
    sitk.WriteImage(image, str(tmp_path / "head.nii"))
    expected = read_volume(tmp_path / "head.nii")
    for path in (tmp_path / "head", files[3]):
        volume = read_volume(path)
        np.testing.assert_array_equal(volume.array, expected.array)
        np.testing.assert_allclose(volume.grid.affine, expected.grid.affine, atol=1e-4)
        assert volume.notes == ()
    assert source_files(files[0]) == tuple(files)


def test_frames_of_an_enhanced_file_are_ordered_and_scaled_one_by_one(tmp_path: Path) -> None:
    voxels, order = noise(), [*range(15, -1, -1)]
    slopes = [1.0 + number % 2 for number in range(16)]
    path = dicom_files.write_enhanced(tmp_path / "enhanced.dcm", voxels, order=order, slopes=slopes)
    files = dicom_files.write_series(tmp_path / "classic", voxels)
    volume, expected = read_volume(path), read_volume(files[0])
    stored = volume.storage.to_stored(volume.array)
    np.testing.assert_array_equal(stored, (voxels * np.reshape(slopes, (-1, 1, 1))).transpose(2, 1, 0))
    np.testing.assert_allclose(volume.grid.affine, expected.grid.affine)
    assert stack_at(path).first.tags["EchoTime"] == "3.0" and stack_at(path).first.tags["RepetitionTime"] == "2000.0"


def test_gantry_tilt_is_a_sheared_grid(tmp_path: Path) -> None:
    files = dicom_files.write_series(tmp_path)
    for number, file in enumerate(files):
        change(file, ImagePositionPatient=[-50, -60 + 2.0 * number, -40 + 7.0 * number])
    axes = read_volume(files[0]).grid.affine[:3, :3]
    assert abs(np.dot(axes[:, 0], axes[:, 1])) > 1


@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("signed", [0, 1])
def test_unused_bits_are_ignored_and_signs_extended(tmp_path: Path, bits: int, signed: int) -> None:
    voxels = noise() - 500 * signed
    files = dicom_files.write_series(tmp_path, voxels, BitsStored=bits, HighBit=bits - 1, PixelRepresentation=signed)
    if bits == 12:
        for file, plane in zip(files, voxels, strict=True):
            change(file, PixelData=(plane & 0x0FFF | 0x5000).astype("<i2").tobytes())
    stored = read_volume(files[0])
    np.testing.assert_array_equal(stored.storage.to_stored(stored.array), voxels.transpose(2, 1, 0))


@pytest.mark.parametrize("syntax", ["JPEG2000Lossless", "JPEGLSLossless", "RLELossless"])
def test_lossless_compression_is_read(tmp_path: Path, syntax: str) -> None:
    files = dicom_files.write_series(tmp_path / "plain", noise(seed=3), PixelRepresentation=0, RescaleSlope=3)
    expected = read_volume(files[0])
    for file in files:
        dataset = pydicom.dcmread(file)
        try:
            dataset.compress(getattr(pydicom.uid, syntax))
        except (RuntimeError, ValueError) as error:
            pytest.skip(f"nothing here can write {syntax}: {error}")
        (tmp_path / "packed").mkdir(exist_ok=True)
        dataset.save_as(tmp_path / "packed" / file.name)
    np.testing.assert_array_equal(read_volume(tmp_path / "packed").array, expected.array)


def test_copies_and_strangers_are_left_out_and_mentioned(tmp_path: Path) -> None:
    uid = "1.2.826.0.1.3680043.8.498.77"
    files = dicom_files.write_series(tmp_path, SeriesInstanceUID=uid)
    expected = read_volume(files[0]).array
    shutil.copy(files[2], tmp_path / "copy of IM002")
    dicom_files.write_series(tmp_path, noise(2, 8, 8), SeriesInstanceUID=uid, prefix="other")
    volume = read_volume(files[0])
    np.testing.assert_array_equal(volume.array, expected)
    assert volume.notes == (
        "has a second copy of 1 of its slices, left out",
        "has 2 further images of another size, orientation or kind, left out",
    )


def delete(files: list[Path]) -> None:
    files[5].unlink()


def duplicate(files: list[Path]) -> None:
    dataset = pydicom.dcmread(files[4])
    dataset.SOPInstanceUID = pydicom.uid.generate_uid()
    dataset.save_as(files[4].with_name("again"))


def truncate(files: list[Path]) -> None:
    files[4].write_bytes(files[4].read_bytes()[:-100])


def truncate_header(files: list[Path]) -> None:
    for file in files:
        file.write_bytes(file.read_bytes()[:300])


def uneven(files: list[Path]) -> None:
    change(files[5], ImagePositionPatient=[-50, -60, -40 + 5.3 * 7])


def displaced(files: list[Path]) -> None:
    change(files[5], ImagePositionPatient=[-55, -60, -40 + 5 * 7])


def other_patient(files: list[Path]) -> None:
    change(files[5], PatientID="MRN-4712", PatientName="Meier^Bert")


def other_patient_series(files: list[Path]) -> None:
    dicom_files.write_series(files[0].parent, PatientID="MRN-4712", prefix="B")


def captures(files: list[Path]) -> None:
    for file in files:
        change(file, SOPClassUID=CAPTURE)


def computed_tomography(files: list[Path]) -> None:
    for file in files:
        change(file, Modality="CT")


def unplaced(files: list[Path]) -> None:
    for file in files:
        dataset = pydicom.dcmread(file)
        del dataset.ImagePositionPatient
        dataset.save_as(file)


def colours(files: list[Path]) -> None:
    for file in files:
        change(file, SamplesPerPixel=3, PhotometricInterpretation="RGB")


def localizer(files: list[Path]) -> None:
    for file in files[3:]:
        file.unlink()


def two_series(files: list[Path]) -> None:
    dicom_files.write_series(files[0].parent, prefix="B", SeriesNumber=4, SeriesDescription="T2 of Mueller")


def no_spacing(files: list[Path]) -> None:
    for file in files:
        change(file, PixelSpacing=[0, 1])


def not_orthogonal(files: list[Path]) -> None:
    for file in files:
        change(file, ImageOrientationPatient=[1, 0, 0, 1, 0, 0])


def echoes(files: list[Path]) -> None:
    series = str(pydicom.dcmread(files[0]).SeriesInstanceUID)
    dicom_files.write_series(files[0].parent, prefix="B", SeriesInstanceUID=series, EchoTime=90.0)


FAULTS: list[tuple[Callable[[list[Path]], Any], str]] = [
    (delete, "DICOM series 3 (Sag T1 MPRAGE) lacks slices (14 mm between slices 5 and 6, 7 mm elsewhere)"),
    (duplicate, "has several images at one position"),
    (truncate, "The DICOM file IM004 is truncated or damaged."),
    (truncate_header, "a file is damaged or truncated (16 files)"),
    (uneven, "has slices at uneven distances (4.9 to 9.1 mm)"),
    (displaced, "or displaced sideways"),
    (other_patient, "are from different patients according to their tags; use one folder each"),
    (other_patient_series, "are from different patients"),
    (captures, "a file is a secondary capture (a screenshot or a scanned page)"),
    (computed_tomography, "a file is of the modality 'CT', not MR"),
    (unplaced, "is not placed in space"),
    (colours, "is not a grey-level image"),
    (localizer, "has 3 slices, too few for a volume"),
    (two_series, "several DICOM volumes: DICOM series 3 (Sag T1 MPRAGE), DICOM series 4 (T2 of [removed])"),
    (no_spacing, "has no valid position, orientation or pixel spacing"),
    (not_orthogonal, "has no valid orientation"),
    (echoes, "several DICOM volumes"),
]


@pytest.mark.parametrize(("damage", "sentence"), FAULTS, ids=[fault.__name__ for fault, _ in FAULTS])
def test_what_is_no_volume_is_a_sentence(tmp_path: Path, damage: Callable[[list[Path]], Any], sentence: str) -> None:
    damage(dicom_files.write_series(tmp_path / "head"))
    assert sentence in refused(tmp_path / "head")


def test_compressed_data_that_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    for file in dicom_files.write_series(tmp_path):
        dataset = pydicom.dcmread(file)
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.JPEG2000Lossless
        dataset.PixelData = pydicom.encaps.encapsulate([bytes(range(100))])
        dataset.save_as(file)
    assert "IM000 cannot be decompressed (JPEG 2000" in refused(tmp_path)


def test_a_deflated_file_is_not_unpacked(tmp_path: Path) -> None:
    for file in dicom_files.write_series(tmp_path):
        dataset = pydicom.dcmread(file)
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
        dataset.save_as(file)
    assert "is deflated" in refused(tmp_path)


def test_frames_that_are_not_described_are_refused(tmp_path: Path) -> None:
    path = dicom_files.write_enhanced(tmp_path / "enhanced.dcm")
    dataset = pydicom.dcmread(path)
    del dataset.PerFrameFunctionalGroupsSequence[-1]
    dataset.save_as(path)
    assert "describes 15 of its 16 frames" in refused(path)


def test_a_series_spread_over_folders_is_refused(tmp_path: Path) -> None:
    files = dicom_files.write_series(tmp_path / "a")
    (tmp_path / "b").mkdir()
    for file in files[8:]:
        file.rename(tmp_path / "b" / file.name)
    assert "is spread over several folders" in refused(tmp_path)


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    files = dicom_files.write_series(tmp_path)
    assert contents_of(tmp_path).volumes
    files[5].unlink()
    assert not contents_of(tmp_path).volumes


def test_what_is_not_dicom(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    assert not is_dicom(tmp_path / "a.txt") and not is_dicom(tmp_path / "missing")
    assert "is a folder, not an image, and holds no DICOM files" in refused(tmp_path)


def test_spacing_of_a_stack(tmp_path: Path) -> None:
    stack = stack_at(dicom_files.write_series(tmp_path)[0])
    assert stack.voxel == pytest.approx(SPACING) and stack.shape == "16 slices, 6 × 5 × 7 mm"
