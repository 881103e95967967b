"""Rigid registration of two series of one head with any contrast, grid and slice thickness.

Mattes' mutual information over two resolutions, from several starts (SimpleITK). Its success is measured by
something else than what was maximised: how far the gradients of the two images run along the same lines (normalised
gradient fields; Haber and Modersitzki, MICCAI 2006). Sulci of one subject coincide after a good registration, those of
two people never do.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from asa.geometry.frame import FRAME, from_frame, template_brain
from asa.geometry.register import Alignment
from asa.geometry.resample import resample
from asa.volume import Grid, Volume
from asa.volume.grid import Affine

if TYPE_CHECKING:
    import SimpleITK as sitk

WORKING_MM = 2.0
AROUND_BRAIN_MM = 12.0
SEED = 1


@dataclass(frozen=True)
class Level:
    """A resolution: blocks of working voxels, blur in mm, longest and shortest step in mm, share of voxels used.

    A blur of 6 mm and more is of no use: with it, the maximum of mutual information is centimetres off.
    """

    blocks: int
    blur_mm: float
    first_mm: float
    last_mm: float
    share: float


COARSE = Level(2, 2.0, 2.0, 0.1, 1.0)
FINE = Level(1, 0.7, 1.0, 0.01, 0.5)
# Only lines that are clear in both images are compared: the steepest part of the voxels of each.
STEEP = 0.5
SLOPE_REACH = 4  # voxels: the filter reaches three, and the difference one more
SHIFTS_MM = ((6.0, 0.0, 0.0), (0.0, 6.0, 0.0), (0.0, 0.0, 6.0))
# Of the region, this much must be seen.
LEAST_SEEN = 0.1


def upright(volume: Volume, size_mm: float = WORKING_MM) -> Volume:
    """Return the scan on cubes of ``size_mm`` along R, A, S; whatever its axes were, grey levels from 0 to 1."""
    low, high = volume.grid.corners.min(axis=0), volume.grid.corners.max(axis=0)
    x, y, z = np.maximum(np.ceil((high - low) / size_mm), 1).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = np.fliplr(np.eye(3)) * size_mm
    affine[:3, 3] = (low + high) / 2 - (np.array([x, y, z]) - 1) / 2 * size_mm
    moved = resample(volume, Grid((int(z), int(y), int(x)), affine), 1)
    dark, bright = np.percentile(moved.array, (1, 99.5))
    grey = np.clip((moved.array - dark) / max(bright - dark, 1e-12), 0, 1)
    return moved.with_array(grey.astype(np.float32))


def brain_region(alignment: Alignment, grid: Grid, margin_mm: float) -> npt.NDArray[np.bool_]:
    """Where an aligned scan has its brain and what lies within ``margin_mm`` of it; negative: this deep in it."""
    beyond = from_frame(_beyond_brain(), alignment, grid)
    reached = from_frame(np.ones(FRAME.shape, np.uint8), alignment, grid, 0)
    region: npt.NDArray[np.bool_] = (beyond.array <= margin_mm) & (reached.array > 0)
    return region


@lru_cache(maxsize=1)
def _beyond_brain() -> npt.NDArray[np.float32]:
    """Return the distance from the template's brain in mm, negative within it, on the brain frame."""
    inside = template_brain()[::2, ::2, ::2]  # a distance needs no millimetre
    away, deep = (ndimage.distance_transform_edt(part, sampling=2.0) for part in (~inside, inside))
    fine: npt.NDArray[np.float32] = (away - deep).astype(np.float32)
    for axis in range(3):
        fine = np.repeat(fine, 2, axis)
    return fine


def register_rigid(fixed: Volume, moving: Volume, region: npt.NDArray[np.bool_], starts: Iterable[Affine]) -> Affine:
    """4×4 rigid matrix, mm of ``fixed`` → mm of ``moving``, that makes most mutual information.

    fixed, moving: upright scans (:func:`upright`).
    region: where in ``fixed`` it counts, (T, H, W).
    starts: matrices to begin with, made rigid; the best after the coarse resolutions is refined.
    """
    pair = (_image(fixed.array, fixed.grid), _image(moving.array, moving.grid))
    mask = _image(region.astype(np.uint8), fixed.grid)
    centre = fixed.grid.to_world(np.argwhere(region).mean(axis=0))
    search = _Search(pair, mask, centre)
    best = min((search.run(rigid_part(start, centre), COARSE) for start in starts), key=search.cost)
    return search.run(best, FINE)


def agreement(fixed: Volume, moving: Volume, region: npt.NDArray[np.bool_], matrix: Affine) -> float:
    """How far two upright scans show the same head in the same place, about 0 (not at all) to 1.

    The mean squared cosine between their gradients within ``region`` of the fixed one, and what is left of it when the
    moving one is shifted a little: ventricles and the outline of the brain run along similar lines in all people, but
    only where sulci coincide does a shift of 6 mm cost much. 0 when nothing is seen of the region.
    """
    fixed, region = _around(fixed, region)
    inside = resample(moving.with_array(np.ones_like(moving.array)), fixed.grid, 0, matrix).array > 0
    known = region & inside
    if known.sum() < LEAST_SEEN * max(1, region.sum()):
        return 0.0
    slopes = _slopes(fixed.array)[:, known]

    def parallel(shift_mm: tuple[float, float, float]) -> float:
        shifted = matrix.copy()
        shifted[:3, 3] += shift_mm
        return _squared_cosine(slopes, _slopes(resample(moving, fixed.grid, 1, shifted).array)[:, known])

    here = parallel((0, 0, 0))
    displaced = np.mean([parallel(shift) for shift in SHIFTS_MM])
    return float((here - displaced) / (1 - displaced))


def _around(volume: Volume, region: npt.NDArray[np.bool_]) -> tuple[Volume, npt.NDArray[np.bool_]]:
    """Cut a volume and a region in it to the region and what :func:`_slopes` there depends on."""
    (found,) = ndimage.find_objects(region.astype(np.uint8)) or [tuple(slice(0, n) for n in region.shape)]
    t, h, w = (slice(max(0, one.start - SLOPE_REACH), one.stop + SLOPE_REACH) for one in found)
    array, affine = volume.array[t, h, w], volume.grid.affine.copy()
    affine[:3, 3] = volume.grid.to_world([one.start for one in (t, h, w)])
    return Volume(array, Grid((array.shape[0], array.shape[1], array.shape[2]), affine)), region[t, h, w]


def _slopes(array: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(3, T, H, W) gradient of a little smoothed image."""
    return np.stack(np.gradient(ndimage.gaussian_filter(array, 0.7)))


def _squared_cosine(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    """Return the mean over n gradients (3, n) that are among the steeper in both, weighted by their lengths."""
    lengths = [np.linalg.norm(one, axis=0) for one in (a, b)]
    steep = np.all([length > np.quantile(length, 1 - STEEP) for length in lengths], axis=0)
    product = (lengths[0] * lengths[1])[steep]
    squared = ((a * b).sum(axis=0)[steep] / np.maximum(product, 1e-12)) ** 2
    weight = np.sqrt(product)
    return float((weight * squared).sum() / max(float(weight.sum()), 1e-12))


def rigid_part(matrix: Affine, centre: npt.NDArray[np.float64]) -> Affine:
    """Return the rotation and shift nearest to an affine matrix that move ``centre`` to the same place."""
    u, _, vh = np.linalg.svd(matrix[:3, :3])
    rigid = np.eye(4)
    rigid[:3, :3] = u @ np.diag([1, 1, np.linalg.det(u @ vh)]) @ vh
    rigid[:3, 3] = matrix[:3, :3] @ centre + matrix[:3, 3] - rigid[:3, :3] @ centre
    return rigid


def _image(array: npt.NDArray[np.generic], grid: Grid) -> sitk.Image:
    """Return an upright array as ITK takes it; its axes need not point as ITK's as long as both images agree."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(array)
    image.SetSpacing(grid.spacing[::-1])
    image.SetOrigin([float(x) for x in grid.affine[:3, 3]])
    return image


@dataclass(frozen=True, eq=False)
class _Search:
    """Two images, where in the first it counts, and the point (RAS mm, (3,)) that rotations turn about."""

    pair: tuple[sitk.Image, sitk.Image]
    mask: sitk.Image
    centre: npt.NDArray[np.float64]

    def cost(self, matrix: Affine) -> float:
        """Minus the mutual information on the finest grid; infinite where the images do not overlap."""
        method = self._method(matrix, FINE)
        method.SetMetricSamplingStrategy(method.NONE)
        try:
            return float(method.MetricEvaluate(*self.pair))
        except RuntimeError:
            return float("inf")

    def run(self, matrix: Affine, level: Level) -> Affine:
        """Return the matrix after gradient descent; the same one where the images do not overlap."""
        method = self._method(matrix, level)
        try:
            found = method.Execute(*self.pair)
        except RuntimeError:
            return matrix
        ends = np.array([found.TransformPoint([float(x) for x in point]) for point in np.eye(4)[:, :3]])
        moved = np.eye(4)
        moved[:3, :3], moved[:3, 3] = (ends[:3] - ends[3]).T, ends[3]
        return moved

    def _method(self, matrix: Affine, level: Level) -> sitk.ImageRegistrationMethod:
        import SimpleITK as sitk

        transform = sitk.Euler3DTransform()
        transform.SetCenter([float(x) for x in self.centre])
        transform.SetMatrix([float(x) for x in matrix[:3, :3].ravel()], 1e-4)
        transform.SetTranslation([float(x) for x in matrix[:3, :3] @ self.centre + matrix[:3, 3] - self.centre])
        method = sitk.ImageRegistrationMethod()
        method.SetMetricAsMattesMutualInformation(32)
        method.SetMetricFixedMask(self.mask)
        if level.share < 1:
            method.SetMetricSamplingStrategy(method.RANDOM)
            method.SetMetricSamplingPercentage(level.share, SEED)
        method.SetInterpolator(sitk.sitkLinear)
        method.SetOptimizerAsRegularStepGradientDescent(level.first_mm, level.last_mm, 60, 0.5, 1e-6)
        method.SetOptimizerScalesFromPhysicalShift()
        method.SetShrinkFactorsPerLevel([level.blocks])
        method.SetSmoothingSigmasPerLevel([level.blur_mm])
        method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
        method.SetInitialTransform(transform, inPlace=False)
        return method
