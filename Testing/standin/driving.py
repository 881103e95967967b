"""The real module, opened from its real files over the stand-ins, and clicked."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import slicer
import standin_application
import standin_modules

REPOSITORY = Path(__file__).resolve().parents[2]


def open_module(name: str) -> Any:
    """`slicer.modules.<name>` of a module of this repository, its panel open."""
    standin_application.start()
    module = standin_modules.load_module(REPOSITORY / name / f"{name}.py")
    module.widgetRepresentation().show()
    return module


def report(what: str, busy_s: float) -> None:
    """Says how long the GUI thread was busy at most; `Testing.benchmarks.gui` collects what is said.

    Not an assertion: in the process of the tests, which has far more loaded than Slicer, one garbage collection alone
    may take 0.25 s.
    """
    sys.stderr.write(f"\nGUI thread busy for {1000 * busy_s:.0f} ms at most: {what}\n")


class Drawing(Protocol):
    """Views that are drawn while Qt works."""

    drawing_s: float


def wait_for(condition: Callable[[], object], seconds: float, views: Drawing | None = None) -> float:
    """Lets Qt work until something is the case; returns the longest that one round kept the GUI thread busy, in s.

    Counted is the processor time of this thread, so that other programs on the machine do not count; without that for
    drawing `views`.
    Raises AssertionError after `seconds`.
    """
    longest, deadline = 0.0, time.monotonic() + seconds
    while not condition():
        longest = max(longest, busy(slicer.app.processEvents, views))
        assert time.monotonic() < deadline, "The condition was not met in time."
        time.sleep(0.005)
    return longest


def busy(work: Callable[[], object], views: Drawing | None = None) -> float:
    """Does something and returns how long that kept the GUI thread busy, in s, without drawing `views`."""
    started, drawn = time.thread_time(), views.drawing_s if views is not None else 0.0
    work()
    return time.thread_time() - started - ((views.drawing_s if views is not None else 0.0) - drawn)
