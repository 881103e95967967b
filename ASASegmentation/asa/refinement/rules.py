"""Which label a voxel takes when a mark changes its membership of a segment, and which changes are forbidden.

Labels are the values of the task's label map, 0 the background. A set of labels is a bit mask: bit ``v`` stands for
value ``v``. Nesting and disjointness hold by construction, because all segments are unions of labels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from asa.errors import InputError
from asa.tasks import Task

Bits = np.uint16


@dataclass(frozen=True)
class Segment:
    """A region or label of a task.

    Attributes:
        name: as the task names it.
        values: label values that make it up.
    """

    name: str
    values: frozenset[int]

    @property
    def bits(self) -> int:
        """The values as a bit mask."""
        return sum(1 << value for value in self.values)


class Rules:
    """What the segments of a task, and locks on some of them, allow."""

    def __init__(self, task: Task, locked: Iterable[str] = ()) -> None:
        """See the class.

        Args:
            task: names, values and nesting of the segments.
            locked: names of segments whose voxels must stay as they are.

        Raises:
            InputError: a locked segment does not exist.
        """
        self.task = task
        self.values = (0, *(label.value for label in task.labels))
        #: bits of all values
        self.everything = sum(1 << value for value in self.values)
        found = [Segment(label.name, frozenset({label.value})) for label in task.labels]
        found += [Segment(region.name, frozenset(region.values)) for region in task.regions]
        self._segments = {segment.name: segment for segment in found}
        self.locked = tuple(self.segment(name, "The list of locked segments") for name in locked)
        size = max(self.values) + 1
        #: [old value, new value]: whether no locked segment gains or loses a voxel
        self.permitted: npt.NDArray[np.bool_] = np.ones((size, size), bool)
        for segment in self.locked:
            member = np.isin(np.arange(size), list(segment.values))
            self.permitted &= member[:, None] == member[None, :]

    def segment(self, name: str, where: str) -> Segment:
        """Return a segment by name.

        Raises:
            InputError: there is none; ``where`` says who asked.
        """
        if name not in self._segments:
            known = ", ".join(self._segments)
            raise InputError(f"{where} names the segment '{name}'; task '{self.task.name}' has {known}.")
        return self._segments[name]

    def member(self, labels: npt.NDArray[np.uint8], segment: Segment) -> npt.NDArray[np.bool_]:
        """Return the voxels of a segment in a label map."""
        table = np.zeros(256, bool)
        table[list(segment.values)] = True
        inside: npt.NDArray[np.bool_] = table[labels]
        return inside

    def targets(self, segment: Segment, *, adds: bool) -> tuple[int, ...]:
        """Return the values that a voxel may take when it enters or leaves a segment.

        In a task of nested regions it enters the outermost ring of the region, and leaves into the ring around it.
        """
        regions = [frozenset(region.values) for region in self.task.regions] if self.task.nested else []
        if segment.values in regions:
            place = regions.index(segment.values)
            outer = regions[place - 1] if place else frozenset({0}) | segment.values
            inner = regions[place + 1] if place + 1 < len(regions) else frozenset()
            return tuple(sorted(segment.values - inner if adds else outer - segment.values))
        return tuple(sorted(segment.values if adds else frozenset(self.values) - segment.values))
