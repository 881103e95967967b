"""Lesions on one side are unusual for white-matter lesions."""

from __future__ import annotations

import numpy as np
import pytest

from asa.geometry import FRAME
from asa.inference.masses import mass_reasons

VOXEL_ML = 0.001


def ball(radius: float, centre: tuple[int, int, int]) -> np.ndarray:
    offsets = np.ogrid[tuple(slice(0, size) for size in FRAME.shape)]
    return sum((axis - middle) ** 2 for axis, middle in zip(offsets, centre, strict=True)) <= radius**2


def scattered(count: int, left: float) -> np.ndarray:
    """Thin lesions of 0.3 mL, a share ``left`` of them in the left half."""
    lesions = np.zeros(FRAME.shape, bool)
    for number in range(count):
        w = 40 if number < left * count else 110
        lesions |= ball(4, (20 + 10 * (number % 12), 60 + 12 * (number // 12), w))
    return lesions


def test_lesions_on_both_sides_are_usual() -> None:
    assert not list(mass_reasons(scattered(40, 0.5), VOXEL_ML))
    assert not list(mass_reasons(scattered(40, 0.8), VOXEL_ML))
    assert not list(mass_reasons(np.zeros(FRAME.shape, bool), VOXEL_ML))


def test_few_lesions_may_lie_on_one_side() -> None:
    assert not list(mass_reasons(scattered(8, 1.0), VOXEL_ML))


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_tumour_on_one_side(mirrored: bool) -> None:
    lesions = ball(15, (80, 100, 45)) | scattered(2, 0.5)
    (reason,) = mass_reasons(lesions[..., ::-1] if mirrored else lesions, VOXEL_ML)
    assert reason.startswith("The lesions lie almost entirely in one hemisphere (98% of 15 mL)")
    assert "tumour" in reason


def test_the_volume_is_that_in_the_scan() -> None:
    small = ball(8, (80, 100, 45))  # 2.1 mL
    assert not list(mass_reasons(small, VOXEL_ML))
    assert list(mass_reasons(small, 2 * VOXEL_ML))
