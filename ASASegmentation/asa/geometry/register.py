"""Affine alignment of a head to the brain frame."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Literal
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from asa import doubts
from asa.geometry.atlas import atlas_level
from asa.geometry.fit import CENTRE, FULL, RIGID, SCALES, STRAIN_MEAN, Fit, ScanLevel, strain
from asa.geometry.orientation import Turn, about, find_turn, turned
from asa.geometry.resample import coarsen
from asa.geometry.search import Foreground, estimate, starts
from asa.volume import Volume
from asa.volume.grid import Affine

# The scan is worked on in voxels of up to this size: finer ones move an affine fit by less than they cost.
WORKING_MM = 3.0
# Every sixth voxel of the atlas finds which way up the head lies.
TURNS = (6, 8.0, np.inf)
# Every third, second, single voxel of the atlas; blur (standard deviation) and rim around the brain in mm. The whole
# head leads to the right pose; then only what is near the brain counts, and of the rest how the skull lies on it.
COARSE, MIDDLE, FINE = (3, 6.0, np.inf), (2, 4.0, 20.0), (1, 2.5, 9.0)
# Weight of the prior on size where size itself is asked for, and scales along R, A, S to begin with.
LOOSE = 0.05
SIZES = [np.ones(3), np.full(3, 0.62), np.full(3, 1.6)]
SIZES += [np.where(np.arange(3) == axis, factor, 1.0) for axis in range(3) for factor in (0.65, 1.55)]
KEPT_AFTER_SEARCH, KEPT_AFTER_RIGID = 10, 5
# Scales per axis and rotation (degrees) beyond which no head lies in a scanner.
MIN_SCALE, MAX_SCALE, MAX_ROTATION = 0.7, 1.5, 75.0
# Correlation ratio with the atlas: below the first the fit is not believed, below the second it is doubted.
MIN_QUALITY, DOUBTED_QUALITY = 0.2, 0.4
MIN_SEEN = 0.95


@dataclass(frozen=True, eq=False)
class Alignment:
    """Where the brain frame lies in a scan.

    matrix: 4×4, brain-frame mm → scan mm (RAS+).
    method: "affine" (registered), "estimate" (mid-sagittal plane and outline only), "identity" (not aligned).
    quality: 0…1, the part of the variance of the scan's grey levels, in and around the brain, that the atlas explains.
    warnings: sentences for the user.
    turn: 3×3, by right angles, how the head lies with respect to its header; the identity where that is right.
    """

    matrix: Affine
    method: Literal["affine", "estimate", "identity"]
    quality: float
    warnings: tuple[str, ...] = ()
    turn: Turn = field(default_factory=lambda: np.eye(3))

    @property
    def volume_scale(self) -> float:
        """Volume in the scan of a unit of volume of the brain frame."""
        return abs(float(np.linalg.det(self.matrix[:3, :3])))

    @property
    def is_turned(self) -> bool:
        """Whether the head lies otherwise than its header says."""
        return not np.array_equal(self.turn, np.eye(3))

    @property
    def turned_about_long_axis(self) -> bool:
        """Whether it is turned about the inferior-superior axis alone, as that of a patient on a side or face down."""
        return self.is_turned and self.turn[2, 2] == 1


def align_to_frame(volume: Volume, *, stripped: bool | None = None) -> Alignment:
    """Aligns a whole head, or a brain without one, of any MR contrast with the brain frame.

    volume: a scan. Its origin, turns by right angles and the head's tilt (up to about 50° forwards and back, 30°
        sideways) do not matter.
    stripped: whether tissue outside the brain was removed; None: found out from the scan.

    Returns an affine fit (12 degrees of freedom), or where that is not plausible the estimate, with a warning. The
    same scan gives the same matrix, and a mirrored scan the mirrored one.
    """
    scan = working_copy(volume)
    foreground = Foreground.of(scan, stripped)
    coarse, middle = _levels(scan, foreground)
    turn = find_turn(foreground, _fit(scan, TURNS, foreground), coarse, middle)
    if np.array_equal(turn, np.eye(3)):
        return _align(scan, foreground, coarse, middle)
    to_upright = about(scan.grid.centre, turn.T)
    upright = turned(scan, to_upright)
    foreground = Foreground.of(upright, foreground.stripped)
    found = _align(upright, foreground, *_levels(upright, foreground))
    return replace(found, matrix=np.linalg.inv(to_upright) @ found.matrix, turn=turn)


def _align(scan: Volume, foreground: Foreground, coarse: Fit, middle: Fit) -> Alignment:
    """Align a working copy whose head is roughly upright."""
    fine = _fit(scan, FINE, foreground)
    matrix, _ = fine.improve(_rough(foreground, coarse, middle), FULL, 10)
    quality = fine.explained(matrix)
    if not _plausible(matrix) or quality < MIN_QUALITY:
        matrix = estimate(scan, foreground)
        return Alignment(matrix, "estimate", fine.explained(matrix), (doubts.estimated_position(),))
    warnings = []
    if quality < DOUBTED_QUALITY:
        warnings.append(doubts.uncertain_alignment(quality))
    if (seen := fine.seen(matrix)) < MIN_SEEN:
        warnings.append(doubts.cut_off(1 - seen))
    return Alignment(matrix, "affine", quality, tuple(warnings))


def working_copy(volume: Volume) -> Volume:
    """A small float32 copy whose grey levels begin at 0 (background) and end at 1 (brightest but for a few voxels).

    It is kept as long as the scan, since the alignment and several checks look at it.
    """
    if (known := _working_copies.get(volume)) is not None:
        return known
    small = coarsen(volume, WORKING_MM)
    low, high = np.percentile(small.array, (1, 99.5))
    copy = small.with_array(np.clip((small.array - low) / max(high - low, 1e-12), 0, 1).astype(np.float32))
    _working_copies[volume] = copy
    return copy


_working_copies: WeakKeyDictionary[Volume, Volume] = WeakKeyDictionary()


def size_deviation(volume: Volume, alignment: Alignment) -> npt.NDArray[np.float64]:
    """How far the size of a head is from that of most adults: natural logarithm of the ratio along R, A, S, (3,).

    The alignment itself is held close to the usual size. Here the scales are nearly free, and tried from other sizes
    too, so that a wrong voxel size in the header shows.
    """
    scan = working_copy(volume)
    foreground = Foreground.of(scan, None)
    free = _fit(scan, TURNS, foreground, tightness=LOOSE)
    tried = []
    for factors in SIZES:
        matrix = alignment.matrix.copy()
        matrix[:3, :3] = matrix[:3, :3] * factors
        matrix[:3, 3] += (alignment.matrix[:3, :3] - matrix[:3, :3]) @ CENTRE
        tried.append(free.improve(matrix, SCALES, 15))
    best = min(tried, key=lambda found: found[1])[0]
    deviation: npt.NDArray[np.float64] = np.diag(strain(best)) - STRAIN_MEAN
    return deviation


def _fit(scan: Volume, level: tuple[int, float, float], foreground: Foreground, tightness: float = 1.0) -> Fit:
    step, blur, rim = level
    beyond = 0.0 if foreground.stripped and not foreground.cut else None
    atlas = atlas_level(step, blur, rim, stripped=foreground.stripped)
    return Fit(ScanLevel.of(scan, blur, beyond), atlas, shaded=level not in (TURNS, COARSE), tightness=tightness)


def _levels(scan: Volume, foreground: Foreground) -> tuple[Fit, Fit]:
    """Fits at the coarse and the middle level."""
    return _fit(scan, COARSE, foreground), _fit(scan, MIDDLE, foreground)


def _rough(foreground: Foreground, coarse: Fit, middle: Fit) -> Affine:
    """Coarse search over poses, then rigid fits from the best of them, then closer fits from the best of those."""
    with ThreadPoolExecutor(2) as pool:  # each fit by itself, so that the result is the same
        begun = starts(foreground)
        costs = list(pool.map(coarse.cost, begun))
        poses = [begun[n] for n in sorted(range(len(begun)), key=costs.__getitem__)[:KEPT_AFTER_SEARCH]]
        moved = sorted(pool.map(lambda pose: coarse.improve(pose, RIGID, 10), poses), key=lambda found: found[1])
        closer = [matrix for matrix, _ in moved[:KEPT_AFTER_RIGID]]
        scaled = list(pool.map(lambda matrix: middle.improve(matrix, SCALES, 12), closer))
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
