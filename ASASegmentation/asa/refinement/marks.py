"""User marks on a segmentation, and the JSON file that holds them (docs/reference/marks.md).

Coordinates are RAS millimetres, so that a mark means the same place in 3D Slicer, on the command line and in Python.
Needs the standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from asa.entries import Entries, anything, distinct, each, number, text, whole
from asa.errors import InputError

Kind = Literal["point", "scribble", "box", "lasso", "threshold"]
Action = Literal["add", "remove"]
Point = tuple[float, float, float]

FORMAT = 1
MAX_MARKS, MAX_POINTS = 1000, 100_000  # of one file; an hour of clicking gives a few hundred marks
MAX_RADIUS_MM = 50.0
MAX_BYTES = 64 << 20
_REMEDY = "see the reference of the marks file"
# Points that each kind needs at least, and at most.
_COUNTS: Mapping[str, tuple[int, float]] = {
    "point": (1, 1),
    "scribble": (1, float("inf")),
    "box": (2, 2),
    "lasso": (3, float("inf")),
    "threshold": (1, float("inf")),
}


@dataclass(frozen=True)
class Mark:
    """One mark of a user.

    Attributes:
        kind: ``point``; ``scribble``, a line through its points; ``box``, between two opposite corners, along the axes
            of the image; ``lasso``, a closed polygon in any plane; ``threshold``, a scribble that changes only those
            voxels under its brush whose intensities fit.
        segment: name of a region or label of the task.
        action: whether what is marked belongs to the segment (``add``) or not (``remove``).
        points: RAS mm.
        radius_mm: radius of the brush of a point, scribble or threshold; 0 marks the voxels that are touched.
    """

    kind: Kind
    segment: str
    action: Action
    points: tuple[Point, ...]
    radius_mm: float = 0.0

    @property
    def adds(self) -> bool:
        """Whether the mark adds to its segment."""
        return self.action == "add"

    def to_json(self) -> dict[str, Any]:
        """The mark as an entry of ``marks`` in the file."""
        entry: dict[str, Any] = {
            "kind": self.kind,
            "segment": self.segment,
            "action": self.action,
            "points_mm": [list(point) for point in self.points],
        }
        return {**entry, "radius_mm": self.radius_mm} if self.radius_mm else entry


@dataclass(frozen=True)
class MarkSet:
    """The content of a marks file.

    Attributes:
        marks: in the order in which they were made.
        locked: names of segments that must not change.
    """

    marks: tuple[Mark, ...]
    locked: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The content of the file."""
        return {"format": FORMAT, "locked": list(self.locked), "marks": [mark.to_json() for mark in self.marks]}

    @staticmethod
    def from_json(values: object, where: str) -> MarkSet:
        """Read and check the content of a marks file.

        Args:
            values: the JSON value.
            where: what messages call it.

        Raises:
            InputError: an entry is missing, unknown, of the wrong type or out of its range, or there are too many.
        """
        entries = Entries(values, where, InputError, _REMEDY)
        entries.only(("format", "marks"), ("locked",))
        found = entries.take("format", whole, "a whole number", 0)
        if found != FORMAT:
            raise entries.fault(f"'format' is {found}, and this version of ASA reads {FORMAT}")
        none: tuple[str, ...] = ()
        count = len(entries.take("marks", lambda value: each(value, anything), "a list of objects", none))
        if not 1 <= count <= MAX_MARKS:
            raise entries.fault(f"'marks' holds {count} marks, and 1 to {MAX_MARKS} are possible")
        locked = entries.take("locked", lambda value: distinct(value, None), "a list of different names", none)
        marks = entries.parts("marks", _mark)
        points = sum(len(mark.points) for mark in marks)
        if points > MAX_POINTS:
            raise entries.fault(f"the marks have {points} points, and at most {MAX_POINTS} are possible")
        return MarkSet(marks, locked)


def read_marks(path: Path) -> MarkSet:
    """Read a marks file.

    Raises:
        InputError: it cannot be read or is not JSON; or see :meth:`MarkSet.from_json`.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"The marks file {path} has more than {MAX_BYTES >> 20} MiB; it holds no marks.")
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"The marks file {path} cannot be read: {(error.strerror or str(error)).lower()}.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"The marks file {path} is not valid JSON: {error}.") from error
    return MarkSet.from_json(values, f"the marks file {path}")


def _mark(entries: Entries) -> Mark:
    entries.only(("kind", "segment", "action", "points_mm"), ("radius_mm",))
    kinds, actions = get_args(Kind), get_args(Action)
    kind: Kind = entries.take("kind", lambda value: _choice(value, kinds), f"one of {', '.join(kinds)}", "point")
    action: Action = entries.take("action", lambda value: _choice(value, actions), "'add' or 'remove'", "add")
    segment = entries.take("segment", text, "the name of a segment", "")
    least, most = _COUNTS[kind]
    points: tuple[Point, ...] = entries.take(
        "points_mm", lambda value: each(value, _point), "a list of points [R, A, S] in mm", ()
    )
    if not least <= len(points) <= most:
        needed = f"{least}" if least == most else f"at least {least}"
        raise entries.fault(f"a {kind} needs {needed} points in 'points_mm', not {len(points)}")
    radius = entries.take("radius_mm", _radius, f"a number of mm from 0 to {MAX_RADIUS_MM:g}", 0.0)
    if radius and kind in ("box", "lasso"):
        raise entries.fault(f"a {kind} has no 'radius_mm'")
    return Mark(kind, segment, action, points, radius)


def _choice(value: object, choices: tuple[Any, ...]) -> Any:
    if value not in choices:
        raise ValueError
    return value


def _point(value: object) -> Point:
    right, anterior, superior = each(value, number)
    return float(right), float(anterior), float(superior)


def _radius(value: object) -> float:
    return float(number(value, 0.0, MAX_RADIUS_MM))
