"""The change between two visits as a label map: the change of lesions; where tissue was lost and gained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from asa.longitudinal.lesions import STATES, LesionChange
from asa.longitudinal.picture import STATE_COLOURS
from asa.tasks import Colour

# A voxel counts as lost or gained if more of it changed than stayed.
CHANGED = 0.5
_LOST, _GAINED = (86, 180, 233), (213, 94, 0)

Overlay = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Part:
    """One value of the label map.

    Attributes:
        value: in the map.
        name: a key.
        title: in words.
        colour: red, green, blue in 0..255.
        volume_ml: of its voxels.
    """

    value: int
    name: str
    title: str
    colour: Colour
    volume_ml: float


def lesion_overlay(
    lesions: Sequence[LesionChange], numbers: npt.NDArray[np.integer], voxel_ml: float
) -> tuple[Overlay, list[Part]]:
    """Return the change of each lesion as a label map (T, H, W), and its values.

    Args:
        lesions: the change of each.
        numbers: label map (T, H, W) of their numbers.
        voxel_ml: volume of a voxel in mL.
    """
    state_of = np.zeros(int(numbers.max()) + 1, np.uint8)
    for lesion in lesions:
        state_of[lesion.number] = 1 + STATES.index(lesion.state)
    found: Overlay = state_of[numbers]
    named = [(state, f"{state.capitalize()} lesions", STATE_COLOURS[state]) for state in STATES]
    return found, _parts(found, named, voxel_ml)


def tissue_overlay(
    first: npt.NDArray[np.floating], second: npt.NDArray[np.floating], title: str, voxel_ml: float
) -> tuple[Overlay, list[Part]]:
    """Return where something was lost (1) and gained (2) as a label map (T, H, W), and these values.

    Args:
        first: its probability (T, H, W) at the first visit.
        second: its probability at the second visit.
        title: what it is.
        voxel_ml: volume of a voxel in mL.
    """
    change = second - first
    found = np.zeros(change.shape, np.uint8)
    found[change < -CHANGED], found[change > CHANGED] = 1, 2
    named = [("lost", f"{title} lost", _LOST), ("gained", f"{title} gained", _GAINED)]
    return found, _parts(found, named, voxel_ml)


def _parts(found: Overlay, named: Sequence[tuple[str, str, Colour]], voxel_ml: float) -> list[Part]:
    counts = np.bincount(found.ravel(), minlength=len(named) + 1)
    return [
        Part(value, name, title, colour, round(float(counts[value]) * voxel_ml, 4))
        for value, (name, title, colour) in enumerate(named, start=1)
    ]
