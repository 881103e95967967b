"""Geodesic distance and edge-preserving smoothing on regular grids.

Both treat an axis and its reverse alike, operation by operation, so that a mirrored input gives the mirrored result to
the last bit. numpy alone: at the size of a crop around a mark (a million voxels) it is as fast as compiled stencils,
needs no start, and two processes do not fight over threads.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Map = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

FAR = np.float32(1e4)


def geodesic_distance(seeds: Mask, cost: Map, spacing: Sequence[float], rounds: int = 1) -> Map:
    """Return the length of the cheapest path from ``seeds`` to each voxel.

    Raster scans (Toivanen, Pattern Recognition Letters 1996), a whole plane at a time: along each axis forwards and
    backwards, each voxel from the voxel before it and the four around that one. Along some diagonals distances are up
    to two fifths too long. SimpleITK's fast marching took more than fifty times as long on a crop of 96³ voxels.

    Args:
        seeds: (T, H, W).
        cost: (T, H, W), cost of one mm in each voxel.
        spacing: mm along (T, H, W).
        rounds: how often each axis is scanned; one leaves out paths that turn back.
    """
    distance = np.full(seeds.shape, FAR, np.float32)
    distance[seeds] = 0
    half = cost * np.float32(0.5)
    for axis in [0, 1, 2] * rounds:
        distance = _scanned(distance, half, spacing, axis)
    return distance


def _scanned(distance: Map, half: Map, spacing: Sequence[float], axis: int) -> Map:
    """One forward and one backward scan along an axis, made together; the nearer of the two."""
    first, second = (other for other in range(3) if other != axis)
    ahead, a, b = (np.float32(spacing[one]) for one in (axis, first, second))
    to_a, to_b = np.hypot(ahead, a), np.hypot(ahead, b)

    def both(values: Map) -> Map:
        moved = np.moveaxis(values, axis, 0)
        return np.ascontiguousarray(np.stack([moved, moved[::-1]], axis=1))

    known, costs = both(distance), both(half)
    side = np.empty_like(known[0])
    for here in range(1, len(known)):
        before, leave, enter = known[here - 1], costs[here - 1], costs[here]
        best = before + ahead * (leave + enter)
        for step, rows in ((to_a, True), (to_b, False)):
            through = before + step * leave
            side.fill(FAR)
            if rows:
                side[:, 1:] = through[:, :-1]
                np.minimum(side[:, :-1], through[:, 1:], out=side[:, :-1])
            else:
                side[:, :, 1:] = through[:, :, :-1]
                np.minimum(side[:, :, :-1], through[:, :, 1:], out=side[:, :, :-1])
            side += step * enter
            np.minimum(best, side, out=best)
        np.minimum(known[here], best, out=known[here])
    nearer = np.minimum(known[:, 0], known[::-1, 1])
    return np.ascontiguousarray(np.moveaxis(nearer, 0, axis))


def edge_weights(channels: Map, spacing: Sequence[float], contrast: float) -> tuple[Map, Map, Map]:
    """Return the weights of the edges to the next voxel along each axis, from differences of all channels.

    Args:
        channels: (M, T, H, W), in standard deviations.
        spacing: mm along (T, H, W).
        contrast: how much a squared difference of 1 weakens an edge, as a power of e.

    Returns:
        Three arrays (T, H, W), the last plane along the edge's axis zero: an edge leaves each voxel but the last.
    """
    weights = []
    for axis in range(3):
        squared = (np.diff(channels, axis=axis + 1) ** 2).sum(axis=0)
        weight = np.zeros(channels.shape[1:], np.float32)
        weight[_but(axis, slice(0, -1))] = (np.exp(-contrast * squared) + 1e-3) / spacing[axis] ** 2
        weights.append(weight)
    return weights[0], weights[1], weights[2]


def smooth(prior: Map, weights: Sequence[Map], confidence: float, fixed: Mask, iterations: int) -> Map:
    """Return the random walker's probability with a prior: minimal sum of edge and prior terms.

    The solution of (L + c) u = c p (Grady, IEEE CVPR 2005) by Chebyshev's iteration, started at the prior. The prior
    bounds the condition of the system, so that a fixed number of iterations reaches the same accuracy in every crop.

    Args:
        prior: (T, H, W), probabilities p.
        weights: of the edges, see :func:`edge_weights`.
        confidence: weight c of the prior.
        fixed: (T, H, W), voxels that keep their prior.
        iterations: 12 leave errors of about 0.01.
    """
    lower = [_but(axis, slice(0, -1)) for axis in range(3)]
    upper = [_but(axis, slice(1, None)) for axis in range(3)]
    inner = [weight[part] for weight, part in zip(weights, lower, strict=True)]
    degree = np.full(prior.shape, confidence, np.float32)
    for weight, low, high in zip(inner, lower, upper, strict=True):
        both = np.zeros_like(prior)
        both[low] += weight
        both[high] += weight
        degree += both
    source = np.float32(confidence) * prior
    inverse: Map = np.reciprocal(degree)
    radius = min(0.97, 1 - confidence * float(inverse.min()))
    now, before, omega = prior.copy(), prior, 1.0
    both = np.empty_like(prior)
    for iteration in range(iterations):
        new = source.copy()
        for weight, low, high in zip(inner, lower, upper, strict=True):
            both.fill(0)
            both[low] = weight * now[high]
            both[high] += weight * now[low]
            new += both
        new *= inverse
        if iteration:
            omega = 1 / (1 - radius**2 / 2) if iteration == 1 else 1 / (1 - radius**2 * omega / 4)
            new -= before
            new *= np.float32(omega)
            new += before
        new[fixed] = prior[fixed]
        before, now = now, new
    return now


def _but(axis: int, part: slice) -> tuple[slice, slice, slice]:
    """All of a volume but a part along one axis."""
    cut = [slice(None)] * 3
    cut[axis] = part
    return cut[0], cut[1], cut[2]
