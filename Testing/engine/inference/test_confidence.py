"""What a network's own probabilities say about its outlines."""

from __future__ import annotations

import numpy as np
import pytest

from asa.inference.confidence import expected_dice, region_reasons
from asa.metrics import dice
from asa.tasks import TASKS, TUMOUR

SHAPE = (40, 40, 40)
ALL = ("WT", "TC", "ET")


def cube(side: int, inside: float, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    probability = np.zeros(shape, np.float32)
    probability[tuple(slice(n // 2 - side // 2, n // 2 + side // 2) for n in shape)] = inside
    return probability


def test_the_expected_dice_is_the_mean_dice_of_what_the_probabilities_describe() -> None:
    rng = np.random.default_rng(0)
    probability = np.clip(rng.normal(0.5, 0.3, SHAPE), 0, 1).astype(np.float32)
    found = probability > 0.5
    drawn = [dice(found, rng.random(SHAPE) < probability) for _ in range(20)]
    assert expected_dice(probability, found) == pytest.approx(np.mean(drawn), abs=0.005)


def test_certain_outlines_expect_to_be_right() -> None:
    assert expected_dice(cube(20, 1.0), cube(20, 1.0) > 0) == 1
    assert expected_dice(cube(20, 0.0), cube(20, 0.0) > 0) == 1  # nothing there, nothing found
    assert expected_dice(cube(20, 0.4), cube(20, 0.0) > 0) == 0


def test_each_region_is_judged_by_itself() -> None:
    answer = np.stack([cube(30, 0.99), cube(20, 0.51), cube(12, 0.99)])
    (reason,) = region_reasons(answer, answer, TUMOUR, 0.001, ALL, 0.7)
    assert "outline of the tumour core (certainty 0.67; below 0.70 " in reason
    assert not list(region_reasons(answer, answer, TUMOUR, 0.001, ("WT", "ET"), 0.7))
    (just,) = region_reasons(
        answer, answer, TUMOUR, 0.001, ALL, expected_dice(cube(20, 0.51), cube(20, 0.51) > 0) + 1e-6
    )
    assert "(certainty 0.67; below 0.68 " in just  # and not 0.68, which is not below 0.68


def test_what_may_have_been_missed_is_said() -> None:
    answer = np.stack([cube(30, 0.99), cube(20, 0.99), cube(16, 0.4)])
    labelled = answer * (answer > 0.5)
    (reason,) = region_reasons(answer, labelled, TUMOUR, 0.001, ALL, 0.7)
    assert reason == "The network found no enhancing tumour, but is uncertain: 2 mL may have been missed."


def test_specks_say_nothing() -> None:
    answer = np.stack([cube(30, 0.99), cube(20, 0.99), cube(8, 0.51)])
    assert not list(region_reasons(answer, answer, TUMOUR, 0.001, ALL, 0.7))


def test_few_small_lesions_are_judged_too() -> None:
    answer = cube(8, 0.6)[None]  # 0.5 mL
    (reason,) = region_reasons(answer, answer, TASKS["wmh"], 0.001, ("WMH",), 0.85)
    assert "outline of the white-matter lesions" in reason
    faint = cube(8, 0.4)[None]
    (missed,) = region_reasons(faint, faint * 0, TASKS["wmh"], 0.001, ("WMH",), 0.85)
    assert missed.endswith("0.2 mL may have been missed.")
