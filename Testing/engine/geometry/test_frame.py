"""The brain frame, and the way into it and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from asa.geometry import (
    FRAME,
    Alignment,
    centre_crop_grid,
    from_frame,
    share_from_frame,
    template_brain,
    to_frame,
)
from asa.geometry.atlas import TISSUES, head_atlas
from asa.geometry.frame import subdivided
from asa.volume import Grid, Volume


def alignment(turn: float = 0.0, scale: float = 1.0, move: tuple[float, float, float] = (0, 0, 0)) -> Alignment:
    matrix = np.eye(4)
    c, s = np.cos(turn), np.sin(turn)
    matrix[1:3, 1:3] = (c, -s), (s, c)
    matrix[:3, :3] *= scale
    matrix[:3, 3] = move
    return Alignment(matrix, "affine", 1.0)


def scan_grid() -> Grid:
    """2 mm, big enough for the brain frame in every alignment of the tests."""
    affine = np.eye(4)
    affine[:3, :3] = np.fliplr(np.eye(3)) * 2
    affine[:3, 3] = (-150, -150, -150)
    return Grid((150, 150, 150), affine)


def test_frame_is_mni_with_the_midline_between_two_voxels() -> None:
    assert FRAME.shape == (160, 192, 160)
    assert FRAME.spacing == (1, 1, 1)
    np.testing.assert_allclose(FRAME.to_world((0, 0, 0)), (-79.5, -112.5, -74.5))
    np.testing.assert_allclose(FRAME.to_world((0, 0, 159)), (79.5, -112.5, -74.5))
    t, h, w = FRAME.affine[:3, :3].T
    assert t[2] > 0 and h[1] > 0 and w[0] > 0, "T to superior, H to anterior, W to the right"


def test_reversing_w_is_the_mirror() -> None:
    index = np.array([[3, 5, 7], [159, 191, 0]])
    mirrored = index.copy()
    mirrored[:, 2] = 159 - mirrored[:, 2]
    np.testing.assert_allclose(FRAME.to_world(mirrored), FRAME.to_world(index) * (-1, 1, 1))


def test_the_brain_lies_in_the_frame_with_margins() -> None:
    """Grey and white matter and ventricles; the brain stem goes on below any frame."""
    atlas = head_atlas()
    voxels = np.argwhere(atlas.brain) * np.diag(atlas.affine)[:3] + atlas.affine[:3, 3]
    indices = FRAME.to_index(voxels)
    low, high = indices.min(axis=0), np.array(FRAME.shape) - 1 - indices.max(axis=0)
    assert (low[1:] >= 4).all() and (high >= 2).all()
    brain = template_brain()
    assert 1700 < brain.sum() / 1000 < 2150, "mL, with its CSF"
    np.testing.assert_array_equal(brain, brain[:, :, ::-1])


def test_the_atlas_is_its_own_mirror_image_and_probabilities() -> None:
    atlas = head_atlas()
    assert len(atlas.maps) == len(TISSUES)
    np.testing.assert_array_equal(atlas.maps, atlas.maps[:, ::-1])
    x = atlas.affine[0, 3] + atlas.affine[0, 0] * np.arange(atlas.maps.shape[1])
    np.testing.assert_allclose(x, -x[::-1])
    total = atlas.maps.sum(axis=0)
    assert total.min() >= 0 and total.max() <= 1.02
    for stripped in (False, True):
        level = atlas.level(2, 4.0, 20.0, stripped=stripped)
        np.testing.assert_allclose(level.tissues.sum(axis=1), 1, atol=1e-5)
        order = np.lexsort((level.points * (1, 1, 1)).T)
        mirrored = np.lexsort((level.points * (-1, 1, 1)).T)
        np.testing.assert_allclose(level.points[order], level.points[mirrored] * (-1, 1, 1))
        np.testing.assert_allclose(level.tissues[order], level.tissues[mirrored], atol=1e-5)
        np.testing.assert_allclose(level.slopes[order], level.slopes[mirrored] * (-1, 1, 1), atol=1e-5)


@pytest.mark.parametrize("shape", [(128, 128, 128), (96, 112, 80)])
def test_centre_crop_is_the_middle_of_the_frame(shape: tuple[int, int, int]) -> None:
    crop = centre_crop_grid(shape)
    assert crop.shape == shape
    np.testing.assert_allclose(crop.centre, FRAME.centre)
    np.testing.assert_allclose(crop.spacing, FRAME.spacing)
    assert all(n % 8 == 0 for n in crop.shape)


@settings(max_examples=8, deadline=None)
@given(turn=st.floats(-0.35, 0.35), scale=st.floats(0.85, 1.15), move=st.tuples(*[st.floats(-15, 15)] * 3))
def test_there_and_back(turn: float, scale: float, move: tuple[float, float, float]) -> None:
    """A smooth image comes back, wherever the frame reached, through any alignment."""
    grid, there = scan_grid(), alignment(turn, scale, move)
    noise = np.random.default_rng(0).normal(size=grid.shape).astype(np.float32)
    smooth = ndimage.gaussian_filter(noise, 4)
    smooth /= smooth.std()
    back = from_frame(to_frame(Volume(smooth, grid), there), there, grid)
    assert back.grid is grid
    reached = from_frame(np.ones(FRAME.shape, np.float32), there, grid).array > 0.999
    reached = ndimage.binary_erosion(reached, iterations=2)
    assert reached.mean() > 0.05
    assert np.abs(back.array - smooth)[reached].max() < 0.15
    assert np.corrcoef(back.array[reached], smooth[reached])[0, 1] > 0.999


def test_matrix_leads_from_the_frame_to_the_scan() -> None:
    """A bright point of the scan appears in the frame where the matrix says it lies, not where its inverse does."""
    grid, there = scan_grid(), alignment(0.3, 1.1, (10, -20, 5))
    array = np.zeros(grid.shape, np.float32)
    array[80, 70, 72] = 1
    framed = to_frame(Volume(ndimage.gaussian_filter(array, 1), grid), there)
    found = FRAME.to_world(ndimage.center_of_mass(framed.array))
    np.testing.assert_allclose(there.matrix @ (*found, 1), (*grid.to_world((80, 70, 72)), 1), atol=0.05)


def test_labels_come_back_as_labels() -> None:
    labels = np.zeros(FRAME.shape, np.uint8)
    labels[40:100, 40:100, 20:60] = 4
    back = from_frame(labels, alignment(0.2), scan_grid(), order=0)
    assert set(np.unique(back.array)) == {0, 4}
    assert back.array.sum() / 4 * 8 == pytest.approx(60 * 60 * 40, rel=0.02)


def test_a_thick_slice_gets_the_mean_of_what_it_saw() -> None:
    source = np.zeros(FRAME.shape, np.float32)
    source[60:63] = 1  # three planes of 1 mm
    affine = FRAME.affine @ np.diag([5.0, 1, 1, 1])
    affine[:3, 3] = FRAME.to_world((2, 0, 0))  # slice n is planes 5n to 5n + 4
    thick = Grid((32, 192, 160), affine)
    found = share_from_frame(source, alignment(), thick)
    assert found.shape == thick.shape and found.dtype == np.float32
    assert np.allclose(found[12], 3 / 5, atol=1e-5) and np.allclose(np.delete(found, 12, 0), 0, atol=1e-5)


def test_voxels_like_those_of_the_frame_are_interpolated_as_before() -> None:
    source = np.random.default_rng(0).random(FRAME.shape, np.float32)
    affine = FRAME.affine @ np.diag([0.8, 1.2, 1.0, 1])
    affine[:3, 3] = (-20, -30, 5)
    grid = Grid((40, 50, 60), affine)
    assert np.array_equal(
        share_from_frame(source, alignment(0.2), grid), from_frame(source, alignment(0.2), grid).array
    )


def test_parts_of_voxels_fill_them() -> None:
    grid = Grid((3, 4, 5), alignment(0.3, 1.7, (4, -9, 2)).matrix)
    finer = subdivided(grid, (4, 1, 2))
    assert finer.shape == (12, 4, 10)
    assert np.allclose(finer.corners, grid.corners)
