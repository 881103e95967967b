"""What is not a head scan is refused in one sentence that says what and where."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from asa.errors import InputError, ResourceError
from asa.volume import read_volume
from asa.volume.checks import check_shape
from asa.volume.header import read_grid

RNG = np.random.default_rng(0)
ONE_MM = np.diag([10.0, 10.0, 10.0, 1.0])


def image(shape: tuple[int, ...] = (12, 12, 12)) -> np.ndarray:
    return RNG.normal(500, 100, shape).astype(np.float32)


def nifti(path: Path, data: np.ndarray, affine: np.ndarray = ONE_MM) -> Path:
    nib.save(nib.Nifti1Image(data, affine), path)
    return path


def refused(path: Path, *, labels: bool = False) -> str:
    with pytest.raises(InputError) as caught:
        read_volume(path, labels=labels)
    message = str(caught.value)
    assert str(path) in message, "it says where"
    assert "\n" not in message and message.endswith("."), "it is one sentence"
    assert caught.value.exit_code == 3
    return message


def two_dimensional(path: Path) -> Path:
    return nifti(path, image((40, 40)))


def one_slice(path: Path) -> Path:
    return nifti(path, image((40, 40, 1)))


def four_frames(path: Path) -> Path:
    return nifti(path, image((12, 12, 12, 4)))


def zeros(path: Path) -> Path:
    return nifti(path, np.zeros((12, 12, 12), np.float32))


def not_a_number(path: Path) -> Path:
    data = image()
    data[3, 4, 5] = np.nan
    return nifti(path, data)


def infinite(path: Path) -> Path:
    data = image()
    data[3, 4, 5] = -np.inf
    return nifti(path, data)


def tiny_view(path: Path) -> Path:
    return nifti(path, image((64, 64, 20)), np.eye(4))


def a_metre(path: Path) -> Path:
    return nifti(path, image((12, 12, 12)), np.diag([100.0, 100, 100, 1]))


def singular(path: Path) -> Path:
    affine = ONE_MM.copy()
    affine[:3, 2] = affine[:3, 1]
    return nifti(path, image(), affine)


def flat_affine(path: Path) -> Path:
    nifti(path, image())
    raw = bytearray(path.read_bytes())
    raw[280:328] = struct.pack("<12f", 10, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0)
    path.write_bytes(raw)
    return path


def infinite_affine(path: Path) -> Path:
    nifti(path, image())
    raw = bytearray(path.read_bytes())
    raw[280:284] = struct.pack("<f", np.inf)
    path.write_bytes(raw)
    return path


def huge_claim(path: Path) -> Path:
    nifti(path, image())
    raw = bytearray(path.read_bytes())
    raw[40:48] = struct.pack("<4h", 3, 10_000, 10_000, 10_000)
    path.write_bytes(raw)
    return path


def more_than_it_holds(path: Path) -> Path:
    nifti(path, image())
    raw = bytearray(path.read_bytes())
    raw[40:48] = struct.pack("<4h", 3, 900, 900, 900)
    path.write_bytes(raw)
    return path


def negative_size(path: Path) -> Path:
    nifti(path, image())
    raw = bytearray(path.read_bytes())
    raw[40:48] = struct.pack("<4h", 3, 12, -12, 12)
    path.write_bytes(raw)
    return path


def png(path: Path) -> Path:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">2I5B", 8, 8, 8, 0, 0, 0, 0)
    body = zlib.compress(b"\0" * 72)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b""))
    return path


def empty_file(path: Path) -> Path:
    path.write_bytes(b"")
    return path


def cut_short(path: Path) -> Path:
    nifti(path, image())
    path.write_bytes(path.read_bytes()[:-100])
    return path


def label_map(path: Path) -> Path:
    data = np.zeros((20, 20, 20), np.uint8)
    data[4:16, 4:16, 4:16] = 2
    data[8:12, 8:12, 8:12] = 3
    return nifti(path, data)


def label_map_in_floats(path: Path) -> Path:
    data = np.zeros((20, 20, 20), np.float64)
    data[4:16, 4:16, 4:16] = 1
    return nifti(path, data)


def many_labels(path: Path) -> Path:
    blocks = RNG.permutation(125).reshape(5, 5, 5) * 8
    return nifti(path, np.kron(blocks, np.ones((6, 6, 6))).astype(np.int16))


def colours(path: Path) -> Path:
    rgb = np.zeros((12, 12, 12), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    return nifti(path, rgb)


def complex_numbers(path: Path) -> Path:
    return nifti(path, image().astype(np.complex64))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (two_dimensional, "is two-dimensional (40×40)"),
        (one_slice, "is two-dimensional (40×40×1)"),
        (four_frames, "has 4 frames"),
        (zeros, "is empty: every voxel is 0"),
        (not_a_number, "has 1 NaN or infinite voxels inside the head"),
        (infinite, "has 1 NaN or infinite voxels inside the head"),
        (tiny_view, "covers 64×64×20 mm, too small a field of view to hold a brain"),
        (a_metre, "covers 1.2e+03×1.2e+03×1.2e+03 mm, too large for a head"),
        (singular, "has a singular affine (determinant 0)"),
        (flat_affine, "has a singular affine (determinant 0)"),
        (infinite_affine, "has NaN or infinite numbers in its affine"),
        (huge_claim, "claims 10000×10000×10000 = 1e+12 voxels"),
        (more_than_it_holds, "is truncated: it is too short"),
        (negative_size, "has an axis of -12 voxels"),
        (png, "is not a NIfTI file"),
        (empty_file, "is not a NIfTI file"),
        (cut_short, "is truncated"),
        (label_map, "is a label map (3 different whole numbers)"),
        (label_map_in_floats, "is a label map (2 different whole numbers)"),
        (many_labels, "is a label map (125 different whole numbers)"),
        (colours, "contains colours or complex numbers"),
        (complex_numbers, "contains colours or complex numbers"),
    ],
)
def test_refused(tmp_path: Path, make: Callable[[Path], Path], words: str) -> None:
    assert words in refused(make(tmp_path / "scan.nii"))


def test_a_whole_scan_is_not_refused(tmp_path: Path) -> None:
    assert read_volume(nifti(tmp_path / "scan.nii", image())).array.shape == (12, 12, 12)


def test_few_grey_levels_are_still_an_image(tmp_path: Path) -> None:
    """An 8-bit scan, and one whose slices were repeated, are noisy where labels are flat."""
    grey = np.clip(image((24, 24, 24)) / 8, 0, 255).astype(np.uint8)
    read_volume(nifti(tmp_path / "a.nii", grey))
    read_volume(nifti(tmp_path / "b.nii", np.repeat(grey, 4, axis=2)))


@pytest.mark.parametrize("keep", [20, 400, 5000])
def test_truncated_gz(tmp_path: Path, keep: int) -> None:
    path = nifti(tmp_path / "scan.nii.gz", image((24, 24, 24)))
    assert path.stat().st_size > keep
    path.write_bytes(path.read_bytes()[:keep])
    assert "truncated" in refused(path) or "damaged" in refused(path)


def test_damaged_gz(tmp_path: Path) -> None:
    path = nifti(tmp_path / "scan.nii.gz", image((24, 24, 24)))
    raw = bytearray(path.read_bytes())
    raw[3000:3100] = bytes(100)
    path.write_bytes(raw)
    assert "truncated or damaged" in refused(path)


def test_a_gz_that_claims_what_it_cannot_hold(tmp_path: Path) -> None:
    path = more_than_it_holds(tmp_path / "scan.nii")
    packed = tmp_path / "scan.nii.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert "is truncated" in refused(packed)


@pytest.mark.parametrize(
    ("written", "named"),
    [("scan.nii", "scan.nii.gz"), ("scan.nii.gz", "scan.nii"), ("scan.mgz", "scan.mgh"), ("scan.mgh", "scan.mgz")],
)
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_the_content_tells_whether_a_file_is_compressed(tmp_path: Path, written: str, named: str, kind: type) -> None:
    data = image()
    nib.save((kind if ".nii" in written else nib.MGHImage)(data, ONE_MM), tmp_path / written)
    (tmp_path / written).rename(tmp_path / named)
    found = read_volume(tmp_path / named)
    assert np.array_equal(found.array, data.transpose(2, 1, 0)) and found.spacing == (10, 10, 10)
    assert read_grid(tmp_path / named).same_as(found.grid)


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_bytes_of_no_image_are_refused_under_any_name(tmp_path: Path, name: str) -> None:
    for content in (b"", b"\x1f", b"\x1f\x8b", gzip.compress(b"none"), b"none", bytes(400), gzip.compress(bytes(400))):
        (tmp_path / name).write_bytes(content)
        assert "NIfTI" in refused(tmp_path / name)
        with pytest.raises(InputError):
            read_grid(tmp_path / name)


@pytest.mark.parametrize("around", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_around_the_head_is_background(tmp_path: Path, around: float) -> None:
    data = image()
    data[[0, -1]] = data[:, [0, -1]] = data[:, :, [0, -1]] = around
    found = read_volume(nifti(tmp_path / "scan.nii", data))
    assert np.isfinite(found.array).all()
    assert (found.array[0] == found.array[1:-1, 1:-1, 1:-1].min()).all()
    assert found.notes == ("has 728 voxels that are NaN or infinite; they are treated as background",)


def test_an_image_of_nan_or_a_label_map_with_nan_is_refused(tmp_path: Path) -> None:
    data = np.full((12, 12, 12), np.nan, np.float32)
    assert "nearly all of the image" in refused(nifti(tmp_path / "empty.nii", data))
    data[0] = 0
    assert "a label map needs whole numbers" in refused(nifti(tmp_path / "labels.nii", data), labels=True)


def test_air_other_than_zero_makes_no_label_map(tmp_path: Path) -> None:
    data = np.full((40, 40, 40), 20, np.uint8)
    data[10:30, 10:30, 10:30] = RNG.integers(60, 200, (20, 20, 20))
    small = np.diag([4.0, 4.0, 4.0, 1.0])
    assert read_volume(nifti(tmp_path / "scan.nii", data, small)).array.max() > 150
    flat = np.repeat(np.repeat(np.repeat(RNG.integers(0, 40, (10, 10, 10)), 4, 0), 4, 1), 4, 2).astype(np.uint8) + 20
    assert "is a label map" in refused(nifti(tmp_path / "map.nii", flat, small))


@pytest.mark.parametrize("says", [True, False])
def test_files_that_do_not_say_how_the_head_lies(tmp_path: Path, says: bool) -> None:
    written = sitk.GetImageFromArray(image())
    written.SetSpacing((10, 10, 10))
    sitk.WriteImage(written, str(tmp_path / "scan.nrrd"))
    raw = (tmp_path / "scan.nrrd").read_bytes()
    if not says:
        kept = [line for line in raw.split(b"\n\n", 1)[0].split(b"\n") if not line.startswith(b"space")]
        raw = b"\n".join([*kept, b"spacings: 10 10 10"]) + b"\n\n" + raw.split(b"\n\n", 1)[1]
        (tmp_path / "scan.nrrd").write_bytes(raw)
    nib.save(nib.MGHImage(image((90, 90, 90)), np.eye(4)), tmp_path / "scan.mgh")
    if not says:
        raw = bytearray((tmp_path / "scan.mgh").read_bytes())
        raw[28:30] = bytes(2)
        (tmp_path / "scan.mgh").write_bytes(raw)
    for name in ("scan.nrrd", "scan.mgh"):
        assert read_volume(tmp_path / name).storage.sides_unknown is not says, name


def test_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "scan.nii"
    folder.mkdir()
    assert "is a folder, not an image" in refused(folder)


def test_nothing_there(tmp_path: Path) -> None:
    assert "does not exist" in refused(tmp_path / "scan.nii")


def test_another_kind_of_file(tmp_path: Path) -> None:
    path = tmp_path / "scan.dcm"
    path.write_bytes(b"DICM")
    assert "is not a supported image format" in refused(path)


NRRD = b"NRRD0004\ntype: float\ndimension: 3\nsizes: %s\nencoding: raw\nendian: little\n\n"


@pytest.mark.parametrize("content", [b"", NRRD % b"9 9 9", b"\x89PNG"])
def test_damaged_nrrd(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "scan.nrrd"
    path.write_bytes(content)
    assert "is not a NRRD file, or it is truncated or damaged" in refused(path)


@pytest.mark.parametrize("name", ["big.nii.gz", "big.nrrd"])
def test_an_image_larger_than_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    path = tmp_path / name
    sitk.WriteImage(sitk.GetImageFromArray(image((20, 12, 10))), str(path))
    monkeypatch.setattr("asa.volume.checks.available_memory", lambda: 2000.0)
    with pytest.raises(ResourceError, match=r"10×12×20 voxels, which take about 0.0 GB of memory; 0.0 GB are free"):
        read_volume(path)


def test_nrrd_that_claims_too_much(tmp_path: Path) -> None:
    path = tmp_path / "scan.nrrd"
    path.write_bytes(NRRD % b"10000 10000 10000")
    assert "claims 10000×10000×10000 = 1e+12 voxels" in refused(path)


def test_nrrd_of_colours(tmp_path: Path) -> None:
    path = tmp_path / "scan.seg.nrrd"
    sitk.WriteImage(sitk.Image((12, 12, 12), sitk.sitkVectorUInt8, 2), str(path))
    assert "has overlapping segments" in refused(path, labels=True)
    assert "has several values per voxel" in refused(path)


def test_damaged_mgz(tmp_path: Path) -> None:
    path = tmp_path / "scan.mgz"
    path.write_bytes(gzip.compress(b"nothing of the kind" * 40))
    refused(path)


def test_labels_must_be_whole_numbers(tmp_path: Path) -> None:
    path = nifti(tmp_path / "labels.nii", image())
    assert "is not a label map: some values are not whole numbers" in refused(path, labels=True)


def test_labels_may_be_few_empty_and_small(tmp_path: Path) -> None:
    read_volume(label_map(tmp_path / "a.nii"), labels=True)
    read_volume(zeros(tmp_path / "b.nii"), labels=True)


def test_sizes_are_counted_without_overflow() -> None:
    with pytest.raises(InputError, match="claims"):
        check_shape(Path("scan.nii"), (2**31, 2**31, 2**31))


def test_no_memory_is_taken_for_a_claim(tmp_path: Path) -> None:
    """900³ floats are 2.9 GB; the file has 7 kB. Refusing costs nothing."""
    import tracemalloc

    path = more_than_it_holds(tmp_path / "scan.nii")
    tracemalloc.start()
    refused(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6
