"""Volume table of a segmentation with segments that the user edited or removed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from asa.tasks import Task
from ASASegmentationLib.segments.edits import Voxels

# Measurements other than the volume; the sides of the brain are only known to the engine.
_UNKNOWN = ("percent_of_brain", "left_ml", "right_ml", "asymmetry_percent")


def retained_rows(
    rows: Iterable[Mapping[str, Any]], task: Task, kept: Mapping[str, Voxels | None]
) -> list[Mapping[str, Any]]:
    """Return the rows of `volumes.json` that remain valid, with the volumes of the user's own segments.

    Such a segment gets its own volume, a removed one loses its row. Sums that include it are dropped, because they
    were computed from the engine's result.

    Args:
        rows: Rows of `volumes.json`.
        task: Task of the segmentation.
        kept: Segment id -> voxels, None for segments that the user removed.
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
