"""State of the tab Inspect in the parameter node, saved with the scene."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import slicer

_VOLUME, _NUMBERS, _MASK = "ASA.inspect.volume", "ASA.inspect.numbers", "ASA.inspect.mask"


@dataclass(frozen=True)
class State:
    """The chosen volume, settings by name, and which patches are hidden."""

    volume: slicer.vtkMRMLScalarVolumeNode | None = None
    numbers: Mapping[str, int] = field(default_factory=dict)
    mask: str = ""


class InspectState:
    """`parameter_node` returns the module's parameter node, which changes when the scene is closed."""

    def __init__(self, parameter_node: Callable[[], Any]) -> None:
        self._node = parameter_node

    def load(self) -> State:
        """Return the stored state, with defaults for missing or invalid parts."""
        node = self._node()
        try:
            found = json.loads(node.GetParameter(_NUMBERS) or "{}")
            numbers = {str(key): int(value) for key, value in found.items()}
        except (ValueError, TypeError, AttributeError):
            numbers = {}
        return State(node.GetNodeReference(_VOLUME), numbers, node.GetParameter(_MASK) or "")

    def save(self, state: State) -> None:
        """Save the state in the scene."""
        node = self._node()
        modified = node.StartModify()
        node.SetNodeReferenceID(_VOLUME, state.volume.GetID() if state.volume is not None else None)
        node.SetParameter(_NUMBERS, json.dumps(dict(state.numbers)))
        node.SetParameter(_MASK, state.mask)
        node.EndModify(modified)
