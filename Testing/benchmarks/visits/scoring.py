"""New and gone lesions of a comparison against the differences of manual masks."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from asa.files import read_json
from asa.geometry import resample
from asa.jobs.compare import LESION_MAP, LESIONS
from asa.jobs.result_folder import REPORT
from asa.volume import read_volume

_NEIGHBOURS = ndimage.generate_binary_structure(3, 3)
# A lesion of the reference counts from this volume on: three voxels of 1 mm are not told from a shifted outline.
LEAST_MM3 = 3.0


def score_visits(folder: Path, masks: Sequence[Path]) -> dict[str, Any]:
    """Precision, recall and F1 of new and gone lesions, found where they touch one of the reference.

    A lesion of the reference is new if no voxel of it, nor one next to it, is in the mask of the earlier visit. Those
    that the model labels at all, whatever they are called, are counted too: more cannot be detected.

    Args:
        folder: result of a comparison.
        masks: manual lesions at the first and the second visit, each on the grid of its images.
    """
    numbers = read_volume(folder / LESION_MAP, labels=True)
    matrices = [np.array(read_json(folder / REPORT)["registration"][f"midway_to_visit{n}"]) for n in (1, 2)]
    moved = []
    for path, matrix in zip(masks, matrices, strict=True):
        mask = read_volume(path, labels=True)
        soft = resample(mask.with_array((mask.array > 0).astype(np.float32)), numbers.grid, 1, matrix)
        moved.append(soft.array > 0.5)
    states = read_states(folder)
    scores: dict[str, Any] = {}
    for state, there, before in (("new", 1, 0), ("gone", 0, 1)):
        reference = appeared(moved[there], moved[before], numbers.grid.voxel_volume_ml * 1000)
        found = [number for number, one in states.items() if one == state]
        labels = read_volume(folder / f"visit{there + 1}_labels.nii.gz", labels=True).array > 0
        scores[state] = counted(reference, int(reference.max()), numbers.array, found, labels)
    return scores


def read_states(folder: Path) -> dict[int, str]:
    """Return the number of each lesion of a comparison with its state."""
    with (folder / LESIONS).open(encoding="utf-8", newline="") as stream:
        return {int(row["number"]): row["state"] for row in csv.DictReader(stream)}


def counted(
    reference: np.ndarray, count: int, numbers: np.ndarray, found: Sequence[int], labels: np.ndarray
) -> dict[str, Any]:
    """Count the lesions found that touch one of the reference, and those of the reference that are found.

    Args:
        reference: lesions (T, H, W) numbered from 1 to ``count``.
        count: how many they are.
        numbers: lesions of the comparison by number.
        found: numbers of those that count as detections.
        labels: where the model labels a lesion at the visit that shows it.
    """
    hits = sum(bool((reference[numbers == number] > 0).any()) for number in found)
    shown = np.isin(numbers, found)
    seen = sum(bool(shown[reference == number].any()) for number in range(1, count + 1))
    total = len(found) + count
    return {
        "reference": count,
        "labelled": sum(bool(labels[reference == number].any()) for number in range(1, count + 1)),
        "found": len(found),
        "right": hits,
        "detected": seen,
        "precision": hits / len(found) if found else None,
        "recall": seen / count if count else None,
        "f1": (hits + seen) / total if total else None,
    }


def appeared(mask: np.ndarray, before: np.ndarray, voxel_mm3: float) -> np.ndarray:
    """Return the components (T, H, W), numbered, of a mask that neither overlap nor touch the mask before."""
    parts, count = ndimage.label(mask, structure=_NEIGHBOURS)
    near = ndimage.binary_dilation(before, structure=_NEIGHBOURS)
    kept = 0
    found = np.zeros(parts.shape, np.int32)
    for number in range(1, count + 1):
        voxels = parts == number
        if not near[voxels].any() and voxels.sum() * voxel_mm3 >= LEAST_MM3:
            kept += 1
            found[voxels] = kept
    return found
