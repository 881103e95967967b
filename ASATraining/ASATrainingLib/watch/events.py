"""Read the metrics in events.jsonl incrementally while the training program writes it."""

from __future__ import annotations

import contextlib
import json
import math
import time
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import ge, itemgetter
from pathlib import Path
from typing import Any

import numpy as np

_BLOCK = 1 << 16  # bytes; a few hundred events, about a millisecond
_LONGEST_LINE = 1 << 20  # longer lines are invalid
# Metrics followed for each step; of a validation all are followed.
STEP_NUMBERS = ("loss", "lr", "samples_per_second", "remaining_s", "memory_gib")
_NO_NUMBERS = {"event", "time", "step", "best"}
_NUMBERS = (float, int)


class EventReader:
    """Reads a growing events file incrementally.

    Incomplete lines are kept for the next call; invalid lines are skipped and counted. A file that became shorter was
    replaced: `restarted` is then True for one call.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.restarted = False
        self.noise = 0
        self._offset = 0
        self._rest = b""
        self._skipping = False  # within a line that is too long to be an event

    def read(self, budget_s: float) -> tuple[list[dict[str, Any]], bool]:
        """Return new events, and whether more remain after the time budget. Never raises."""
        self.restarted = False
        events: list[dict[str, Any]] = []
        deadline = time.perf_counter() + budget_s
        try:
            with self.path.open("rb") as stream:
                size = stream.seek(0, 2)
                if size < self._offset:
                    self._offset, self._rest, self._skipping, self.restarted = 0, b"", False, True
                stream.seek(self._offset)
                while block := stream.read(_BLOCK):
                    self._offset += len(block)
                    events.extend(self._events(block))
                    if time.perf_counter() > deadline:
                        return events, self._offset < size
        except OSError:  # not there yet, or a network share that may return
            pass
        return events, False

    def _events(self, block: bytes) -> Iterator[dict[str, Any]]:
        *lines, self._rest = (self._rest + block).split(b"\n")
        if lines and self._skipping:
            self._skipping = False
            del lines[0]
        for event in _parsed(lines):
            if isinstance(event, dict) and isinstance(event.get("event"), str):
                yield event
            else:
                self.noise += 1
        if len(self._rest) > _LONGEST_LINE:
            self.noise += not self._skipping
            self._rest, self._skipping = b"", True


def _parsed(lines: list[bytes]) -> list[Any]:
    """Return the JSON value of each line, None if invalid. Empty lines are omitted."""
    with contextlib.suppress(ValueError, RecursionError):  # joint parsing is twice as fast
        found = json.loads(b"[" + b",".join(lines) + b"]")
        if len(found) == len(lines):
            return list(found)
    return [_value(line) for line in lines if line.strip()]


def _value(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


class Series:
    """One metric over increasing optimiser steps; a resumed run replaces values after its checkpoint."""

    __slots__ = ("_newest", "_steps", "_values")

    def __init__(self) -> None:
        self._steps, self._values = array("d"), array("d")
        self._newest = -math.inf

    def add(self, step: float, value: float) -> None:
        """Add a value; the values of this and later steps are replaced, because the run was resumed before them."""
        if step <= self._newest:
            keep = bisect_left(self._steps, step)
            del self._steps[keep:], self._values[keep:]
        self._newest = step
        self._steps.append(step)
        self._values.append(value)

    def extend(self, steps: Sequence[float], values: Sequence[float]) -> None:
        """Append many values. Steps must increase, beginning after `newest`."""
        self._newest = steps[-1]
        self._steps.extend(steps)
        self._values.extend(values)

    def __len__(self) -> int:
        return len(self._steps)

    @property
    def newest(self) -> float:
        """Step of the latest value, minus infinity if empty."""
        return self._newest

    @property
    def last(self) -> float:
        """The latest value.

        Raises:
            IndexError: there is none.
        """
        return self._values[-1]

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Return copies of steps and values as float64."""
        return np.array(self._steps), np.array(self._values)


class Curves:
    """Metrics of a run by event kind and name, such as ("step", "loss")."""

    def __init__(self) -> None:
        self.series: dict[tuple[str, str], Series] = {}
        self.step = 0
        self.end: dict[str, Any] = {}  # the end event; {} while the run is active

    def extend(self, events: Iterable[dict[str, Any]]) -> None:
        """Add many events, in order."""
        for kind, group in groupby(events, itemgetter("event")):
            alike = list(group)
            if kind != "step" or not self._add_steps(alike):
                for event in alike:
                    self.add(event)

    def _add_steps(self, events: list[dict[str, Any]]) -> bool:
        """Add step events by column, which is three times as fast; return False if any is irregular."""
        try:
            columns = [[event[name] for event in events] for name in ("step", *STEP_NUMBERS)]
        except KeyError:
            return False
        for column in columns:
            if not (set(map(type, column)) <= set(_NUMBERS) and all(map(math.isfinite, column))):
                return False
        steps = columns.pop(0)
        known = [series.newest for (kind, _name), series in self.series.items() if kind == "step"]
        newest = max(known, default=-math.inf)
        if steps[0] <= newest or any(map(ge, steps, steps[1:])):
            return False
        for name, column in zip(STEP_NUMBERS, columns, strict=True):
            self.series.setdefault(("step", name), Series()).extend(steps, column)
        self.step, self.end = int(steps[-1]), {}
        return True

    def add(self, event: dict[str, Any]) -> None:
        """Add one event; values without a step or not finite are skipped."""
        kind: str = event["event"]
        step: Any = event.get("step")
        if kind == "end":
            self.end = event
        if type(step) not in _NUMBERS or not math.isfinite(step):
            return
        if kind == "step":
            names: Iterable[str] = STEP_NUMBERS
        elif kind == "validation":
            names = [name for name in event if name not in _NO_NUMBERS]
        elif kind == "resume":
            self.step, self.end = int(step), {}
            return
        else:
            return
        for name in names:
            value: Any = event.get(name)
            if type(value) in _NUMBERS and math.isfinite(value):
                series = self.series.get((kind, name))
                if series is None:
                    series = self.series[kind, name] = Series()
                series.add(step, value)
        if kind == "step":
            self.step, self.end = int(step), {}


def decimated(steps: np.ndarray, values: np.ndarray, buckets: int) -> tuple[np.ndarray, np.ndarray]:
    """Reduce a curve to the minimum and maximum of each of `buckets` equal parts, in order.

    At that pixel width it looks like the full curve. The first and the last point are kept.
    """
    count = len(steps)
    if count <= 2 * buckets:
        return steps, values
    size = -(-count // buckets)
    padded = np.full(size * -(-count // size), np.nan)
    padded[:count] = values
    parts = padded.reshape(-1, size)
    first = np.arange(len(parts)) * size
    lowest = np.nanargmin(parts, axis=1) + first
    highest = np.nanargmax(parts, axis=1) + first
    chosen = np.unique(np.concatenate([lowest, highest, [0, count - 1]]))
    return steps[chosen], values[chosen]


def smoothed(values: np.ndarray, width: int) -> np.ndarray:
    """Return the mean of the last `width` values at each point, of fewer at the start."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    end = np.arange(1, len(values) + 1)
    start = np.maximum(end - width, 0)
    means: np.ndarray = (sums[end] - sums[start]) / (end - start)
    return means
