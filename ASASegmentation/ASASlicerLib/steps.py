"""Long work in the GUI thread, done piece by piece between the events.

A piece of work is a generator that yields after every few milliseconds: `True` when it can go on at once, `False` when
it waits for something. Python threads are no way to do this in Slicer, see `process`.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import TypeVar

_T = TypeVar("_T")
Steps = Generator[bool, None, _T]

# Bytes that are copied or computed with in one step: a few milliseconds.
STEP_BYTES = 4 << 20
_AT_A_TIME_S = 0.02


def go_on(steps: Steps[_T]) -> _T | None:
    """Works for some 20 ms or until it has to wait. Returns what the work came to once it is done, else None.

    Raises what the work raises.
    """
    until = time.perf_counter() + _AT_A_TIME_S
    try:
        while next(steps) and time.perf_counter() < until:
            pass
    except StopIteration as end:
        result: _T = end.value
        return result
    return None


def finish(steps: Steps[_T]) -> _T:
    """Does all of the work at once."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: _T = end.value
            return result


def slabs(shape: tuple[int, ...], itemsize: int) -> list[slice]:
    """Parts of the first axis of an array that make for one step each."""
    row = itemsize
    for size in shape[1:]:
        row *= size
    rows = max(1, STEP_BYTES // max(1, row))
    return [slice(start, min(start + rows, shape[0])) for start in range(0, shape[0], rows)]
