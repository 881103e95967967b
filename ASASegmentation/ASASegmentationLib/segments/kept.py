"""The table of volumes where an update left segments as the user had them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from asa.tasks import Task
from ASASegmentationLib.segments.edits import Voxels

# What is told of a structure but its volume; where its sides are is not known without the engine.
_UNKNOWN = ("percent_of_brain", "left_ml", "right_ml", "asymmetry_percent")


def rows_with_kept(
    rows: Iterable[Mapping[str, Any]], task: Task, kept: Mapping[str, Voxels | None]
) -> list[Mapping[str, Any]]:
    """Rows of `volumes.json` that are true of a segmentation in which segments were kept.

    `kept`: id of a segment -> its voxels, None where the user removed it. Its row has its own volume, or goes; sums
    that it is part of go too, because the engine has summed what it found itself.
    """
    values = {label.value for label in task.labels if label.name in kept}
    in_brain = any(label.in_brain for label in task.labels if label.name in kept)
    found: list[Mapping[str, Any]] = []
    for row in rows:
        if row["name"] in kept:
            voxels = kept[row["name"]]
            if voxels is not None:
                found.append({**row, "volume_ml": _millilitres(voxels), **dict.fromkeys(_UNKNOWN)})
        elif not (values & set(row["values"]) or (row["kind"] == "brain" and in_brain)):
            found.append(row)
    return found


def _millilitres(voxels: Voxels) -> float:
    return float(voxels.mask.sum()) * abs(float(np.linalg.det(voxels.ijk_to_ras[:3, :3]))) / 1000
