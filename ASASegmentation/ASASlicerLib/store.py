"""Settings of the user that outlive the session."""

from __future__ import annotations

from typing import Any, Protocol


class Store(Protocol):
    """Persistent settings: the subset of QSettings that is used."""

    def value(self, key: str) -> Any:
        """Return a stored value; None if there is none."""

    def setValue(self, key: str, value: Any) -> None:
        """Store a value."""
