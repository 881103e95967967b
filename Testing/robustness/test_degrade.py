"""The degradations do what their names say, on a made-up head."""

from __future__ import annotations

import numpy as np
import pytest
from Testing.robustness import degrade

from asa.volume import Grid, Volume, read_volume, write_volume

SHAPE = (24, 50, 44)
SPACING = (1.5, 1.0, 1.1)


@pytest.fixture
def pair() -> tuple[Volume, Volume]:
    affine = np.zeros((4, 4))
    affine[[2, 1, 0], [0, 1, 2]] = SPACING
    affine[:, 3] = (-20, 5, 11, 1)
    grid = Grid(SHAPE, affine)
    t, h, w = np.meshgrid(*[np.arange(size) for size in SHAPE], indexing="ij")
    radius = np.sqrt(((t - 11) * 1.5) ** 2 + (h - 24) ** 2 + ((w - 20) * 1.1) ** 2)
    labels = np.digitize(-radius, [-15, -9, -4]).astype(np.uint8)
    labels[:, :24][labels[:, :24] == 2] = 3  # not symmetric
    return Volume(labels.astype(np.float32) * 300, grid), Volume(labels, grid)


@pytest.mark.parametrize("name", list(degrade.DEGRADATIONS))
def test_image_and_reference_stay_together(pair, name):
    image, reference = degrade.DEGRADATIONS[name](pair)
    assert image.grid.same_as(reference.grid)
    inside = reference.array > 0
    # Intensities were made from labels; they still order the classes.
    means = [image.array[reference.array == value].mean() for value in range(4)]
    assert means == sorted(means)
    assert np.count_nonzero(inside) * reference.grid.voxel_volume_ml == pytest.approx(
        np.count_nonzero(pair[1].array) * pair[1].grid.voxel_volume_ml, rel=0.06
    )


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_rotation_turns_the_content_and_not_the_axes(pair, axis):
    image, reference = degrade.rotated(pair, axis)
    assert np.allclose(image.grid.affine[:3, :3], pair[0].grid.affine[:3, :3])
    assert image.grid.shape != pair[0].grid.shape

    def centre(volume: Volume) -> np.ndarray:
        return volume.grid.to_world(np.argwhere(volume.array == 2)).mean(axis=0)

    expected = degrade.rotation(axis, pair[0].grid.centre) @ np.append(centre(pair[1]), 1)
    assert np.allclose(centre(reference), expected[:3], atol=0.3)


def test_rotation_is_proper():
    matrix = degrade.rotation(1, np.array([3.0, 4.0, 5.0]))
    assert np.linalg.det(matrix) == pytest.approx(1)
    assert np.allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3))
    assert np.allclose(matrix @ [3, 4, 5, 1], [3, 4, 5, 1])


def test_storage_order_changes_the_file_only(pair, tmp_path):
    # Readers refuse what is too small for a brain or looks like a label map.
    array = np.random.default_rng(0).normal(300, 50, np.add(SHAPE, 40)).astype(np.float32)
    head = Volume(array, Grid(array.shape, pair[0].grid.affine))
    image, _ = degrade.stored_otherwise((head, head))
    write_volume(image, tmp_path / "a.nii.gz")
    write_volume(head, tmp_path / "b.nii.gz")
    first, second = read_volume(tmp_path / "a.nii.gz"), read_volume(tmp_path / "b.nii.gz")
    assert first.storage.axes != second.storage.axes
    assert first.grid.same_as(second.grid)
    assert np.array_equal(first.array, second.array)


def test_coarse_voxels(pair):
    image, reference = degrade.coarse(pair)
    assert image.spacing == pytest.approx(degrade.COARSE_MM)
    assert set(np.unique(reference.array)) == {0, 1, 2, 3}


def test_shading_is_repeatable_and_stays_in_the_brain(pair):
    first, second = degrade.shaded(pair)[0].array, degrade.shaded(pair)[0].array
    assert np.array_equal(first, second)
    assert not first[pair[0].array == 0].any()
    white = pair[1].array == 3
    assert 0.05 < first[white].std() / first[white].mean() < 0.25
