"""Geodesic distance against Dijkstra, the random walker against a direct solver."""

from __future__ import annotations

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph
import scipy.sparse.linalg

from asa.refinement.solvers import edge_weights, geodesic_distance, smooth

SHAPE = (9, 10, 11)


def test_distance_in_homogeneous_tissue_is_nearly_euclidean() -> None:
    seeds = np.zeros((21, 21, 21), bool)
    seeds[10, 10, 10] = True
    found = geodesic_distance(seeds, np.ones(seeds.shape, np.float32), (2.0, 1.0, 1.0))
    t, h, w = np.meshgrid(*[np.arange(21) - 10] * 3, indexing="ij")
    exact = np.sqrt((2 * t) ** 2 + h**2 + w**2)
    assert (found <= 1.4 * exact + 1e-3).all()
    assert (found >= exact - 1e-3).all()


def test_distance_goes_around_a_wall() -> None:
    seeds = np.zeros(SHAPE, bool)
    seeds[4, 2, 5] = True
    cost = np.ones(SHAPE, np.float32)
    cost[:, 5, :10] = 100
    found = geodesic_distance(seeds, cost, (1, 1, 1), rounds=2)
    assert 9 < found[4, 8, 5] < 14  # through the gap at the end of the wall
    once = geodesic_distance(seeds, cost, (1, 1, 1))
    assert (once >= found).all()


def test_the_random_walker_is_solved() -> None:
    rng = np.random.default_rng(0)
    channels = rng.normal(0, 0.7, (2, *SHAPE)).astype(np.float32)
    prior = rng.uniform(0, 1, SHAPE).astype(np.float32)
    fixed = rng.uniform(0, 1, SHAPE) < 0.02
    weights = edge_weights(channels, (1.0, 1.0, 2.0), 1.0)
    confidence = 0.3
    found = smooth(prior, weights, confidence, fixed, 40)

    index = np.arange(prior.size).reshape(SHAPE)
    rows, columns, values = [], [], []
    for axis, weight in enumerate(weights):
        low = np.take(index, range(SHAPE[axis] - 1), axis).ravel()
        high = np.take(index, range(1, SHAPE[axis]), axis).ravel()
        edge = np.take(weight, range(SHAPE[axis] - 1), axis).ravel().astype(float)
        rows += [low, high]
        columns += [high, low]
        values += [edge, edge]
    adjacency = scipy.sparse.csr_matrix((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))))
    matrix = scipy.sparse.csgraph.laplacian(adjacency) + confidence * scipy.sparse.eye(prior.size)
    free, at = ~fixed.ravel(), fixed.ravel()
    right = confidence * prior.ravel()[free] - matrix[free][:, at] @ prior.ravel()[at]
    exact = scipy.sparse.linalg.spsolve(matrix[free][:, free].tocsc(), right)
    assert np.abs(found.ravel()[free] - exact).max() < 2e-3
    assert np.abs(smooth(prior, weights, confidence, fixed, 12).ravel()[free] - exact).max() < 0.02
    np.testing.assert_array_equal(found[fixed], prior[fixed])
