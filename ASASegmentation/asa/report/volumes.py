"""Volumes in mL of each label, each region and the brain, in total and by side."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from asa.files import write_json, write_text
from asa.geometry import Alignment
from asa.tasks import Task
from asa.volume import Grid, Volume


@dataclass(frozen=True)
class Measurement:
    """One row of volumes.csv.

    `kind` is "brain", "label" or "region"; `values` are the label values summed (none for the brain mask).
    `percent_of_brain` is None where the brain is not known. `asymmetry_percent` is 100 (L - R) / ((L + R) / 2), from
    -200 (all right) to 200 (all left), and None where there is nothing on either side.
    """

    name: str
    title: str
    kind: str
    values: tuple[int, ...]
    volume_ml: float
    percent_of_brain: float | None
    left_ml: float
    right_ml: float
    asymmetry_percent: float | None


def measure(labels: Volume, brain: Volume, task: Task, alignment: Alignment) -> tuple[Measurement, ...]:
    """Volumes of the brain (if the task's labels make it up), of every label and of every region, in this order.

    `labels` (T, H, W) holds label values, `brain` (T, H, W) on the same grid is non-zero inside the brain. Left and
    right are separated at the mid-plane x = 0 of the brain frame, which `alignment` carries into the scan; a voxel
    that the plane cuts counts for each side with its share.
    """
    counts = _side_counts(labels.array, labels.grid, alignment)
    inside = _side_counts((brain.array != 0).astype(np.uint8), brain.grid, alignment)[1]
    ml = labels.grid.voxel_volume_ml
    brain_ml = float(inside.sum()) * ml

    def row(name: str, title: str, kind: str, values: tuple[int, ...], sides: npt.NDArray[np.float64]) -> Measurement:
        left, right = float(sides[0]) * ml, float(sides[1]) * ml
        total = left + right
        return Measurement(
            name=name,
            title=title,
            kind=kind,
            values=values,
            volume_ml=total,
            percent_of_brain=100 * total / brain_ml if brain_ml else None,
            left_ml=left,
            right_ml=right,
            asymmetry_percent=200 * (left - right) / total if total else None,
        )

    rows = [row("brain", "Brain", "brain", (), inside)] if any(label.in_brain for label in task.labels) else []
    rows += [row(x.name, x.title, "label", (x.value,), counts[x.value]) for x in task.labels]
    rows += [row(x.name, x.title, "region", x.values, counts[list(x.values)].sum(axis=0)) for x in task.regions]
    return tuple(rows)


def _side_counts(array: npt.NDArray[np.integer], grid: Grid, alignment: Alignment) -> npt.NDArray[np.float64]:
    """Return the voxels of each value 0..255 on the left and on the right, (256, 2); background is not counted.

    A voxel is taken for a slab as thick as its own extent along the brain frame's x axis.
    """
    dt, dh, dw, origin = (np.linalg.inv(alignment.matrix) @ grid.affine)[0]
    extent = abs(dt) + abs(dh) + abs(dw)
    in_slice = dh * np.arange(grid.shape[1])[:, None] + dw * np.arange(grid.shape[2])
    counts = np.zeros((256, 2))
    for t in np.flatnonzero(array.any(axis=(1, 2))):  # slice by slice: a 0.3 mm head has 10⁸ voxels
        inside = array[t] > 0
        right = np.clip(0.5 + (origin + dt * t + in_slice[inside]) / extent, 0.0, 1.0)
        for side, share in enumerate((1 - right, right)):
            counts[:, side] += np.bincount(array[t][inside], share, minlength=256)
    return counts


def write_volumes(measurements: Sequence[Measurement], csv_path: Path, json_path: Path) -> None:
    """Write the rows as a table and as JSON; volumes to 0.001 mL, percentages to 0.01.

    Raises OutputError when a file cannot be written.
    """
    rows = [rounded(m) for m in measurements]
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({**row, "values": " ".join(map(str, row["values"]))})
    write_text(csv_path, text.getvalue())
    write_json(json_path, {"unit": "mL", "volumes": rows})


def rounded(measurement: Measurement) -> dict[str, Any]:
    """Return a measurement as it appears in files."""
    digits = {"volume_ml": 3, "left_ml": 3, "right_ml": 3, "percent_of_brain": 2, "asymmetry_percent": 2}
    row = asdict(measurement)
    for key, places in digits.items():
        if row[key] is not None:
            row[key] = round(row[key], places)
    return row
