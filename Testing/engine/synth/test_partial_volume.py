"""Heads whose voxels mix tissues."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from asa.geometry import FRAME
from asa.synth import SynthSettings, to_structures
from asa.synth.partial_volume import FINE, PartialVolumeHeads, fine_grid

CROP = (32, 32, 144)
STILL = SynthSettings(rotation=0, scaling=0, shear=0, translation=0, warp=0, stripped_share=0, bias=0, noise=0)


def ball(radius_mm: float) -> np.ndarray:
    """Fine structures: white matter in cortex in sulcal CSF, centred in the frame."""
    grid = fine_grid()
    axes = np.ogrid[tuple(slice(0, n) for n in grid.shape)]
    distance = sum(((a - (n - 1) / 2) / FINE) ** 2 for a, n in zip(axes, grid.shape, strict=True)) ** 0.5
    labels = np.zeros(grid.shape, np.int16)
    for limit, value in ((1.1, 24), (1.0, 3), (0.8, 2)):
        labels[distance < limit * radius_mm] = value
    return to_structures(labels)


@pytest.fixture(scope="module")
def heads() -> list[np.ndarray]:
    return [ball(60), ball(50)]


def test_fine_grid_covers_the_frame_and_its_margin():
    grid = fine_grid()
    assert all(f == FINE * (n + 32) for f, n in zip(grid.shape, FRAME.shape, strict=True))
    middle = [(n - 1) / 2 for n in grid.shape]
    assert np.allclose(grid.to_world(middle), FRAME.to_world([(n - 1) / 2 for n in FRAME.shape]))


def test_targets_are_shares_of_a_voxel(heads):
    made = PartialVolumeHeads(heads[:1], CROP, STILL, swapped_share=0)
    sample = made.sample(3)
    assert sample.target.shape == (5, *CROP) and sample.image.shape == CROP
    assert torch.allclose(sample.target.sum(0), torch.ones(CROP))
    mixed = ((sample.target > 0) & (sample.target < 1)).any(0)
    assert 0.005 < mixed.float().mean() < 0.2, "borders mix, the rest does not"
    assert set((sample.target * 4).unique().tolist()) <= {0, 1, 2, 3, 4}
    assert torch.equal(sample.target, made.sample(3).target) and torch.equal(sample.image, made.sample(3).image)


def test_volume_of_the_target_is_the_ball(heads):
    made = PartialVolumeHeads(heads[:1], FRAME.shape, STILL, swapped_share=0)
    white = float(made.sample(0).target[3].sum())
    assert white == pytest.approx(4 / 3 * np.pi * 48**3, rel=2e-3)


def test_crops_lie_in_the_middle(heads):
    made = PartialVolumeHeads(heads, CROP, SynthSettings())
    assert {made.sample(seed).origin[2] for seed in range(6)} == {1}


def test_halves_of_two_people(heads):
    made = PartialVolumeHeads(heads, FRAME.shape, STILL, swapped_share=1)
    white = made.sample(5).target[3].sum((0, 1))
    left, right = float(white[:80].sum()), float(white[80:].sum())
    sizes = sorted((left, right))
    alike = abs(left - right) < 0.01 * left  # both halves may be drawn from one person
    assert alike or sizes[1] / sizes[0] == pytest.approx((60 / 50) ** 3, rel=0.02)


def test_stripping_leaves_background(heads):
    made = PartialVolumeHeads(heads[:1], CROP, SynthSettings(stripped_share=1))
    sample = made.sample(1)
    assert torch.allclose(sample.target.sum(0), torch.ones(CROP)) and torch.isfinite(sample.image).all()
