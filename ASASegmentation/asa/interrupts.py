"""Signals that ask a program to end (Ctrl-C, SIGTERM, a lost connection): nothing half-written is left behind.

Needs the standard library only.
"""

from __future__ import annotations

import atexit
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGXCPU", "SIGBREAK")
Handler = Callable[[int, object], None]


class _State:
    """What this process has received.

    Attributes:
        deferred: blocks that signals wait for.
        waiting: whether a signal has arrived in such a block.
        requested: whether a signal has requested the end.
    """

    deferred = 0
    waiting = False
    requested = False


_state = _State()
_unfinished: list[ExitStack] = []


def interruptible() -> None:
    """Make every signal that asks a program to end raise KeyboardInterrupt, as Ctrl-C does."""
    _state.waiting = _state.requested = False
    install(_interrupt)


def install(handler: Handler) -> dict[int, Any]:
    """Call ``handler`` on every signal that asks a program to end.

    What the caller of the program has it ignore (nohup, a job in the background of a script) stays ignored.

    Returns:
        The handlers that were replaced, by the number of the signal; none outside the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        return {}
    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    ignored = {n for n in numbers if n != signal.SIGTERM and signal.getsignal(n) is signal.SIG_IGN}
    return {number: signal.signal(number, handler) for number in numbers if number not in ignored}


def _interrupt(_number: int, _frame: object) -> None:
    _state.requested = True
    if _state.deferred:
        _state.waiting = True
    else:
        raise KeyboardInterrupt


def requested() -> bool:
    """Whether a signal has requested the end of the program."""
    return _state.requested


def check() -> None:
    """Raise the KeyboardInterrupt of a signal again.

    The first one is lost where it falls into a destructor, or into a library that turns it into an error of its own.
    """
    if _state.requested:
        raise KeyboardInterrupt


@contextmanager
def deferred() -> Iterator[None]:
    """Let signals wait until the end of the block, for work that must not be done by halves."""
    if threading.current_thread() is not threading.main_thread():  # no other thread receives signals
        yield
        return
    _state.deferred += 1
    try:
        yield
    finally:
        _state.deferred -= 1
    if _state.waiting and not _state.deferred:
        _state.waiting = False
        raise KeyboardInterrupt


@contextmanager
def cleanup() -> Iterator[ExitStack]:
    """Yield a stack of callbacks, run at the end of the block and at the latest when the program ends.

    The end of the block alone is not enough: a signal can arrive between the steps by which Python enters or leaves a
    ``with`` statement.
    """
    stack = ExitStack()
    _unfinished.append(stack)
    try:
        yield stack
    finally:
        with deferred():
            stack.close()
            if stack in _unfinished:
                _unfinished.remove(stack)


@atexit.register
def finish() -> None:
    """Run what is left of every :func:`cleanup`."""
    _state.deferred += 1
    try:
        while _unfinished:
            _unfinished.pop().close()
    finally:
        _state.deferred -= 1
