"""Changes of lesions against a manual mask of changes: the two patients on which the rules for lesions were chosen.

Each has two visits of raw whole heads in slices of 3 to 4 mm, and one mask of what changed, in a space of its own with
the transforms to the FLAIR of both visits. Which visit shows a change is not marked; a change of the reference counts
as a new or enlarging lesion where the later FLAIR is brighter there, and otherwise as one that shrinks or is gone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage
from Testing.benchmarks.visits.scoring import LEAST_MM3, counted, read_states

from asa.files import read_json
from asa.geometry import resample
from asa.jobs.compare import LESION_MAP, VISITS
from asa.jobs.result_folder import REPORT
from asa.longitudinal.lesions import brightness
from asa.volume import Grid, read_volume

# The first visit of patient 03 has no T1.
PATIENTS = {"open_ms_01": {"flair": "FLAIR", "t1": "T1W"}, "open_ms_03": {"flair": "FLAIR"}}
_TO_VISIT = "study{}_FLAIR_to_common_space.txt"  # so they are called; they map points of the common space to the visit
MASK, BRAIN = "gt.nii.gz", "brainmask.nii.gz"
GAINED, LOST = ("new", "enlarging"), ("gone", "shrinking")
_NEIGHBOURS = ndimage.generate_binary_structure(3, 3)


def visit_images(patient: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Images of both visits of a patient by modality."""
    first, second = (
        {key: patient / f"study{visit}_{name}.nii.gz" for key, name in PATIENTS[patient.name].items()}
        for visit in (1, 2)
    )
    return first, second


def read_transform(path: Path) -> np.ndarray:
    """Return an ITK text transform (LPS, with a centre) as 4×4 in RAS mm."""
    lines = dict(line.split(":", 1) for line in path.read_text(encoding="ascii").splitlines() if ":" in line)
    values = np.array(lines["Parameters"].split(), float)
    centre = np.array(lines["FixedParameters"].split(), float)
    lps = np.eye(4)
    lps[:3, :3] = values[:9].reshape(3, 3)
    lps[:3, 3] = values[9:] + centre - lps[:3, :3] @ centre
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    return np.asarray(flip @ lps @ flip)


def score_changes(folder: Path, patient: Path) -> dict[str, Any]:
    """Precision, recall and F1 of lesions that came or grew, and of those that went or shrank.

    Args:
        folder: result of a comparison.
        patient: folder of the two visits, with the mask and the transforms.
    """
    numbers = read_volume(folder / LESION_MAP, labels=True)
    registration = read_json(folder / REPORT)["registration"]
    changed, brain = (_at_midway(patient / name, patient, registration, numbers.grid) for name in (MASK, BRAIN))
    parts, count = ndimage.label(changed, structure=_NEIGHBOURS)
    images = [brightness(read_volume(folder / f"{visit}_flair.nii.gz").array, brain) for visit in VISITS]
    later = images[1] - images[0]
    labels = [read_volume(folder / f"{visit}_labels.nii.gz", labels=True).array > 0 for visit in VISITS]
    every = range(1, count + 1)
    gained = np.zeros(count + 1, bool)
    large = np.zeros(count + 1, bool)
    gained[1:] = ndimage.mean(later, parts, every) > 0
    large[1:] = ndimage.sum_labels(parts > 0, parts, every) * numbers.grid.voxel_volume_ml * 1000 >= LEAST_MM3
    states = read_states(folder)
    scores = {}
    for name, which, wanted in (("gained", GAINED, gained & large), ("lost", LOST, ~gained & large)):
        reference, kept = ndimage.label(wanted[parts], structure=_NEIGHBOURS)
        found = [number for number, state in states.items() if state in which]
        shown = labels[1 if name == "gained" else 0]
        scores[name] = counted(reference, kept, numbers.array, found, shown)
    return scores


def _at_midway(path: Path, patient: Path, registration: dict[str, Any], grid: Grid) -> np.ndarray:
    """Return a mask of the common space half-way between the visits, as the transforms to both place it there."""
    mask = read_volume(path, labels=True)
    soft = np.zeros(grid.shape, np.float32)
    for visit in (1, 2):
        from_common = read_transform(patient / _TO_VISIT.format(visit))
        matrix = np.linalg.inv(from_common) @ np.array(registration[f"midway_to_visit{visit}"])
        soft += resample(mask.with_array((mask.array > 0).astype(np.float32)), grid, 1, matrix).array / 2
    return np.asarray(soft > 0.5)
