"""Distances between surfaces, in millimetres: 95 % Hausdorff distance and normalised surface Dice.

The *surface* of a mask is its voxels that have a background voxel among their six neighbours; outside the image is
background. For each surface voxel the Euclidean distance to the nearest surface voxel of the other mask is
found exactly, by two steps after a crop to the union of the boxes:

1. Most surface voxels of a usable segmentation lie within a few voxels of the other surface. The offsets of a small
   ball are visited from near to far; the first that hits the other surface is the distance.
2. What is left goes to a KD-tree of the other surface or to a distance transform of the box, whichever the measured
   cost model expects to be cheaper.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

from asa.metrics.masks import Mask, MaskPair

Distances = NDArray[np.float64]
Offsets = NDArray[np.intp]

BALL_OFFSETS = 123  # three voxels around on an isotropic grid; more help close surfaces less than they cost far ones

# A header's turned axes leave spacings of 1.00000003 mm: what lies one voxel away is still within 1 mm.
ROUNDING_MM = 1e-4

# Seconds of one core, measured by Testing/benchmarks/speed/hausdorff.py --calibrate; only their ratios matter.
TREE_SECONDS_PER_NODE = 0.1e-6
TREE_SECONDS_PER_QUERY = 1.2e-6
TRANSFORM_SECONDS_PER_VOXEL = 75e-9


def surface(mask: Mask) -> Mask:
    """Voxels of a boolean mask (T, H, W) with a 6-neighbour in the background; outside the array is background."""
    padded = np.pad(mask, 1)
    inner = mask.copy()
    for axis in range(3):
        for start in (0, 2):
            cut = [slice(1, -1)] * 3
            cut[axis] = slice(start, start + mask.shape[axis])
            inner &= padded[tuple(cut)]
    return mask & ~inner


@lru_cache(maxsize=16)
def _ball(spacing: tuple[float, float, float]) -> tuple[Offsets, Distances]:
    """Return the ``BALL_OFFSETS`` nearest voxel offsets (n, 3) from near to far, and their lengths in mm.

    Complete up to its largest length: no offset that is left out is shorter than one that is in.
    """
    volume = BALL_OFFSETS * math.prod(spacing)
    radius = 1.5 * (3.0 * volume / (4.0 * math.pi)) ** (1.0 / 3.0) + max(spacing)
    # Along a coarse axis the ball is flat; along a fine one it must not outgrow the number of offsets by much.
    reach = [min(int(radius / step), BALL_OFFSETS) for step in spacing]
    axes = [np.arange(-count, count + 1) for count in reach]
    offsets = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    lengths = np.sqrt(((offsets * np.asarray(spacing)) ** 2).sum(axis=1))
    # The box of offsets is complete only up to the first length that it misses on some axis.
    limit = min((count + 1) * step for count, step in zip(reach, spacing, strict=True))
    order = np.argsort(lengths, kind="stable")[:BALL_OFFSETS]
    order = order[lengths[order] < limit]
    return offsets[order].astype(np.intp), lengths[order]


def _far_distances(points: NDArray[np.intp], target: Mask, spacing: tuple[float, float, float]) -> Distances:
    """Return the distance in mm from each voxel index (n, 3) to the nearest True voxel of ``target``."""
    nodes = int(np.count_nonzero(target))
    tree_seconds = TREE_SECONDS_PER_NODE * nodes + TREE_SECONDS_PER_QUERY * len(points)
    nearest: Distances
    if TRANSFORM_SECONDS_PER_VOXEL * target.size < tree_seconds:
        nearest = ndimage.distance_transform_edt(~target, sampling=spacing)[tuple(points.T)]
    else:
        # Voxel indices fill their box evenly, so that midpoint splits serve as well as medians and are built faster.
        tree = KDTree(np.argwhere(target) * spacing, leafsize=32, balanced_tree=False, compact_nodes=False)
        nearest = tree.query(points * np.asarray(spacing))[0]
    return nearest


def _directed_distances(source: Mask, target: Mask, spacing: tuple[float, float, float]) -> Distances:
    """Distance in mm from each True voxel of ``source``, in array order, to the nearest True voxel of ``target``."""
    offsets, lengths = _ball(spacing)
    margin = np.abs(offsets).max(axis=0)
    padded = np.pad(target, [(int(count), int(count)) for count in margin])
    strides = np.array([padded.shape[1] * padded.shape[2], padded.shape[2], 1], dtype=np.intp)
    flat = padded.ravel()

    points = np.argwhere(source)
    distances = np.empty(len(points))
    left = np.arange(len(points))
    places = (points + margin) @ strides
    for step, length in zip(offsets @ strides, lengths, strict=True):
        hit = flat[places + step]
        distances[left[hit]] = length
        left, places = left[~hit], places[~hit]
        if left.size == 0:
            return distances
    distances[left] = _far_distances(points[left], target, spacing)
    return distances


def surface_distances(pair: MaskPair) -> tuple[Distances, Distances]:
    """Distances in mm from the prediction's surface voxels to the reference's surface, and the other way round.

    Raises:
        ValueError: a mask of the pair is empty, so that there is no distance.
    """
    if pair.empty != "neither":
        raise ValueError(f"No surface distance: empty is {pair.empty}.")
    predicted, expected = surface(pair.prediction), surface(pair.reference)
    return (
        _directed_distances(predicted, expected, pair.spacing),
        _directed_distances(expected, predicted, pair.spacing),
    )


def hausdorff95_of_distances(from_prediction: Distances, from_reference: Distances) -> float:
    """Return the larger of the two directed 95th percentiles (linear interpolation between order statistics)."""
    return float(max(np.percentile(from_prediction, 95.0), np.percentile(from_reference, 95.0)))


def pooled_hausdorff95_of_distances(from_prediction: Distances, from_reference: Distances) -> float:
    """Return the 95th percentile of both directed distances taken together."""
    return float(np.percentile(np.concatenate((from_prediction, from_reference)), 95.0))


def surface_dice_of_distances(from_prediction: Distances, from_reference: Distances, tolerance_mm: float) -> float:
    """Share of all surface voxels that lie within the tolerance of the other surface."""
    limit = tolerance_mm + ROUNDING_MM
    within = np.count_nonzero(from_prediction <= limit) + np.count_nonzero(from_reference <= limit)
    return float(within / (from_prediction.size + from_reference.size))


def hausdorff95(prediction: NDArray[Any], reference: NDArray[Any], spacing: Sequence[float]) -> float:
    """95 % Hausdorff distance in mm of two masks (T, H, W) with voxel ``spacing`` (t, h, w) in mm.

    The larger of the two directed 95th percentiles of the surface distances, with linear interpolation: the value of
    MONAI's ``compute_hausdorff_distance(..., percentile=95)`` wherever that is defined. Both masks empty: 0; exactly
    one empty: the diagonal of the image in mm.

    Raises:
        ValueError: shapes differ, an array that is not a mask, or an invalid spacing.
    """
    pair = MaskPair.of(prediction, reference, spacing)
    if pair.empty == "both":
        return 0.0
    if pair.empty != "neither":
        return pair.diagonal_mm
    return hausdorff95_of_distances(*surface_distances(pair))


def pooled_hausdorff95(prediction: NDArray[Any], reference: NDArray[Any], spacing: Sequence[float]) -> float:
    """95 % Hausdorff distance in mm as MedPy's ``hd95``, which published scripts use, computes it.

    One 95th percentile of the distances of both surfaces together, where :func:`hausdorff95` takes the larger of two:
    a false structure with more than a twentieth of the prediction's surface, but less than that of both surfaces,
    counts there and not here. Conventions and errors are those of :func:`hausdorff95`.
    """
    pair = MaskPair.of(prediction, reference, spacing)
    if pair.empty == "both":
        return 0.0
    if pair.empty != "neither":
        return pair.diagonal_mm
    return pooled_hausdorff95_of_distances(*surface_distances(pair))


def normalised_surface_dice(
    prediction: NDArray[Any], reference: NDArray[Any], spacing: Sequence[float], tolerance_mm: float = 1.0
) -> float:
    """Share of both surfaces' voxels within ``tolerance_mm`` of the other surface; both empty: 1, one empty: 0.

    Raises:
        ValueError: as :func:`hausdorff95`.
    """
    pair = MaskPair.of(prediction, reference, spacing)
    if pair.empty != "neither":
        return float(pair.empty == "both")
    return surface_dice_of_distances(*surface_distances(pair), tolerance_mm)
