"""Marks on grids of any orientation: a mark means the same place in the world."""

from __future__ import annotations

import numpy as np
import pytest

from asa.errors import InputError
from asa.refinement.drawing import draw
from asa.refinement.marks import Mark, Point
from asa.volume import Grid

AXES = {
    "plain": np.array([[0, 0, 1.0], [0, 1, 0], [1, 0, 0]]),
    "left-handed": np.array([[0, 0, -1.0], [0, 1, 0], [1, 0, 0]]),
    "anisotropic": np.array([[0, 0, 0.5], [0, 0.5, 0], [8, 0, 0]]),
    "oblique": np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0],
}


def grid_of(kind: str) -> Grid:
    affine = np.eye(4)
    affine[:3, :3] = AXES[kind]
    affine[:3, 3] = (5, -20, 12)
    return Grid((20, 40, 30), affine)


def mark(kind: str, grid: Grid, *places: tuple[float, float, float], **more: object) -> Mark:
    points: tuple[Point, ...] = tuple(tuple(map(float, grid.to_world(place))) for place in places)  # type: ignore[misc]
    return Mark(kind, "WT", more.pop("action", "add"), points, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", AXES)
def test_points_and_lines(kind: str) -> None:
    grid = grid_of(kind)
    assert draw(mark("point", grid, (3.2, 7.9, 11.4)), grid).voxels.tolist() == [[3, 8, 11]]
    line = draw(mark("scribble", grid, (3, 8, 2), (3, 8, 9), (7, 8, 9)), grid).voxels
    assert {tuple(one) for one in line} >= {(3, 8, w) for w in range(2, 10)} | {(t, 8, 9) for t in range(3, 8)}
    assert len(line) == 12


@pytest.mark.parametrize("kind", AXES)
def test_a_brush_is_a_ball_in_mm(kind: str) -> None:
    grid = grid_of(kind)
    ball = draw(mark("point", grid, (10, 20, 15), radius_mm=3.0), grid).voxels
    distance = np.linalg.norm(grid.to_world(ball) - grid.to_world((10, 20, 15)), axis=1)
    assert distance.max() <= 3.0 + 1e-6
    volume = len(ball) * grid.voxel_volume_ml * 1000
    assert volume == pytest.approx(4 / 3 * np.pi * 27, rel=0.15) or kind == "anisotropic"
    assert len(draw(mark("point", grid, (0, 0, 0), radius_mm=3.0), grid).voxels) < len(ball)


@pytest.mark.parametrize("kind", AXES)
def test_a_box_and_a_lasso(kind: str) -> None:
    grid = grid_of(kind)
    box = draw(mark("box", grid, (2, 9, 4), (6, 5, 8)), grid)
    assert len(box.voxels) == 5**3 and box.box and not box.certain
    assert draw(mark("box", grid, (2, 9, 4), (6, 5, 8), action="remove"), grid).certain
    square = draw(mark("lasso", grid, (4, 5, 5), (4, 15, 5), (4, 15, 15), (4, 5, 15)), grid).voxels
    assert set(square[:, 0]) == {4} and len(square) == 11**2


def test_a_lasso_in_an_oblique_slice() -> None:
    grid = grid_of("plain")
    found = draw(mark("lasso", grid, (4, 5, 5), (14, 15, 5), (14, 15, 20), (4, 5, 20)), grid).voxels
    assert (found[:, 0] - found[:, 1] == -1).mean() > 0.6
    assert len(found) > 11 * 16


def test_what_cannot_be_drawn() -> None:
    grid = grid_of("plain")
    for wrong, words in (
        (mark("point", grid, (-1, 5, 5)), "outside the image"),
        (mark("scribble", grid, (5, 5, 5), (5, 5, 31)), "outside the image"),
        (mark("lasso", grid, (4, 5, 5), (4, 15, 5), (4, 15, 15), (12, 5, 15)), "must lie in one plane"),
    ):
        with pytest.raises(InputError, match=words):
            draw(wrong, grid)


def test_a_mirrored_mark_takes_the_mirrored_voxel() -> None:
    grid = grid_of("plain")
    places = np.random.default_rng(0).uniform(0, 19, (50, 3))
    places[:20] = np.round(places[:20] * 2) / 2  # ties between two voxels
    for place in places:
        here = draw(mark("point", grid, tuple(place)), grid).voxels[0]
        there = draw(mark("point", grid, (19 - place[0], place[1], 29 - place[2])), grid).voxels[0]
        assert (19 - here[0], here[1], 29 - here[2]) == tuple(there)
