"""Volumes keep each voxel where it is in millimetres, through every storage order and file format."""

from __future__ import annotations

import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asa.volume import Grid, StorageOrder, Volume, acquisition_warnings, read_volume, write_volume

# One for each way to order three axes and to run along them.
ORDERS = [(axes, flips) for axes in itertools.permutations(range(3)) for flips in itertools.product((1, -1), repeat=3)]
SHAPE = (9, 11, 12)
SPACING = (10.0, 9.0, 12.0)


def rotation(angles: tuple[float, float, float]) -> np.ndarray:
    """3×3 from three angles in radians, one per axis."""
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = (axis + 1) % 3, (axis + 2) % 3
        about = np.eye(3)
        about[a, a] = about[b, b] = np.cos(angle)
        about[b, a], about[a, b] = np.sin(angle), -np.sin(angle)
        matrix = about @ matrix
    return matrix


def stored_affine(
    axes: tuple[int, ...], flips: tuple[int, ...], angles: tuple[float, float, float] = (0, 0, 0), shear: float = 0.0
) -> np.ndarray:
    """File affine whose i-th file axis runs along world axis axes[i], against it where flips[i] is −1."""
    linear = np.zeros((3, 3))
    for i in range(3):
        linear[axes[i], i] = flips[i] * SPACING[i]
    tilt = np.eye(3)
    tilt[1, 2] = shear
    affine = np.eye(4)
    affine[:3, :3] = rotation(angles) @ tilt @ linear
    affine[:3, 3] = (13.5, -42.25, 7.0)
    return affine


def numbered(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Every voxel its own number, so that any mix-up shows; as float32, exact."""
    return np.random.default_rng(0).permutation(int(np.prod(shape))).reshape(shape).astype(np.float32)


def save(path: Path, data: np.ndarray, affine: np.ndarray) -> None:
    if path.name.endswith(".nrrd"):
        image = sitk.GetImageFromArray(np.ascontiguousarray(data.T))
        lps = np.diag([-1, -1, 1, 1]) @ affine
        size = np.linalg.norm(lps[:3, :3], axis=0)
        image.SetSpacing(size)
        image.SetDirection((lps[:3, :3] / size).ravel())
        image.SetOrigin(lps[:3, 3])
        sitk.WriteImage(image, str(path))
    elif path.name.endswith((".mgz", ".mgh")):
        nib.save(nib.MGHImage(data, affine), path)
    else:
        nib.save(nib.Nifti1Image(data, affine), path)


def assert_same_place(volume: Volume, data: np.ndarray, affine: np.ndarray) -> None:
    """Each value of ``volume`` lies in mm where ``data`` and its file affine say. The array index plays no part."""
    assert sorted(volume.array.shape) == sorted(data.shape)
    where = np.empty((data.size, 3))
    where[data.ravel().astype(int)] = nib.affines.apply_affine(affine, np.argwhere(np.ones(data.shape)))
    found = volume.grid.to_world(np.argwhere(np.ones(volume.array.shape)))
    np.testing.assert_allclose(where[volume.array.ravel().astype(int)], found, atol=2e-3)


@pytest.mark.parametrize(("axes", "flips"), ORDERS)
@pytest.mark.parametrize("suffix", [".nii", ".nrrd"])
def test_all_storage_orders(tmp_path: Path, axes: tuple[int, ...], flips: tuple[int, ...], suffix: str) -> None:
    data, affine = numbered(), stored_affine(axes, flips)
    save(tmp_path / f"in{suffix}", data, affine)
    volume = read_volume(tmp_path / f"in{suffix}")
    assert_same_place(volume, data, affine)
    # T runs to superior, H to anterior, W to the right, in every file.
    assert np.all(np.diag(np.fliplr(volume.grid.affine[:3, :3])) > 0)
    write_volume(volume, tmp_path / "out.nii.gz")
    written = nib.load(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(written.get_fdata(), data)
    np.testing.assert_allclose(written.affine, affine, atol=1e-3)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    order=st.sampled_from(ORDERS),
    angles=st.tuples(*[st.floats(-0.7, 0.7)] * 3),
    shear=st.sampled_from([0.0, 0.2, -0.35]),
    suffix=st.sampled_from([".nii", ".nii.gz", ".mgz", ".nrrd"]),
)
def test_oblique_and_sheared_round_trips(
    tmp_path: Path, order: tuple[tuple[int, ...], tuple[int, ...]], angles: tuple[float, ...], shear: float, suffix: str
) -> None:
    if suffix == ".mgz":
        shear = 0.0  # the format cannot say it
    data, affine = numbered(), stored_affine(*order, angles, shear)
    save(tmp_path / f"in{suffix}", data, affine)
    volume = read_volume(tmp_path / f"in{suffix}")
    assert_same_place(volume, data, affine)
    for out in ("out.nii.gz", "out.nrrd"):
        write_volume(volume, tmp_path / out)
        again = read_volume(tmp_path / out)
        assert again.grid.same_as(volume.grid)
        np.testing.assert_array_equal(again.array, volume.array)
    np.testing.assert_array_equal(nib.load(tmp_path / "out.nii.gz").get_fdata(), data)


def test_a_plain_volume_is_written_ras(tmp_path: Path) -> None:
    grid = Grid(SHAPE, np.array([[0, 0, 2, -10], [0, 3, 0, 4], [4, 0, 0, 5], [0, 0, 0, 1.0]]))
    write_volume(Volume(numbered(), grid), tmp_path / "a.nii")
    image = nib.load(tmp_path / "a.nii")
    assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
    assert image.shape == SHAPE[::-1]
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (1, 1)
    assert image.header.get_xyzt_units()[0] == "mm"


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_number_types(tmp_path: Path, kind: type) -> None:
    data = (numbered() % 101).astype(kind)
    nib.save(nib.Nifti1Image(data, stored_affine((0, 1, 2), (1, 1, 1))), tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array, data.T)


def test_scaled_integers(tmp_path: Path) -> None:
    data = numbered().astype(np.int16)
    image = nib.Nifti1Image(data, stored_affine((0, 1, 2), (1, 1, 1)))
    image.header.set_slope_inter(0.5, -20)
    nib.save(image, tmp_path / "a.nii")
    raw = nib.load(tmp_path / "a.nii")
    slope, inter = raw.dataobj.slope, raw.dataobj.inter
    assert (slope, inter) != (1, 0), "the test is about scaling"
    expected = raw.dataobj.get_unscaled() * slope + inter
    volume = read_volume(tmp_path / "a.nii")
    np.testing.assert_allclose(volume.array, expected.T, rtol=1e-6)
    write_volume(volume.with_array((volume.array > 5).astype(np.uint8)), tmp_path / "b.nii")
    written = nib.load(tmp_path / "b.nii")
    assert (written.dataobj.slope, written.dataobj.inter) == (1, 0), "labels do not inherit the scan's scaling"
    np.testing.assert_array_equal(np.asarray(written.dataobj), expected > 5)


def test_labels_keep_their_integers(tmp_path: Path) -> None:
    data = np.zeros(SHAPE, dtype=np.int16)
    data[2:5, 3:6, 4:8] = 530
    nib.save(nib.Nifti1Image(data, stored_affine((2, 0, 1), (-1, 1, -1))), tmp_path / "a.nii.gz")
    volume = read_volume(tmp_path / "a.nii.gz", labels=True)
    assert volume.array.dtype == np.int16
    write_volume(volume, tmp_path / "b.nii.gz")
    assert nib.load(tmp_path / "b.nii.gz").get_data_dtype() == np.int16
    np.testing.assert_array_equal(np.asarray(nib.load(tmp_path / "b.nii.gz").dataobj), data)
    nib.save(nib.Nifti1Image(data.astype(np.float64), np.diag([9, 9, 9, 1])), tmp_path / "c.nii")
    assert read_volume(tmp_path / "c.nii", labels=True).array.dtype.kind == "i"


def test_segmentation_nrrd(tmp_path: Path) -> None:
    data = np.zeros(SHAPE, dtype=np.uint8)
    data[2:5] = 3
    save(tmp_path / "a.seg.nrrd", data, stored_affine((0, 1, 2), (1, 1, 1)))
    volume = read_volume(tmp_path / "a.seg.nrrd", labels=True)
    assert volume.array.dtype == np.uint8
    np.testing.assert_array_equal(volume.array, data.T)


def test_one_frame_is_a_volume(tmp_path: Path) -> None:
    data = numbered()
    nib.save(nib.Nifti1Image(data[..., None], stored_affine((0, 1, 2), (1, 1, 1))), tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    np.testing.assert_array_equal(volume.array, data.T)
    write_volume(volume, tmp_path / "b.nii")
    assert nib.load(tmp_path / "b.nii").shape == SHAPE


@pytest.mark.parametrize("codes", [(1, 0), (0, 2), (4, 1), (2, 2), (0, 0)])
def test_nifti_geometry_is_kept_as_it_was(tmp_path: Path, codes: tuple[int, int]) -> None:
    sform_code, qform_code = codes
    affine = stored_affine((1, 0, 2), (-1, 1, 1), (0.1, -0.2, 0.05))
    image = nib.Nifti1Image(numbered(), affine)
    image.set_sform(affine if sform_code else None, sform_code)
    image.set_qform(affine, qform_code)
    image.header.set_xyzt_units("unknown")
    nib.save(image, tmp_path / "a.nii")
    source = nib.load(tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    write_volume(volume.with_array((volume.array > 9).astype(np.uint8)), tmp_path / "b.nii")
    written = nib.load(tmp_path / "b.nii")
    np.testing.assert_array_equal(written.affine, source.affine)
    for field in ("sform_code", "qform_code", "srow_x", "quatern_b", "qoffset_x", "pixdim", "xyzt_units"):
        np.testing.assert_array_equal(written.header[field], source.header[field], err_msg=field)


def test_nifti2_stays_nifti2(tmp_path: Path) -> None:
    nib.save(nib.Nifti2Image(numbered(), stored_affine((0, 1, 2), (1, 1, 1))), tmp_path / "a.nii")
    write_volume(read_volume(tmp_path / "a.nii"), tmp_path / "b.nii")
    assert isinstance(nib.load(tmp_path / "b.nii"), nib.Nifti2Image)
    np.testing.assert_array_equal(nib.load(tmp_path / "b.nii").get_fdata(), numbered())


def test_no_text_of_the_source_is_written(tmp_path: Path) -> None:
    image = nib.Nifti1Image(numbered(), stored_affine((0, 1, 2), (1, 1, 1)))
    for field in ("descrip", "db_name", "aux_file", "intent_name", "data_type"):
        image.header[field] = b"DOE^JANE"
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"born 1950, DOE^JANE"))
    nib.save(image, tmp_path / "a.nii")
    assert b"DOE^JANE" in (tmp_path / "a.nii").read_bytes()
    volume = read_volume(tmp_path / "a.nii")
    write_volume(volume, tmp_path / "b.nii")
    write_volume(volume, tmp_path / "b.nrrd")
    for name in ("b.nii", "b.nrrd"):
        assert b"DOE" not in (tmp_path / name).read_bytes()


def test_the_same_volume_gives_the_same_bytes(tmp_path: Path) -> None:
    save(tmp_path / "a.nii", numbered(), stored_affine((0, 1, 2), (1, 1, 1)))
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_volume(read_volume(tmp_path / "a.nii"), tmp_path / name / "b.nii.gz")
    assert (tmp_path / "one" / "b.nii.gz").read_bytes() == (tmp_path / "two" / "b.nii.gz").read_bytes()


def test_grid_measures() -> None:
    affine = np.array([[0, 0, 2, -10], [0, 3, 0, 4], [5, 0, 0, 5], [0, 0, 0, 1.0]])
    grid = Grid((4, 5, 6), affine)
    assert grid.spacing == (5, 3, 2)
    assert grid.voxel_volume_ml == pytest.approx(0.03)
    np.testing.assert_allclose(grid.centre, (-5, 10, 12.5))
    np.testing.assert_allclose(grid.to_index(grid.to_world((1, 2.5, 3))), (1, 2.5, 3))
    np.testing.assert_allclose(grid.corners.min(axis=0), (-11, 2.5, 2.5))
    np.testing.assert_array_equal(grid.contains([(-10.9, 4, 5), (-11.1, 4, 5)]), (True, False))
    sheared = affine.copy()
    sheared[0, 1] = 3.0
    assert Grid((4, 5, 6), sheared).voxel_volume_ml == pytest.approx(0.03), "shear moves voxels, it fills no more space"
    moved = affine.copy()
    moved[0, 3] += 0.1
    assert grid.same_as(Grid((4, 5, 6), affine)) and not grid.same_as(Grid((4, 5, 6), moved))
    with pytest.raises(ValueError):
        affine[0, 0] = 1
        grid.affine[0, 0] = 1


def test_an_array_must_fit_its_grid() -> None:
    volume = Volume(numbered(), Grid(SHAPE, np.eye(4)))
    with pytest.raises(ValueError, match="does not fit"):
        volume.with_array(numbered((2, 2, 2)))


def test_thick_slices_are_told() -> None:
    assert acquisition_warnings(Volume(numbered(), Grid(SHAPE, np.diag([1.5, 1, 1, 1])))) == ()
    (warning,) = acquisition_warnings(Volume(numbered(), Grid(SHAPE, np.diag([6.0, 1, 1, 1]))))
    assert "6.0 mm" in warning


def test_storage_of_an_oblique_scan_takes_the_nearest_axes() -> None:
    storage = StorageOrder.of(stored_affine((1, 2, 0), (1, -1, 1), (0.3, 0.3, 0.3)))
    assert storage.axes == (1, 0, 2)
    assert storage.flipped == (True, False, False)
