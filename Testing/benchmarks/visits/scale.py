"""By how much the head is larger in one of two images of the half-way space, measured inside the brain.

A change of tissue hardly moves what lies deep in the brain, while a scanner whose gradients are calibrated otherwise
scales all of it; the border of a stripped brain, which differs between maskings, is left out.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import ndimage, optimize

from asa.volume import read_volume

INSIDE_MM, SMOOTH_MM, EVERY = 6, 1.0, 29


def scale_percent(folder: Path) -> dict[str, float]:
    """Scale of the second visit relative to the first, from the best match of scale, shift and turn.

    Args:
        folder: result of a comparison of T1s.

    Returns:
        Percent along the axes ("superior", "anterior", "right") and of the volume.
    """
    first, second = (
        ndimage.gaussian_filter(read_volume(folder / f"visit{n}_t1.nii.gz").array.astype(np.float32), SMOOTH_MM)
        for n in (1, 2)
    )
    brain = first > 0.2 * np.median(first[first > 0])
    points = np.argwhere(ndimage.binary_erosion(brain, iterations=INSIDE_MM))[::EVERY].astype(float)
    centre, wanted = points.mean(axis=0), ndimage.map_coordinates(first, points.T, order=1)

    def disagreement(values: np.ndarray) -> float:
        x, y, z = values[6:] / 100
        turn = np.eye(3) + np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
        moved = ((points - centre) * np.exp(values[:3] / 100)) @ turn.T + centre + values[3:6]
        return -float(np.corrcoef(wanted, ndimage.map_coordinates(second, moved.T, order=1))[0, 1])

    found = optimize.minimize(disagreement, np.zeros(9), method="Powell", options={"maxiter": 6, "ftol": 1e-8}).x[:3]
    axes = dict(zip(("superior", "anterior", "right"), (round(float(x), 2) for x in found), strict=True))
    return {**axes, "volume": round(float(found.sum()), 2)}


def label_changes(first: Path, second: Path) -> dict[str, float]:
    """Change in percent of the mean of both, of white matter and of grey and white matter in two manual label maps."""
    sizes = []
    for path in (first, second):
        labels = read_volume(path, labels=True)
        counts = {name: float((labels.array == value).sum()) for name, value in (("GM", 2), ("WM", 3))}
        sizes.append({"WM": counts["WM"], "GM and WM": counts["GM"] + counts["WM"]})
    return {
        name: round(200 * (sizes[1][name] - sizes[0][name]) / (sizes[0][name] + sizes[1][name]), 2) for name in sizes[0]
    }
