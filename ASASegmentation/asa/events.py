"""Events that a program of the engine sends to the panel that started it: one JSON object per line of standard output.

Both sides read and write them here. All other output of a program is its log. Standard library only.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Stages of a segmentation, and a rough fraction of its time that has passed when each begins. The panel learns how
# long they take on its computer.
STAGES = {"reading": 0.0, "aligning": 0.05, "network": 0.45, "labelling": 0.8, "done": 1.0}
SEGMENTING = 0.92  # fraction of a job's time that these stages take; the rest is writing
FLAG = "--events"  # anywhere on the line of a plain command: a failure is an event too


@dataclass(frozen=True)
class Progress:
    """How far a program is.

    Attributes:
        stage: what it does, in the engine's words.
        fraction: 0 to 1.
        remaining_s: seconds to the end; None while unknown.
    """

    stage: str
    fraction: float
    remaining_s: float | None = None


@dataclass(frozen=True)
class Warned:
    """Something the user should know of a result that there is nevertheless."""

    message: str


@dataclass(frozen=True)
class Failed:
    """A program gives up; it leaves with ``exit_code``."""

    message: str
    exit_code: int


@dataclass(frozen=True)
class Reported:
    """An event that only some programs have.

    Attributes:
        name: done, found or inspected.
        values: what it says, by name.
    """

    name: str
    values: Mapping[str, Any]


Event = Progress | Warned | Failed | Reported
_NAMES: dict[str, type[Progress] | type[Warned] | type[Failed]] = {
    "progress": Progress,
    "warning": Warned,
    "error": Failed,
}


def to_line(event: Event) -> str:
    """The line, without its end, that says an event."""
    if isinstance(event, Reported):
        return json.dumps({"event": event.name, **event.values})
    name = next(name for name, kind in _NAMES.items() if isinstance(event, kind))
    return json.dumps({"event": name, **dataclasses.asdict(event)})


def from_line(line: str) -> Event | None:
    """The event that a line says; None where it says none, as the lines of a log do.

    Fields that this version does not know are left out.
    """
    try:
        values = json.loads(line)
        name = values.pop("event")
        if (kind := _NAMES.get(name)) is None:
            return Reported(str(name), values)
        return kind(**{one.name: values[one.name] for one in dataclasses.fields(kind) if one.name in values})
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def part_of_stage(progress: Progress) -> float:
    """Return how much of its stage of a segmentation a job has done.

    Returns:
        0 to 1; 0 for a stage without fractions of its own.
    """
    names = list(STAGES)
    if progress.stage not in names[:-1]:
        return 0.0
    begin, end = STAGES[progress.stage], STAGES[names[names.index(progress.stage) + 1]]
    return min(1.0, max(0.0, (progress.fraction / SEGMENTING - begin) / (end - begin)))
