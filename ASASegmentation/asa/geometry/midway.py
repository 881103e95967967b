"""Two scans of one head, brought to the point half-way between them, so that neither is treated otherwise.

A scan that is resampled is smoothed a little. Where only the later visit is resampled onto the earlier one, that
smoothing shows as a change; half-way, both are moved by the same amount and smoothed alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import linalg

from asa.geometry.frame import FRAME
from asa.geometry.register import Alignment
from asa.geometry.resample import resample
from asa.geometry.rigid import agreement, brain_region, register_rigid, rigid_part, upright
from asa.volume import Grid, Volume
from asa.volume.grid import Affine

AROUND_BRAIN_MM, WITHIN_BRAIN_MM = 12.0, -4.0
# The network sees 1 mm; finer voxels would add nothing to a comparison.
SIZE_MM = 1.0
# Around the brain frame, so that the head around the brain is still seen where it is there.
MARGIN_MM = 20.0


@dataclass(frozen=True, eq=False)
class Midway:
    """The space half-way between two scans; its axes are those of the brain frame, its millimetres those of the scans.

    Attributes:
        grid: of 1 mm, around the brain frame.
        to_first: 4×4, midway mm → mm of the first scan.
        to_second: 4×4, midway mm → mm of the second scan.
        alignment: where the brain frame lies in the midway space.
        agreement: how far the two scans show the same head in the same place, about 0 to 1.
        inconsistency_mm: mean distance in the brain between registering the first to the second and the reverse.
    """

    grid: Grid
    to_first: Affine
    to_second: Affine
    alignment: Alignment
    agreement: float
    inconsistency_mm: float

    @property
    def rotation_degrees(self) -> float:
        """How far the head was turned from one visit to the other."""
        turn = (self.to_second @ np.linalg.inv(self.to_first))[:3, :3]
        return float(np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))))


def find_midway(first: Volume, second: Volume, in_first: Alignment, in_second: Alignment) -> Midway:
    """Register two scans of one head with each other, in both directions, and return the point half-way.

    Exchanging the two exchanges the result: the two directions are averaged, and so are the alignments.

    Args:
        first: a scan.
        second: a scan of the same kind.
        in_first: where the brain frame lies in the first.
        in_second: where it lies in the second.
    """
    pair, places = (upright(first), upright(second)), (in_first, in_second)
    start = in_second.matrix @ np.linalg.inv(in_first.matrix)
    regions = [brain_region(place, scan.grid, AROUND_BRAIN_MM) for place, scan in zip(places, pair, strict=True)]
    forward = register_rigid(pair[0], pair[1], regions[0], [start])
    reverse = register_rigid(pair[1], pair[0], regions[1], [np.linalg.inv(start)])
    backward = np.asarray(np.linalg.inv(reverse), np.float64)
    matrix = mean_matrix(forward, backward)
    core = brain_region(in_first, pair[0].grid, WITHIN_BRAIN_MM)
    points = pair[0].grid.to_world(np.argwhere(core)[::97])
    apart = (points @ (forward - backward)[:3, :3].T) + (forward - backward)[:3, 3]

    half = halfway(matrix)
    moved = np.asarray(np.linalg.inv(half) @ in_second.matrix, np.float64)
    frame = mean_matrix(half @ in_first.matrix, moved)
    straight = rigid_part(frame, FRAME.centre)
    straightened = np.linalg.inv(straight) @ frame
    method = in_second.method if in_first.method == "affine" else in_first.method  # the worse of both
    quality = min(in_first.quality, in_second.quality)
    return Midway(
        grid=_around_frame(straightened),
        to_first=np.linalg.inv(half) @ straight,
        to_second=half @ straight,
        alignment=Alignment(straightened, method, quality),
        agreement=agreement(pair[0], pair[1], core, matrix),
        inconsistency_mm=float(np.linalg.norm(apart, axis=1).mean()) if len(points) else 0.0,
    )


def halfway(matrix: Affine) -> Affine:
    """Return the 4×4 matrix that, applied twice, is ``matrix`` (no reflection, turned by less than 180°)."""
    root: Affine = np.real(linalg.sqrtm(matrix))
    return root


def mean_matrix(first: Affine, second: Affine) -> Affine:
    """Return the 4×4 matrix half-way between two; the same for both orders."""
    mean: Affine = first @ halfway(np.linalg.inv(first) @ second)
    return mean


def _around_frame(matrix: Affine) -> Grid:
    """Return a grid of 1 mm along R, A, S around the brain frame, which ``matrix`` brings into this space."""
    corners = FRAME.corners @ matrix[:3, :3].T + matrix[:3, 3]
    low, high = corners.min(axis=0) - MARGIN_MM, corners.max(axis=0) + MARGIN_MM
    x, y, z = np.ceil((high - low) / SIZE_MM).astype(int).tolist()
    affine = np.eye(4)
    affine[:3, :3] = np.fliplr(np.eye(3)) * SIZE_MM
    affine[:3, 3] = (low + high) / 2 - (np.array([x, y, z]) - 1) / 2 * SIZE_MM
    return Grid((z, y, x), affine)


def seen_by_both(midway: Midway, scans: Sequence[Volume]) -> npt.NDArray[np.bool_]:
    """Return which voxels (T, H, W) of the midway grid lie in the field of view of the first and the second scan."""
    seen = np.ones(midway.grid.shape, bool)
    for matrix, scan in zip((midway.to_first, midway.to_second), scans, strict=True):
        whole = scan.with_array(np.ones(scan.grid.shape, np.uint8))
        seen &= resample(whole, midway.grid, 0, matrix).array > 0
    return seen
