"""Plausibility of a result: is what was found a whole brain, of a usual size, where the registration puts it?

Limits lie well outside the range measured on six scans of the training data; none was chosen on an evaluation scan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from asa import doubts
from asa.geometry import FRAME, Alignment, resample, template_brain, template_overlap, template_white_matter
from asa.inference.series import Series
from asa.tasks import Task
from asa.volume import Grid, Volume
from asa.volume.checks import THICK_SLICE_MM

Map = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

# Every so many voxels of the brain frame are looked at along each axis: a brain still has 180,000 of them.
STEP = 2
_THIN = (slice(None, None, STEP),) * 3
_THIN_FRAME = Grid((80, 96, 80), FRAME.affine @ np.diag([STEP, STEP, STEP, 1]))
# Dice of the brain that was found with the template's.
BRAIN_SHAPE = 0.8
# Volume of the brain in mL (measured: 970 to 1450), its extent in mm from left to right (107 to 116), back to front
# (138 to 153) and bottom to top (98 to 116), the ventricles as a share of it (0.010 to 0.018), grey matter over white
# matter (1.3 to 1.9), the difference of the halves over their mean (at most 0.03), and the share of the template's deep
# white matter that is labelled as white matter (0.91 to 0.96).
BRAIN_ML = (700.0, 1900.0)
EXTENT_MM = ((95.0, 160.0), (125.0, 195.0), (80.0, 150.0))
TAIL = 0.01
VENTRICLES = 0.12
GREY_PER_WHITE = (0.7, 2.6)
UNEVEN = 0.12
WHITE_MATTER = 0.75
# A hole in the brain: darker than this share of white matter, and at least so far (mm) from the brain's rim. From the
# first volume in one piece (measured: 2.2 mL at most) it is mentioned, from the second the result is doubtful.
DARK, RIM_MM, HOLE_NOTED_ML, HOLE_DOUBTED_ML = 0.08, 8.0, 5.0, 20.0
# Opposite faces of the field of view: share of tissue on both, and how alike they are compared with neighbouring
# slices, where the head wraps around.
ON_BOTH_FACES, AS_ALIKE = 0.05, 0.8


@dataclass(frozen=True)
class Anatomy:
    """What a segmentation of tissue says of the brain.

    Attributes:
        brain_ml: grey matter, white matter and ventricles in mL.
        extent_mm: how far they reach from left to right, from back to front and from bottom to top, but for a hundredth
            of their volume at either end.
        ventricles: share of the brain.
        grey_per_white: volume of grey matter over that of white matter.
        uneven: volume of the left half less that of the right over their mean.
        overlap: Dice of the brain with sulcal CSF and the template's.
        white_matter: share of the template's deep white matter that is labelled as white matter.
    """

    brain_ml: float
    extent_mm: tuple[float, float, float]
    ventricles: float
    grey_per_white: float
    uneven: float
    overlap: float
    white_matter: float

    @staticmethod
    def of(posterior: Map, task: Task, alignment: Alignment) -> Anatomy:
        """Measure a posterior.

        Args:
            posterior: (K, T, H, W) of background and the labels of the task, in the brain frame.
            task: one that labels grey matter, white matter and ventricles.
            alignment: where the brain frame lies in the scan.
        """
        number = {label.name: place for place, label in enumerate(task.labels, start=1)}
        labels = posterior[(slice(None), *_THIN)].argmax(axis=0)
        inside = np.isin(labels, [place for place, label in enumerate(task.labels, start=1) if label.in_brain])
        brain, grey, white, ventricles = (
            float(np.count_nonzero(mask))
            for mask in (inside, *(labels == number[name] for name in ("GM", "WM", "ventricles")))
        )
        middle = labels.shape[2] // 2
        left, right = (float(np.count_nonzero(half)) for half in (inside[..., :middle], inside[..., middle:]))
        _, deep = _deep_places()
        return Anatomy(
            brain_ml=brain * _THIN_FRAME.voxel_volume_ml * alignment.volume_scale,
            extent_mm=_extent(inside, alignment),
            ventricles=ventricles / max(brain, 1),
            grey_per_white=grey / max(white, 1),
            uneven=2 * (left - right) / max(left + right, 1),
            overlap=template_overlap(posterior[0] < 0.5),
            white_matter=float(np.mean(labels[deep] == number["WM"])),
        )


def _extent(inside: Mask, alignment: Alignment) -> tuple[float, float, float]:
    """Extent of a mask at every ``STEP``-th voxel of the frame along R, A and S of the brain, in mm of the scan."""
    sizes = STEP * np.linalg.norm(alignment.matrix[:3, :3], axis=0)
    found = []
    for size, axis in zip(sizes, (2, 1, 0), strict=True):
        along = np.cumsum(np.count_nonzero(inside, axis=tuple(other for other in range(3) if other != axis)))
        low, high = np.searchsorted(along, (TAIL * along[-1], (1 - TAIL) * along[-1]))
        found.append(float((high - low) * size))
    return found[0], found[1], found[2]


def anatomy_reasons(found: Anatomy) -> Iterator[str]:
    """Yield doubts about the size, the symmetry and the position of a brain that was found; none if it is empty."""
    if found.brain_ml == 0:
        return
    for axis, ((low, high), extent) in enumerate(zip(EXTENT_MM, found.extent_mm, strict=True)):
        if not low <= extent <= high:
            yield doubts.brain_extent(axis, extent, low, high)
    if not BRAIN_ML[0] <= found.brain_ml <= BRAIN_ML[1]:
        yield doubts.brain_volume(found.brain_ml, *BRAIN_ML)
    yield from _shape_reasons(found.overlap)
    if found.white_matter < WHITE_MATTER:
        yield doubts.white_matter_missing(found.white_matter)
    if not GREY_PER_WHITE[0] <= found.grey_per_white <= GREY_PER_WHITE[1]:
        yield doubts.grey_over_white(found.grey_per_white, *GREY_PER_WHITE)
    if found.ventricles > VENTRICLES:
        yield doubts.large_ventricles(found.ventricles, VENTRICLES)
    if abs(found.uneven) > UNEVEN:
        yield doubts.uneven_halves(found.uneven)


def brain_reasons(brain: Mask) -> Iterator[str]:
    """Yield doubts about the position and shape of the brain mask (T, H, W) in the brain frame."""
    yield from _shape_reasons(template_overlap(brain))


def _shape_reasons(overlap: float) -> Iterator[str]:
    if overlap < BRAIN_SHAPE:
        yield doubts.brain_shape(overlap)


def hole_ml(scan: Volume, alignment: Alignment) -> float:
    """Volume in mL of the largest piece without signal deep in the brain of a T1, in which even fluid is brighter."""
    deep, white = _deep_places()
    framed = resample(scan, _THIN_FRAME, matrix=alignment.matrix, fill=np.nan).array
    bright = framed[white & (framed > 0)]
    if not bright.size:
        return 0.0
    parts, count = ndimage.label(deep & (framed < DARK * float(np.median(bright))))
    largest = float(np.bincount(parts.ravel())[1:].max()) if count else 0.0
    return largest * _THIN_FRAME.voxel_volume_ml * alignment.volume_scale


@lru_cache(maxsize=1)
def _deep_places() -> tuple[Mask, Mask]:
    """Where an aligned head has brain away from its rim, and deep white matter; at every ``STEP``-th voxel."""
    deep: Mask = ndimage.distance_transform_edt(template_brain()[_THIN], sampling=STEP) > RIM_MM
    return deep, template_white_matter()[_THIN]


def wrapped_axes(scan: Volume) -> list[int]:
    """Axes (0 T, 1 H, 2 W) along which the head continues at the opposite face of the field of view.

    The image of a field of view that is too short is periodic: the slices at its two ends are neighbours, and look
    as alike as neighbours do. Ears or cheeks that both touch the ends do not. Thick slices are excited one by one, so
    that nothing can wrap from one to another, and even neighbours differ.
    """
    array = scan.array
    dark = 0.1 * float(np.percentile(array[::3, ::3, ::3], 99))
    found = []
    for axis, count in enumerate(array.shape):
        if count < 8 or scan.grid.spacing[axis] > THICK_SLICE_MM:
            continue
        ends = [np.asarray(array.take(place, axis), np.float32) for place in (0, 1, -2, -1)]
        first, second, before, last = ends
        if min(np.mean(first > dark), np.mean(last > dark)) < ON_BOTH_FACES:
            continue
        near = min(_alike(first, second, dark), _alike(before, last, dark))
        if near > 0.5 and _alike(first, last, dark) > AS_ALIKE * near:
            found.append(axis)
    return found


def _alike(one: Map, other: Map, dark: float) -> float:
    """Correlation of two slices where either shows tissue."""
    shown = (one > dark) | (other > dark)
    if np.count_nonzero(shown) < 16:
        return 0.0
    a, b = one[shown] - one[shown].mean(), other[shown] - other[shown].mean()
    return float((a * b).sum() / max(1e-12, float(np.sqrt((a * a).sum() * (b * b).sum()))))


def hole_findings(series: Mapping[str, Series]) -> tuple[list[str], list[str]]:
    """Return doubts and notes about a hole in the brain of the T1, if there is one."""
    if "t1" not in series:
        return [], []
    volume_ml = hole_ml(series["t1"].scan, series["t1"].alignment)
    found = doubts.hole(volume_ml)
    if volume_ml < HOLE_NOTED_ML:
        return [], []
    return ([found], []) if volume_ml >= HOLE_DOUBTED_ML else ([], [found])


def wrap_reasons(key: str, scan: Volume) -> Iterator[str]:
    """Yield a doubt for each axis along which the head wraps around in the scan of a modality."""
    for axis in wrapped_axes(scan):
        yield doubts.wrap_around(key, 2 - axis)
