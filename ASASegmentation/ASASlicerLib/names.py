"""Names of nodes in sentences."""

from __future__ import annotations

_LONGEST = 36  # characters that fit the line of a narrow panel
_END = 12


def shortened(name: str) -> str:
    """Return a name with an ellipsis for its middle part if it is too long: a label cannot wrap it."""
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - _END - 1]}…{name[-_END:]}"
