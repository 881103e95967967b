"""Mouse, wheel and keys in slice views -> strokes. Standard library only."""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass

Point = tuple[float, float, float]

TOOLS = ("point", "scribble", "box", "lasso", "threshold")
_KEYS = {tool[0]: tool for tool in TOOLS}
BRUSHES = ("point", "scribble", "threshold")  # that have a size
MAX_RADIUS_MM = 50.0
_FACTOR, _SMALLEST_MM = 1.25, 0.5
_STEP_MM = 0.5  # between the points of a line; closer ones say nothing more
_SHORTEST_BOX_MM = 1.0


class Command(enum.Enum):
    """The action of a key."""

    NONE = 0
    TOOL = 1
    ACCEPT = 2
    DROP = 3


@dataclass(frozen=True)
class Stroke:
    """What the user drew, in RAS mm of the world.

    Attributes:
        kind: one of `TOOLS`.
        adds: whether it adds to the segment or removes from it.
        points: of a box its eight corners.
        radius_mm: of the brush; 0 of a box or lasso.
    """

    kind: str
    adds: bool
    points: tuple[Point, ...]
    radius_mm: float = 0.0


class Strokes:
    """The state of the tools, and the stroke that is being drawn."""

    def __init__(self) -> None:
        self.tool = "point"
        self.radius_mm = 0.0
        self._view: object = None
        self._adds = True
        self._points: list[Point] = []

    @property
    def drawing(self) -> bool:
        """Whether a button is down."""
        return self._view is not None

    @property
    def adds(self) -> bool:
        """Whether the stroke that is being drawn adds to the segment."""
        return self._adds

    def choose(self, tool: str) -> None:
        """Select a tool, and drop what is being drawn."""
        self.tool = tool
        self.abandon()
        if tool in ("scribble", "threshold") and not self.radius_mm:
            self.radius_mm = 2.0 if tool == "scribble" else 5.0

    def abandon(self) -> None:
        """Drop what is being drawn."""
        self._view, self._points = None, []

    def key(self, name: str) -> Command:
        """Handle a key by its VTK name, such as "p", "space" or "Escape"."""
        if (tool := _KEYS.get(name.lower())) is not None:
            self.choose(tool)
            return Command.TOOL
        return {"space": Command.ACCEPT, "Escape": Command.DROP}.get(name, Command.NONE)

    def resize(self, larger: bool) -> bool:
        """Change the size of the brush by one step of the wheel; return whether the tool has one."""
        if self.tool not in BRUSHES:
            return False
        radius = max(self.radius_mm, _SMALLEST_MM / _FACTOR) * (_FACTOR if larger else 1 / _FACTOR)
        self.radius_mm = 0.0 if radius < _SMALLEST_MM - 1e-9 else min(round(radius, 3), MAX_RADIUS_MM)
        return True

    def press(self, view: object, place: Point, adds: bool) -> None:
        """Begin a stroke in a view."""
        self._view, self._adds, self._points = view, adds, [place]

    def move(self, view: object, place: Point) -> bool:
        """Continue the stroke; return whether it has changed."""
        if view is not self._view:
            return False
        if self.tool in ("point", "box"):
            self._points[1:] = [place]
            return self.tool == "box"
        if math.dist(self._points[-1], place) < _STEP_MM:
            return False
        self._points.append(place)
        return True

    def release(self, view: object, place: Point, across: Point, normal: Point) -> Stroke | None:
        """End the stroke.

        Args:
            view: where the button was released.
            place: RAS mm.
            across: unit vector to the right of the view.
            normal: unit vector out of the view.

        Returns:
            The stroke; None if none was begun there, or a lasso or box has no area.
        """
        if view is not self._view:
            return None
        self.move(view, place)
        tool, points, adds = self.tool, self._points, self._adds
        self.abandon()
        if tool == "point":
            return Stroke(tool, adds, tuple(points[:1]), self.radius_mm)
        if tool == "box":
            corners = _box(points[0], points[-1], across, normal)
            return Stroke(tool, adds, corners) if corners else None
        if tool == "lasso":
            return Stroke(tool, adds, tuple(points)) if len(points) >= 3 else None
        return Stroke(tool, adds, tuple(points), self.radius_mm)

    def outline(self, across: Point, normal: Point) -> list[Point]:
        """Return the line to show of what is being drawn, in RAS mm."""
        if not self._points:
            return []
        if self.tool == "box" and len(self._points) > 1:
            first, last = self._points[0], self._points[-1]
            wide = _along(first, last, across)
            second = _moved(first, across, wide)
            fourth = _moved(last, across, -wide)
            return [first, second, last, fourth, first]
        return [*self._points, self._points[0]] if self.tool == "lasso" else list(self._points)


def circle(centre: Point, across: Point, normal: Point, radius_mm: float) -> list[Point]:
    """Return a closed circle around a place in a view, for the cursor."""
    up = _cross(normal, across)
    angles = [2 * math.pi * n / 32 for n in range(33)]
    return [_moved(_moved(centre, across, radius_mm * math.cos(a)), up, radius_mm * math.sin(a)) for a in angles]


def _box(first: Point, last: Point, across: Point, normal: Point) -> tuple[Point, ...]:
    """Return the corners of a box drawn in a slice: as deep as its shorter side, half of it to either side."""
    up = _cross(normal, across)
    wide, high = _along(first, last, across), _along(first, last, up)
    depth = min(abs(wide), abs(high))
    if depth < _SHORTEST_BOX_MM:
        return ()
    flat = [_moved(_moved(first, across, a * wide), up, b * high) for a in (0, 1) for b in (0, 1)]
    return tuple(_moved(corner, normal, side * depth / 2) for corner in flat for side in (-1, 1))


def _along(first: Sequence[float], last: Sequence[float], direction: Sequence[float]) -> float:
    return sum((b - a) * c for a, b, c in zip(first, last, direction, strict=True))


def _moved(place: Point, direction: Point, distance: float) -> Point:
    r, a, s = (one + distance * way for one, way in zip(place, direction, strict=True))
    return r, a, s


def _cross(a: Point, b: Point) -> Point:
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]
