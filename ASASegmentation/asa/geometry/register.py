"""Affine alignment of a head to the brain frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from asa.geometry.atlas import atlas_level
from asa.geometry.fit import FULL, RIGID, SCALES, Fit, ScanLevel, strain
from asa.geometry.resample import coarsen
from asa.geometry.search import Foreground, estimate, starts
from asa.volume import Volume
from asa.volume.grid import Affine

# The scan is worked on in voxels of up to this size: finer ones move an affine fit by less than they cost.
WORKING_MM = 3.0
# Every third, second, single voxel of the atlas; blur (standard deviation) and rim around the brain in mm. The whole
# head leads to the right pose; then only what is near the brain counts, and of the rest how the skull lies on it.
COARSE, MIDDLE, FINE = (3, 6.0, np.inf), (2, 4.0, 20.0), (1, 2.5, 9.0)
KEPT_AFTER_SEARCH, KEPT_AFTER_RIGID = 10, 5
# Scales per axis and rotation (degrees) beyond which no head lies in a scanner.
MIN_SCALE, MAX_SCALE, MAX_ROTATION = 0.7, 1.5, 75.0
# Correlation ratio with the atlas: below the first the fit is not believed, below the second it is doubted.
MIN_QUALITY, DOUBTED_QUALITY = 0.2, 0.4
MIN_SEEN = 0.95
# Of a stripped scan, at least this part is exactly zero.
EMPTY_AROUND_BRAIN = 0.2


@dataclass(frozen=True, eq=False)
class Alignment:
    """Where the brain frame lies in a scan.

    matrix: 4×4, brain-frame mm → scan mm (RAS+).
    method: "affine" (registered), "estimate" (mid-sagittal plane and outline only), "identity" (not aligned).
    quality: 0…1, the part of the variance of the scan's grey levels, in and around the brain, that the atlas explains.
    warnings: sentences for the user.
    """

    matrix: Affine
    method: Literal["affine", "estimate", "identity"]
    quality: float
    warnings: tuple[str, ...] = ()


def align_to_frame(volume: Volume, *, stripped: bool | None = None) -> Alignment:
    """Aligns a whole head, or a brain without one, of any MR contrast with the brain frame.

    volume: a scan; its affine must say roughly which way is up, its origin and the head's tilt (up to about 50°
        forwards and back, 30° sideways) do not matter.
    stripped: whether tissue outside the brain was removed; None: found out from the scan.

    Returns an affine fit (12 degrees of freedom), or where that is not plausible the estimate, with a warning. The
    same scan gives the same matrix, and a mirrored scan the mirrored one.
    """
    scan = working_copy(volume)
    foreground = Foreground.of(scan, stripped)
    fine = _fit(scan, FINE, foreground)
    matrix, _ = fine.improve(_rough(scan, foreground), FULL, 10)
    quality = fine.explained(matrix)
    if not _plausible(matrix) or quality < MIN_QUALITY:
        matrix = estimate(scan, foreground)
        return Alignment(matrix, "estimate", fine.explained(matrix), (ESTIMATED,))
    warnings = []
    if quality < DOUBTED_QUALITY:
        warnings.append(f"The alignment with the template is uncertain (quality {quality:.2f}); check the result.")
    if (seen := fine.seen(matrix)) < MIN_SEEN:
        warnings.append(f"About {1 - seen:.0%} of the brain and its rim lies outside the field of view.")
    return Alignment(matrix, "affine", quality, tuple(warnings))


def is_stripped(volume: Volume) -> bool:
    """Return whether a scan shows a brain without the head around it: small, and in nothing but zeros."""
    empty = float(np.mean(volume.array == 0)) > EMPTY_AROUND_BRAIN
    return empty and Foreground.of(working_copy(volume), None).stripped


ESTIMATED = (
    "The head could not be registered to the template; its position was only estimated from its mid-sagittal plane "
    "and its outline, so check the result."
)


def working_copy(volume: Volume) -> Volume:
    """A small float32 copy whose grey levels begin at 0 (background) and end at 1 (brightest but for a few voxels)."""
    small = coarsen(volume, WORKING_MM)
    low, high = np.percentile(small.array, (1, 99.5))
    return small.with_array(np.clip((small.array - low) / max(high - low, 1e-12), 0, 1).astype(np.float32))


def _fit(scan: Volume, level: tuple[int, float, float], foreground: Foreground) -> Fit:
    step, blur, rim = level
    beyond = 0.0 if foreground.stripped and not foreground.cut else None
    atlas = atlas_level(step, blur, rim, stripped=foreground.stripped)
    return Fit(ScanLevel.of(scan, blur, beyond), atlas, shaded=level != COARSE)


def _rough(scan: Volume, foreground: Foreground) -> Affine:
    """Coarse search over poses, then rigid fits from the best of them, then closer fits from the best of those."""
    coarse, middle = _fit(scan, COARSE, foreground), _fit(scan, MIDDLE, foreground)
    poses = sorted(starts(foreground), key=coarse.cost)[:KEPT_AFTER_SEARCH]
    moved = sorted((coarse.improve(pose, RIGID, 10) for pose in poses), key=lambda found: found[1])
    scaled = [middle.improve(matrix, SCALES, 12) for matrix, _ in moved[:KEPT_AFTER_RIGID]]
    best = min(scaled, key=lambda found: found[1])[0]
    return middle.improve(best, FULL, 10)[0]


def _plausible(matrix: Affine) -> bool:
    """Return whether a head can lie like this: no reflection, scales and rotation within bounds."""
    linear = matrix[:3, :3]
    if np.linalg.det(linear) <= 0:
        return False
    scales = np.exp(np.linalg.eigvalsh(strain(matrix)))
    u, _, vh = np.linalg.svd(linear)
    angle = np.degrees(np.arccos(np.clip((np.trace(u @ vh) - 1) / 2, -1, 1)))
    return bool(scales.min() >= MIN_SCALE and scales.max() <= MAX_SCALE and angle <= MAX_ROTATION)
