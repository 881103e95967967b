"""Refinement of tissue borders by the scan's own intensities."""

from __future__ import annotations

import numpy as np
import pytest

from asa.inference.intensity import _local_mean, refine_by_intensity

SHAPE = (40, 36, 44)


@pytest.fixture
def case() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True second-class mask, image with a strong bias field and noise, posterior whose border lies 2 voxels off."""
    rng = np.random.default_rng(0)
    t, h, w = np.meshgrid(*[np.arange(n) - (n - 1) / 2 for n in SHAPE], indexing="ij")
    radius = np.sqrt(t**2 + h**2 + w**2)
    truth = radius < 10
    bias = 1 + 0.5 * w / SHAPE[2]
    image = (np.where(truth, 1.4, 1.0) * bias + 0.05 * rng.standard_normal(SHAPE)).astype(np.float32)
    inner = 1 / (1 + np.exp((radius - 12) / 1.5))
    posterior = np.stack([np.zeros(SHAPE), 1 - inner, inner]).astype(np.float32)
    return truth, image, posterior


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_border_moves_to_where_the_intensities_change(case):
    truth, image, posterior = case
    before = dice(posterior[2] > 0.5, truth)
    after = dice(refine_by_intensity(posterior, image, (1, 2), smoothing=12)[2] > 0.5, truth)
    assert before < 0.8 and after > 0.95


def test_a_flat_image_changes_no_decision(case):
    _, _, posterior = case
    refined = refine_by_intensity(posterior, np.ones(SHAPE, np.float32), (1, 2))
    assert np.array_equal(refined.argmax(0), posterior.argmax(0))


def test_other_classes_and_sums_stay(case):
    _, image, posterior = case
    posterior = posterior * 0.7
    posterior[0] = 0.3
    kept = posterior.copy()
    refined = refine_by_intensity(posterior, image, (1, 2))
    assert np.array_equal(posterior, kept)
    assert np.array_equal(refined[0], kept[0])
    assert np.allclose(refined.sum(0), 1, atol=1e-5) and refined.min() >= -1e-6
    # together less than sure: a border with another class, which intensities must not move
    assert np.allclose(refined, kept, atol=1e-6)


def test_inverted_contrast_works_as_well(case):
    truth, image, posterior = case
    assert dice(refine_by_intensity(posterior, -image, (1, 2), smoothing=12)[2] > 0.5, truth) > 0.95


def test_local_mean_follows_a_slope_and_falls_back_far_away():
    image = np.broadcast_to(np.arange(64, dtype=np.float32), (64, 64, 64)).copy()
    mean = _local_mean(image, np.ones_like(image), 6.0)
    assert np.allclose(mean[32, 32, 16:48], image[32, 32, 16:48], atol=0.5)
    weight = np.zeros_like(image)
    weight[:, :, :4] = 1
    assert np.allclose(_local_mean(image, weight, 2.0)[:, :, 40:], 1.5, atol=0.1)
