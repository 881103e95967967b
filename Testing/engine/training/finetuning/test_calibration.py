"""Reliability, temperature scaling, and what runs keep of them."""

from __future__ import annotations

import numpy as np
import pytest

from asa.metrics.calibration import fit_temperature, reliability, tempered
from asa.tasks import TASKS
from asa.training.finetuning.calibration import Calibration, choose_temperature, problems, temper


def softmax(logits):
    powered = np.exp(logits - logits.max(0))
    return (powered / powered.sum(0)).astype(np.float32)


@pytest.fixture
def calibrated():
    """Class probabilities (3, N) and labels that are drawn from them."""
    rng = np.random.default_rng(0)
    probability = softmax(rng.normal(0, 1.5, (3, 60_000)))
    drawn = (rng.random(60_000) > probability.cumsum(0)).sum(0).clip(max=2)
    return probability, drawn


def test_expected_calibration_error_by_hand():
    probability = np.array([[0.9, 0.9, 0.9, 0.9, 0.6, 0.6], [0.1, 0.1, 0.1, 0.1, 0.4, 0.4]], np.float32)
    truth = np.array([0, 0, 0, 1, 0, 1])
    # four voxels at 0.9, of which 3/4 right; two at 0.6, of which 1/2 right
    assert reliability(probability, truth).error == pytest.approx((4 * 0.15 + 2 * 0.1) / 6, abs=1e-6)
    assert reliability(np.zeros((2, 0), np.float32), np.zeros(0, int)).error == 0


def test_a_calibrated_posterior_has_no_error_and_a_sure_one_does(calibrated):
    probability, truth = calibrated
    assert reliability(probability, truth).error < 0.01
    assert reliability(tempered(probability, 0.4), truth).error > 0.1


@pytest.mark.parametrize("sureness", [0.4, 1.0, 2.5])
def test_the_temperature_that_spoiled_it_is_found(calibrated, sureness):
    probability, truth = calibrated
    spoiled = tempered(probability, sureness)
    temperature = fit_temperature([(spoiled[:, :30_000], truth[:30_000]), (spoiled[:, 30_000:], truth[30_000:])])
    assert temperature == pytest.approx(1 / sureness, rel=0.05)
    assert reliability(tempered(spoiled, temperature), truth).error < 0.01


def test_temperature_is_that_of_the_logits_and_changes_no_label():
    logits = np.random.default_rng(1).normal(0, 2, (4, 500))
    assert np.allclose(tempered(softmax(logits), 2.0), softmax(logits / 2), atol=1e-5)
    assert np.array_equal(tempered(softmax(logits), 3.0).argmax(0), softmax(logits).argmax(0))
    regions = np.random.default_rng(2).random((3, 4, 4, 4), dtype=np.float32)
    assert np.array_equal(temper(regions, 2.0, by_region=True) > 0.5, regions > 0.5)
    assert fit_temperature([]) == 1.0


def test_only_what_is_near_labels_or_prediction_is_looked_at():
    labels = np.zeros((40, 40, 40), np.uint8)
    posterior = np.zeros((4, 40, 40, 40), np.float32)
    posterior[0] = 1
    assert problems(posterior, labels, TASKS["tumour"], by_region=False) == []
    labels[10, 10, 10] = 2
    posterior[:, 12, 10, 10] = (0.1, 0, 0, 0.9)
    ((probability, truth),) = problems(posterior, labels, TASKS["tumour"], by_region=False)
    assert probability.shape == (4, 19 * 17 * 17)
    assert (truth == 2).sum() == 1
    pairs = problems(posterior[1:], labels, TASKS["tumour"], by_region=True)
    assert len(pairs) == 3
    assert all(p.shape[0] == 2 for p, _ in pairs)


def test_choosing_a_temperature_lowers_the_error():
    rng = np.random.default_rng(3)
    cases = []
    for number in range(2):
        true = softmax(rng.normal(0, 1.5, (4, 16, 16, 16)))
        labels = (rng.random((16, 16, 16)) > true.cumsum(0)).sum(0).clip(max=3).astype(np.uint8)
        cases.append((f"case{number}", tempered(true, 0.4), labels))
    found = choose_temperature(iter(cases), TASKS["tumour"], by_region=False)
    assert found["temperature"] == pytest.approx(2.5, rel=0.15)
    assert found["error_after"] < 0.5 * found["expected_calibration_error"]
    assert set(found["cases"]) == {"case0", "case1"}
    looked = Calibration(TASKS["tumour"], by_region=False)
    looked.add(*cases[0])
    assert looked.to_json(1.0)["cases"]["case0"] == found["cases"]["case0"]
