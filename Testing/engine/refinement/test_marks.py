"""The marks file: what is written is read, and whatever is wrong with it becomes one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from asa.errors import InputError
from asa.refinement.marks import MAX_MARKS, MAX_POINTS, Mark, MarkSet, read_marks

POINT: dict[str, Any] = {"kind": "point", "segment": "WT", "action": "add", "points_mm": [[1, 2.5, -3]]}


def content(*marks: object, **more: object) -> dict[str, Any]:
    return {"format": 1, "marks": list(marks or [POINT]), **more}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    marks = MarkSet(
        (
            Mark("point", "WT", "add", ((1.0, 2.5, -3.0),), radius_mm=2.0),
            Mark("scribble", "TC", "remove", ((0.0, 0.0, 0.0), (5.0, 0.0, 0.0))),
            Mark("box", "ET", "add", ((0.0, 0.0, 0.0), (5.0, 5.0, 5.0))),
            Mark("lasso", "WT", "add", ((0.0, 0.0, 0.0), (5.0, 0.0, 0.0), (0.0, 5.0, 0.0))),
        ),
        ("ED",),
    )
    path = tmp_path / "marks.json"
    path.write_text(json.dumps(marks.to_json()), encoding="utf-8")
    assert read_marks(path) == marks


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([POINT], "must hold a JSON object"),
        ({"marks": [POINT]}, "'format' is missing"),
        (content(format=2), "'format' is 2, and this version of ASA reads 1"),
        (content(extra=1), "'extra' is unknown"),
        (content(marks=[]), "'marks' holds 0 marks"),
        (content(marks="all"), "'marks' must be a list of objects"),
        (content(marks=[POINT] * (MAX_MARKS + 1)), f"1 to {MAX_MARKS} are possible"),
        (content("a mark"), "entry 1 of 'marks' in marks must hold a JSON object"),
        (
            content({**POINT, "kind": "star"}),
            "one of point, scribble, box, lasso, threshold, not 'star'",
        ),
        (content({**POINT, "action": True}), "'action' must be 'add' or 'remove'"),
        (content({**POINT, "segment": 3}), "'segment' must be the name of a segment"),
        (content({**POINT, "points_mm": []}), "a point needs 1 points"),
        (content({**POINT, "kind": "scribble", "points_mm": []}), "a scribble needs at least 1 points"),
        (content({**POINT, "kind": "lasso"}), "a lasso needs at least 3 points"),
        (content({**POINT, "kind": "box", "points_mm": [[0, 0, 0]] * 3}), "a box needs 2 points"),
        (content({**POINT, "points_mm": [[1, 2]]}), "a list of points"),
        (content({**POINT, "points_mm": [[1, 2, "3"]]}), "a list of points"),
        (content({**POINT, "points_mm": [[1, 2, float("inf")]]}), "a list of points"),
        (content({**POINT, "radius_mm": -1}), "'radius_mm' must be a number of mm from 0 to 50"),
        (content({**POINT, "kind": "box", "points_mm": [[0, 0, 0]] * 2, "radius_mm": 1}), "a box has no 'radius_mm'"),
        (content(locked=["WT", "WT"]), "'locked' must be a list of different names"),
        (
            content({**POINT, "kind": "scribble", "points_mm": [[0, 0, 0]] * (MAX_POINTS + 1)}),
            f"at most {MAX_POINTS} are possible",
        ),
    ],
)
def test_what_is_wrong_is_one_sentence(values: object, words: str) -> None:
    with pytest.raises(InputError) as caught:
        MarkSet.from_json(values, "marks")
    said = str(caught.value)
    assert words in said and said.endswith("see the reference of the marks file.") and "\n" not in said
    assert len(said) < 300


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\x00"])
def test_no_json(tmp_path: Path, text: str) -> None:
    path = tmp_path / "marks.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="is not valid JSON"):
        read_marks(path)
    with pytest.raises(InputError, match="cannot be read: no such file"):
        read_marks(tmp_path / "other.json")
