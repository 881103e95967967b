"""Mouse, wheel and keys become strokes; without Qt and without Slicer."""

from __future__ import annotations

import numpy as np
import pytest

from ASASegmentationLib.refine.strokes import MAX_RADIUS_MM, Command, Strokes, circle

ACROSS, NORMAL = (-1.0, 0.0, 0.0), (0.0, 0.0, 1.0)  # an axial view: its right is the patient's left
VIEW = object()


def draw(strokes: Strokes, *places: tuple[float, float, float], adds: bool = True):
    strokes.press(VIEW, places[0], adds)
    for place in places[1:]:
        strokes.move(VIEW, place)
    return strokes.release(VIEW, places[-1], ACROSS, NORMAL)


def test_keys_choose_tools_and_answer_the_preview() -> None:
    strokes = Strokes()
    for key, tool in zip("psblt", ("point", "scribble", "box", "lasso", "threshold"), strict=True):
        assert strokes.key(key) is Command.TOOL and strokes.tool == tool
    assert strokes.key("space") is Command.ACCEPT
    assert strokes.key("Escape") is Command.DROP
    assert strokes.key("q") is Command.NONE and strokes.tool == "threshold"


def test_the_wheel_changes_the_size_of_brushes() -> None:
    strokes = Strokes()
    assert strokes.radius_mm == 0
    assert strokes.resize(True) and strokes.radius_mm == pytest.approx(0.5)
    assert strokes.resize(False) and strokes.radius_mm == 0
    for _ in range(60):
        strokes.resize(True)
    assert strokes.radius_mm == MAX_RADIUS_MM
    strokes.choose("box")
    assert not strokes.resize(True)


def test_a_point_is_where_the_button_went_down() -> None:
    stroke = draw(Strokes(), (1.0, 2.0, 3.0), (9.0, 2.0, 3.0), adds=False)
    assert stroke is not None and (stroke.kind, stroke.adds, stroke.points) == ("point", False, ((1.0, 2.0, 3.0),))


def test_a_scribble_has_a_point_for_each_half_millimetre() -> None:
    strokes = Strokes()
    strokes.choose("scribble")
    stroke = draw(strokes, *((0.1 * n, 0.0, 0.0) for n in range(101)))
    assert stroke is not None and stroke.radius_mm == 2.0
    assert 18 <= len(stroke.points) <= 22 and not strokes.drawing


def test_a_box_is_as_deep_as_its_shorter_side() -> None:
    strokes = Strokes()
    strokes.choose("box")
    stroke = draw(strokes, (0.0, 0.0, 5.0), (10.0, 20.0, 5.0))
    assert stroke is not None
    corners = np.array(stroke.points)
    assert corners.min(axis=0).tolist() == [0, 0, 0] and corners.max(axis=0).tolist() == [10, 20, 10]
    assert len(strokes.outline(ACROSS, NORMAL)) == 0
    strokes.press(VIEW, (0.0, 0.0, 5.0), True)
    strokes.move(VIEW, (10.0, 20.0, 5.0))
    outline = np.array(strokes.outline(ACROSS, NORMAL))
    assert (outline[0] == outline[-1]).all() and np.ptp(outline, axis=0).tolist() == [10, 20, 0]


@pytest.mark.parametrize("tool", ["box", "lasso"])
def test_a_click_with_a_tool_that_needs_an_area_is_nothing(tool: str) -> None:
    strokes = Strokes()
    strokes.choose(tool)
    assert draw(strokes, (0.0, 0.0, 0.0), (0.2, 0.0, 0.0)) is None


def test_what_happens_in_another_view_does_not_count() -> None:
    strokes = Strokes()
    strokes.choose("lasso")
    strokes.press(VIEW, (0.0, 0.0, 0.0), True)
    assert not strokes.move("other", (5.0, 0.0, 0.0))
    assert strokes.release("other", (5.0, 0.0, 0.0), ACROSS, NORMAL) is None and strokes.drawing
    strokes.abandon()
    assert not strokes.drawing and strokes.release(VIEW, (1.0, 0.0, 0.0), ACROSS, NORMAL) is None


def test_the_cursor_is_a_circle_in_the_view() -> None:
    places = np.array(circle((1.0, 2.0, 3.0), ACROSS, NORMAL, 4.0))
    assert np.allclose(np.linalg.norm(places - (1, 2, 3), axis=1), 4) and (places[:, 2] == 3).all()
