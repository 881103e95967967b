"""Signals in plain Python, so that logic can be tested and run without Qt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Signal:
    """Calls all connected listeners, in the order of connection, with its arguments."""

    def __init__(self) -> None:
        self._listeners: list[Callable[..., Any]] = []

    def connect(self, listener: Callable[..., Any]) -> None:
        """Add a listener; the signal keeps a reference to it."""
        self._listeners.append(listener)

    def disconnect(self, listener: Callable[..., Any]) -> None:
        """Remove a listener.

        Raises:
            ValueError: it is not connected.
        """
        self._listeners.remove(listener)

    def __call__(self, *args: Any) -> None:
        for listener in list(self._listeners):
            listener(*args)
