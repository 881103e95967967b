"""Headers that lie about how a head is turned or how large it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from Testing.engine.atlas_heads import head, true_matrix

from asa.geometry import align_to_frame, described, size_deviation
from asa.geometry.orientation import about, right_angle_turns, turned
from asa.volume import Grid, Volume

TURNS = right_angle_turns()
MIRRORED = np.diag([-1.0, 1.0, 1.0])


@pytest.fixture(scope="module", params=[True, False], ids=["stripped", "whole head"])
def upright(request: pytest.FixtureRequest) -> Volume:
    return head(true_matrix(), stripped=request.param, spacing=(3, 3, 3), person=1)


def resized(scan: Volume, *factors: float) -> Volume:
    matrix = np.diag([*factors, 1.0])
    return replace(scan, grid=Grid(scan.grid.shape, matrix @ scan.grid.affine))


def test_there_are_24_turns_and_the_first_is_none() -> None:
    assert len(TURNS) == 24 and np.array_equal(TURNS[0], np.eye(3))
    assert len({turn.tobytes() for turn in TURNS}) == 24
    assert all(np.linalg.det(turn) == pytest.approx(1) for turn in TURNS)


@pytest.mark.parametrize("number", [0, 1, 9, 14])
def test_a_head_is_found_however_it_is_turned(upright: Volume, number: int) -> None:
    matrix = about(upright.grid.centre, TURNS[number])
    found = align_to_frame(turned(upright, matrix))
    assert np.array_equal(found.turn, TURNS[number]) and found.is_turned is (number > 0)
    assert found.method == "affine" and not found.warnings
    error = (np.linalg.inv(matrix) @ found.matrix - true_matrix()) @ [0, -17, 5, 1]
    assert np.linalg.norm(error) < 4


def test_a_reflected_header_looks_like_the_turn_that_is_its_mirror_image(upright: Volume) -> None:
    found = align_to_frame(turned(upright, about(upright.grid.centre, np.diag([1.0, 1.0, -1.0]))))
    assert np.array_equal(found.turn, np.diag([1.0, 1.0, -1.0]) @ MIRRORED)
    assert described(found.turn) == "face towards the front and vertex towards the bottom"
    assert not found.turned_about_long_axis


def test_a_patient_on_the_side_is_turned_about_the_long_axis(upright: Volume) -> None:
    on_the_side = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    found = align_to_frame(turned(upright, about(upright.grid.centre, on_the_side)))
    assert found.turned_about_long_axis
    assert described(found.turn) == "face towards the left and vertex towards the top"


@pytest.mark.parametrize(
    ("factors", "unusual"), [((1, 1, 1), None), ((1, 0.66, 1), 1), ((1, 1, 1.5), 2), ((0.62, 0.62, 0.62), None)]
)
def test_a_wrong_voxel_size_shows(upright: Volume, factors: tuple[float, ...], unusual: int | None) -> None:
    scan = resized(upright, *factors)
    deviation = size_deviation(scan, align_to_frame(scan))
    if factors == (1, 1, 1):
        assert np.abs(deviation).max() < 0.2
    elif unusual is None:
        assert np.abs(deviation).max() > 0.3
    else:
        assert np.abs(deviation[unusual]) > 0.3
