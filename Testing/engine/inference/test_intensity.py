"""Refinement of tissue borders by the scan's own intensities."""

from __future__ import annotations

import numpy as np
import pytest

from asa.errors import ModelError
from asa.geometry import FRAME, box_slices
from asa.inference.intensity import _local_mean, refine_by_intensity
from asa.model_description import IntensityRule, check_description
from asa.models import find_model

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
    after = dice(refine_by_intensity(posterior, image, IntensityRule((1, 2), smoothing=12))[2] > 0.5, truth)
    assert before < 0.8 and after > 0.95


def test_a_flat_image_changes_no_decision(case):
    _, _, posterior = case
    refined = refine_by_intensity(posterior, np.ones(SHAPE, np.float32), IntensityRule((1, 2)))
    assert np.array_equal(refined.argmax(0), posterior.argmax(0))


def test_other_classes_and_sums_stay(case):
    _, image, posterior = case
    posterior = posterior * 0.7
    posterior[0] = 0.3
    kept = posterior.copy()
    refined = refine_by_intensity(posterior, image, IntensityRule((1, 2)))
    assert np.array_equal(posterior, kept)
    assert np.array_equal(refined[0], kept[0])
    assert np.allclose(refined.sum(0), 1, atol=1e-5) and refined.min() >= -1e-6
    # together less than sure: a border with another class, which intensities must not move
    assert np.allclose(refined, kept, atol=1e-6)


def test_inverted_contrast_works_as_well(case):
    truth, image, posterior = case
    assert dice(refine_by_intensity(posterior, -image, IntensityRule((1, 2), smoothing=12))[2] > 0.5, truth) > 0.95


def test_local_mean_follows_a_slope_and_falls_back_far_away():
    image = np.broadcast_to(np.arange(64, dtype=np.float32), (64, 64, 64)).copy()
    mean = _local_mean(image, np.ones_like(image), 6.0)
    assert np.allclose(mean[32, 32, 16:48], image[32, 32, 16:48], atol=0.5)
    weight = np.zeros_like(image)
    weight[:, :, :4] = 1
    assert np.allclose(_local_mean(image, weight, 2.0)[:, :, 40:], 1.5, atol=0.1)


def test_log_odds_give_the_voxels_in_between_to_the_first_class():
    mixed = np.repeat(np.array([1.0, 1.2, 1.4], np.float32), 20)  # pure, half and half, pure
    image = np.broadcast_to(mixed, (60, 60, 60)) + 0.04 * np.random.default_rng(0).standard_normal((60, 60, 60))
    inner = np.broadcast_to(1 / (1 + np.exp(-(np.arange(60) - 30) / 4)), image.shape)
    posterior = np.stack([np.zeros_like(inner), 1 - inner, inner]).astype(np.float32)
    shares = [
        refine_by_intensity(posterior, image.astype(np.float32), IntensityRule((1, 2), log_odds=odds))[1, :, :, 20:40]
        for odds in (0.0, 2.0)
    ]
    assert abs((shares[0] > 0.5).mean() - 0.5) < 0.1 and (shares[1] > 0.5).mean() > 0.75


def test_the_network_alone_decides_in_excepted_boxes():
    rng = np.random.default_rng(0)
    posterior = rng.dirichlet((0.1, 1, 1), FRAME.shape).transpose(3, 0, 1, 2).astype(np.float32)
    image = rng.standard_normal(FRAME.shape).astype(np.float32)
    box = ((-20, 20), (-30, 10), (-10, 10))
    rule = IntensityRule((1, 2), except_mm=(box,))
    refined = refine_by_intensity(posterior, image, rule)
    inside = (slice(None), *box_slices(box))
    assert np.array_equal(refined[inside], posterior[inside]) and refined[inside][0].size == 40 * 40 * 20
    assert (np.abs(refined - posterior).max(0) > 0.1).mean() > 0.1


def test_rules_come_from_the_model_and_unknown_settings_are_refused():
    rules = find_model("tissue").description.intensity_rules
    assert [tuple(rule.classes) for rule in rules] == [(2, 3), (1, 3), (1, 2), (2, 4)] and len(rules[0].except_mm) == 2
    for broken in ({"classes": [1, 2], "powr": 1}, {"least": 0.5}):
        info = {"format": 1, "name": "mine", "task": "tissue", "modalities": ["t1"], "network": {}}
        with pytest.raises(ModelError, match=r"In entry 1 of 'intensity_rules' in model\.json, "):
            check_description({**info, "intensity_rules": [broken]}, "model.json")
