"""Lesion-wise scores on arrangements whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from asa.metrics import LesionScores, dice, hausdorff95, lesion_scores

ONE = (1.0, 1.0, 1.0)
SHAPE = (40, 60, 60)


def blocks(*corners: tuple[int, int, int], size: int = 4) -> np.ndarray:
    """Mask of cubes with the given lowest corners."""
    mask = np.zeros(SHAPE, dtype=bool)
    for t, h, w in corners:
        mask[t : t + size, h : h + size, w : w + size] = True
    return mask


def test_one_lesion_is_the_whole_mask():
    reference, prediction = blocks((10, 10, 10)), blocks((11, 10, 10))
    scores = lesion_scores(prediction, reference, (2.0, 1.0, 1.0))
    assert scores.dice == dice(prediction, reference) == 0.75
    assert scores.hd95_mm == hausdorff95(prediction, reference, (2.0, 1.0, 1.0))
    assert (scores.lesions, scores.missed, scores.false_positives) == (1, 0, 0)


def test_missed_and_invented_lesions_pay():
    reference = blocks((2, 2, 2), (20, 40, 40))
    prediction = blocks((2, 2, 2), (20, 5, 40), (30, 20, 5))
    scores = lesion_scores(prediction, reference, ONE)
    assert scores == LesionScores(
        dice=pytest.approx(1 / 4), hd95_mm=pytest.approx(3 * 374.0 / 4), lesions=2, missed=1, false_positives=2
    )


def test_dilation_joins_near_lesions():
    # Six voxels of background between two lesions: three steps of dilation on either side close them.
    near, far = blocks((10, 10, 10), (10, 10, 20)), blocks((10, 10, 10), (10, 10, 21))
    assert lesion_scores(near, near, ONE).lesions == 1
    assert lesion_scores(far, far, ONE).lesions == 2
    assert lesion_scores(near, near, ONE, dilation=0).lesions == 2


def test_prediction_within_the_dilation_is_no_false_positive():
    reference = blocks((10, 10, 10))
    touching, apart = blocks((10, 10, 16)), blocks((10, 10, 18))
    assert lesion_scores(touching, reference, ONE).false_positives == 0
    assert lesion_scores(touching, reference, ONE).missed == 0
    scores = lesion_scores(apart, reference, ONE)
    assert (scores.missed, scores.false_positives, scores.dice, scores.hd95_mm) == (1, 1, 0.0, 374.0)


def test_components_connect_across_corners():
    mask = np.zeros(SHAPE, dtype=bool)
    mask[5, 5, 5] = mask[6, 6, 6] = True
    assert lesion_scores(mask, np.zeros_like(mask), ONE).false_positives == 1


def test_one_prediction_may_serve_two_lesions():
    reference = blocks((10, 10, 10), (10, 10, 30))
    prediction = reference.copy()
    prediction[11, 11, 10:34] = True
    scores = lesion_scores(prediction, reference, ONE)
    expected = [dice(prediction, blocks((10, 10, w))) for w in (10, 30)]
    assert scores.dice == pytest.approx(np.mean(expected))
    assert scores.false_positives == 0


def test_small_lesions_can_be_left_out():
    reference = blocks((10, 10, 10)) | blocks((30, 40, 40), size=2)
    scores = lesion_scores(reference, reference, (1.0, 2.0, 2.0), minimum_mm3=32.0)
    assert (scores.lesions, scores.false_positives, scores.dice, scores.hd95_mm) == (1, 0, 1.0, 0.0)


def test_empty_masks():
    empty = np.zeros(SHAPE, dtype=bool)
    assert lesion_scores(empty, empty, ONE) == LesionScores(1.0, 0.0, 0, 0, 0)
    assert lesion_scores(empty, blocks((1, 1, 1)), ONE) == LesionScores(0.0, 374.0, 1, 1, 0)
    assert lesion_scores(blocks((1, 1, 1)), empty, ONE) == LesionScores(0.0, 374.0, 0, 0, 1)


def test_position_in_the_image_does_not_matter():
    generator = np.random.default_rng(0)
    prediction, reference = generator.random((2, 12, 14, 13)) > 0.97
    inside = lesion_scores(np.pad(prediction, 9), np.pad(reference, 9), ONE)
    moved = lesion_scores(
        np.pad(prediction, ((9, 4), (6, 11), (5, 7))), np.pad(reference, ((9, 4), (6, 11), (5, 7))), ONE
    )
    assert inside == moved
    assert not math.isnan(inside.hd95_mm)
