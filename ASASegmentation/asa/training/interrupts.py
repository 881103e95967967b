"""Interrupts that let a training step finish."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator

from asa.interrupts import install


@contextlib.contextmanager
def on_interrupt(request: Callable[[], None]) -> Iterator[None]:
    """Call ``request`` on every signal that would end the process, for as long as the context lasts."""
    old = install(lambda *_: request())  # none outside the main thread, whose owner decides
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
