"""One setting of a run as the engine describes it to the panel. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One setting.

    Attributes:
        key: its place, as in ``optimisation.lr``.
        type: boolean, integer, number, string, choice, integers, numbers, or object (any JSON).
        choices: of a choice. ``length``: of integers and numbers.
        minimum, maximum: smallest and largest value, or None; excluded themselves where ``open_below``, ``open_above``.
        nullable: whether nothing is a value too.
        required: whether there is no default.
        unit, help: for people.
    """

    key: str
    type: str
    choices: tuple[str, ...] = ()
    length: int = 0
    minimum: float | None = None
    maximum: float | None = None
    open_below: bool = False
    open_above: bool = False
    nullable: bool = False
    required: bool = False
    unit: str = ""
    help: str = ""
