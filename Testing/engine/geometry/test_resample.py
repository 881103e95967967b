"""Resampling moves values to where their millimetres say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from asa.geometry import resample
from asa.geometry.resample import coarsen
from asa.volume import Grid, Volume

TURNS = st.tuples(*[st.floats(-0.5, 0.5)] * 3)
STRETCH = st.tuples(*[st.floats(0.8, 1.25)] * 3)
MOVES = st.tuples(*[st.floats(-6, 6)] * 3)


def turned(
    angles: tuple[float, ...], stretch: tuple[float, ...] = (1, 1, 1), move: tuple[float, ...] = (0, 0, 0)
) -> np.ndarray:
    matrix = np.eye(4)
    for axis, angle in enumerate(angles):
        a, b = (axis + 1) % 3, (axis + 2) % 3
        about = np.eye(4)
        about[a, a] = about[b, b] = np.cos(angle)
        about[b, a], about[a, b] = np.sin(angle), -np.sin(angle)
        matrix = about @ matrix
    matrix[:3, :3] = matrix[:3, :3] * stretch
    matrix[:3, 3] = move
    return matrix


def grid(shape: tuple[int, int, int] = (20, 22, 24), spacing: float = 2.0) -> Grid:
    """Centred on the origin of the world."""
    affine = np.eye(4)
    affine[:3, :3] = np.fliplr(np.eye(3)) * spacing
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


def points(where: Grid) -> np.ndarray:
    return where.to_world(np.moveaxis(np.indices(where.shape), 0, -1))


def ramp(at: np.ndarray) -> np.ndarray:
    """A field that is linear in millimetres, so that linear interpolation is exact."""
    return (at @ (1.0, -2.0, 0.5) + 7).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(angles=TURNS, stretch=STRETCH, move=MOVES, order=st.sampled_from([1, 3]))
def test_a_linear_field_is_sampled_exactly(
    angles: tuple[float, ...], stretch: tuple[float, ...], move: tuple[float, ...], order: int
) -> None:
    """matrix maps points of the target's world to the source's: the value there is the field's value there."""
    source = Volume(ramp(points(grid())), grid())
    target, matrix = grid((9, 8, 7)), turned(angles, stretch, move)
    got = resample(source, target, order, matrix).array
    there = points(target) @ matrix[:3, :3].T + matrix[:3, 3]
    np.testing.assert_allclose(got, ramp(there), atol=2e-3 if order == 1 else 0.3)


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32])
def test_onto_its_own_grid_nothing_changes(order: int, kind: type) -> None:
    data = np.random.default_rng(0).integers(0, 200, (20, 22, 24)).astype(kind)
    result = resample(Volume(data, grid()), grid(), order)
    np.testing.assert_array_equal(result.array, data)
    assert result.array.dtype == kind
    assert result.array is not data


@settings(max_examples=25, deadline=None)
@given(flips=st.tuples(*[st.booleans()] * 3), axes=st.permutations(range(3)), order=st.sampled_from([0, 1, 3]))
def test_another_order_of_axes_is_a_permutation(flips: tuple[bool, ...], axes: list[int], order: int) -> None:
    data = np.random.default_rng(1).normal(size=(9, 10, 11)).astype(np.float32)
    source = Volume(data, grid(data.shape))
    index = np.zeros((4, 4))
    index[3, 3] = 1
    shape = [0, 0, 0]
    for new, old in enumerate(axes):
        index[old, new] = -1 if flips[old] else 1
        index[old, 3] = data.shape[old] - 1 if flips[old] else 0
        shape[new] = data.shape[old]
    result = resample(source, Grid(tuple(shape), source.grid.affine @ index), order)
    expected = np.flip(data, [axis for axis in range(3) if flips[axis]]).transpose(axes)
    np.testing.assert_allclose(result.array, expected, atol=1e-4)


@pytest.mark.parametrize("order", [0, 1, 3])
def test_outside_is_filled_and_the_outer_half_voxel_is_inside(order: int) -> None:
    source = Volume(np.full((4, 4, 4), 5, np.float32), grid((4, 4, 4), 2.0))
    result = resample(source, grid((24, 24, 24), 0.5), order, fill=-1.0).array
    expected = np.full((24, 24, 24), -1.0)
    expected[4:20, 4:20, 4:20] = 5
    np.testing.assert_allclose(result, expected, atol=1e-3)


def test_far_away_there_is_nothing() -> None:
    away = np.eye(4)
    away[0, 3] = 500
    assert not resample(Volume(np.ones((4, 4, 4), np.float32), grid((4, 4, 4))), grid(), matrix=away).array.any()


def test_labels_stay_labels() -> None:
    data = np.random.default_rng(0).choice([0, 3, 250], (20, 22, 24)).astype(np.uint8)
    result = resample(Volume(data, grid()), grid((30, 30, 30), 1.3), 0, turned((0.2, 0.1, -0.3)))
    assert set(np.unique(result.array)) == {0, 3, 250}
    assert result.array.dtype == np.uint8


def test_overshoot_does_not_wrap_around() -> None:
    """Cubic splines overshoot at an edge; 255 + 3 must not become 2."""
    data = np.zeros((20, 22, 24), np.uint8)
    data[5:15, 5:15, 5:15] = 255
    moved = np.eye(4)
    moved[:3, 3] = 0.7
    inner = resample(Volume(data, grid()), grid(), 3, moved).array[8:12, 8:12, 8:12]
    assert inner.min() > 200


def test_fine_voxels_are_averaged_not_skipped() -> None:
    """Noise of 0.5 mm voxels must not alias into 4 mm ones; a ramp must not move."""
    fine = grid((64, 64, 64), 0.5)
    noise = np.random.default_rng(0).normal(size=fine.shape).astype(np.float32)
    coarse = grid((6, 6, 6), 4.0)
    assert resample(Volume(noise, fine), coarse).array.std() < 0.2
    assert resample(Volume(noise, fine), coarse, 0).array.std() > 0.8, "labels are picked"
    kept = resample(Volume(ramp(points(fine)), fine), coarse).array[1:-1, 1:-1, 1:-1]
    np.testing.assert_allclose(kept, ramp(points(coarse))[1:-1, 1:-1, 1:-1], atol=0.05)


def test_a_blob_keeps_its_place_through_thick_slices() -> None:
    fine = grid((80, 80, 80), 1.0)
    blob = np.exp(-(((points(fine) - (5.3, -7.1, 3.9)) / 6) ** 2).sum(-1)).astype(np.float32)
    affine = fine.affine.copy()
    affine[:3, 0] *= 5
    thick = resample(Volume(blob, fine), Grid((16, 80, 80), affine))
    found = thick.grid.to_world(ndimage.center_of_mass(thick.array))
    np.testing.assert_allclose(found, (5.3, -7.1, 3.9), atol=0.1)


def test_coarsen_takes_means_in_place() -> None:
    fine = grid((21, 24, 25), 1.0)
    volume = Volume(ramp(points(fine)), fine)
    small = coarsen(volume, 3.0)
    assert small.array.shape == (7, 8, 8)
    np.testing.assert_allclose(small.spacing, 3)
    np.testing.assert_allclose(small.array, ramp(points(small.grid)), atol=1e-3)
    thick = Volume(volume.array, Grid(fine.shape, fine.affine @ np.diag([6.0, 1, 1, 1])))
    assert coarsen(thick, 3.0).array.shape == (21, 8, 8)
