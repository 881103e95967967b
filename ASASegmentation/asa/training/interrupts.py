"""Interrupts that let a training step finish."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def on_interrupt(request: Callable[[], None]) -> Iterator[None]:
    """Call ``request`` on SIGTERM and SIGINT, instead of ending the process, for as long as the context lasts."""
    try:
        old = {number: signal.signal(number, lambda *_: request()) for number in (signal.SIGTERM, signal.SIGINT)}
    except ValueError:  # not the main thread: its owner decides
        old = {}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
