"""Signals that are plain Python: no Qt, so that logic can be tested and run without it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Signal:
    """Calls whoever is connected, in the order of connecting, with the arguments it is called with."""

    def __init__(self) -> None:
        self._listeners: list[Callable[..., Any]] = []

    def connect(self, listener: Callable[..., Any]) -> None:
        """Adds a listener; it is kept alive."""
        self._listeners.append(listener)

    def disconnect(self, listener: Callable[..., Any]) -> None:
        """Removes a listener. Raises ValueError when it was not connected."""
        self._listeners.remove(listener)

    def __call__(self, *args: Any) -> None:
        for listener in list(self._listeners):
            listener(*args)
