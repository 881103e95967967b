"""Run long work in the GUI thread in small steps between events.

The work is a generator that yields every few milliseconds: `True` if it can continue immediately, `False` if it waits
for something. Python threads do not work for this in Slicer, see `process`.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import TypeVar

_T = TypeVar("_T")
Steps = Generator[bool, None, _T]

# Bytes copied or processed in one step: a few milliseconds.
STEP_BYTES = 4 << 20
_AT_A_TIME_S = 0.02


def advance(steps: Steps[_T]) -> _T | None:
    """Advance the work for about 20 ms or until it has to wait.

    Returns:
        The result once the work is done, otherwise None.
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
    """Run the work to its end and return its result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: _T = end.value
            return result


def slabs(shape: tuple[int, ...], itemsize: int) -> list[slice]:
    """Return slices of the first axis of an array, one per step."""
    row = itemsize
    for size in shape[1:]:
        row *= size
    rows = max(1, STEP_BYTES // max(1, row))
    return [slice(start, min(start + rows, shape[0])) for start in range(0, shape[0], rows)]
