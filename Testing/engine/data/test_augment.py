"""Augmentation: one resampling, places in the brain frame, intensities."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from asa.data.augment import (
    AugmentSettings,
    cut,
    draw_flips,
    draw_matrix,
    drop_modalities,
    gaussian_blur,
    intensities,
    mirrored_start,
    power,
    turned,
)
from asa.nn import PositionEncoding

SCAN, CROP, START = (32, 40, 48), (16, 16, 16), (16, 16, 24)
QUARTER_TURN = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
CALM = AugmentSettings(rotation_p=0, scale_p=0, flip="", gamma_p=0)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def scan():
    noise = np.random.default_rng(0)
    return noise.normal(size=(2, *SCAN)).astype(np.float16), noise.integers(0, 4, SCAN).astype(np.uint8)


def test_a_crop_that_is_not_turned_is_a_slice(scan):
    image, labels = cut(*scan, START, CROP, None)
    box = tuple(slice(s, s + n) for s, n in zip(START, CROP, strict=True))
    assert np.array_equal(image.numpy(), scan[0][(slice(None), *box)].astype(np.float32))
    assert np.array_equal(labels.numpy(), scan[1][box])
    turned = cut(*scan, START, CROP, np.eye(3))
    assert torch.allclose(turned[0], image, atol=1e-4)
    assert torch.equal(turned[1], labels)


def test_a_quarter_turn_is_exact_and_image_and_labels_move_together(scan):
    image, labels = cut(*scan, START, CROP, None)
    turned, turned_labels = cut(*scan, START, CROP, QUARTER_TURN)
    assert torch.allclose(turned, torch.rot90(image, -1, (2, 3)), atol=1e-3)
    assert torch.equal(turned_labels, torch.rot90(labels, -1, (1, 2)))


def test_scaling_enlarges_about_the_centre_of_the_crop():
    ramp = np.broadcast_to(np.arange(48, dtype=np.float16), (1, *SCAN))
    image, _ = cut(ramp, np.zeros(SCAN, np.uint8), START, CROP, np.eye(3) / 2)
    row = image[0, 4, 4]
    assert torch.allclose(row.diff(), torch.full((15,), 0.5), atol=1e-3)
    assert float(row.mean()) == pytest.approx(24 + 7.5, abs=1e-3)


def test_beyond_the_scan_lies_background():
    image, labels = cut(np.full((1, *SCAN), -2, np.float16), np.ones(SCAN, np.uint8), (0, 0, 0), CROP, np.eye(3) * 1.4)
    assert torch.allclose(image, torch.tensor(-2.0))
    assert labels[0, 0, 0] == 0
    assert labels[8, 8, 8] == 1


def test_matrices_are_rotations_and_scales_within_their_ranges():
    settings = AugmentSettings(rotation_p=1, scale_p=1)
    for seed in range(20):
        matrix = draw_matrix(rng(seed), settings)
        factor = np.linalg.det(matrix) ** (-1 / 3)
        assert 0.7 <= factor <= 1.4
        assert np.allclose(matrix @ matrix.T * factor**2, np.eye(3))
    assert draw_matrix(rng(), CALM) is None


def test_scaling_by_axes_is_the_grid_without_its_cost(scan):
    """The separable way and the general one (a rotation too small to see) give one crop; so do mirrored ones."""
    tiny = np.eye(3) + 1e-12 * (np.ones((3, 3)) - np.eye(3))
    for factor, flips in ((0.7, (False,) * 3), (1.4, (True, False, True)), (1.1, (False, True, False))):
        separable = cut(*scan, START, CROP, np.eye(3) / factor, flips)
        general = cut(*scan, START, CROP, tiny / factor, flips)
        assert torch.allclose(separable[0], general[0], atol=2e-3)
        assert float((separable[1] != general[1]).float().mean()) < 0.01  # halves may be rounded either way


def test_sampling_two_slices_is_sampling_in_three_dimensions():
    """Also beyond the scan's borders, which are repeated; a ramp shows where each voxel was taken from."""
    scan = torch.stack(torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in SCAN), indexing="ij"))
    crop, start = (20, 24, 40), np.array([12.0, 22.0, 20.5])
    for seed in range(5):
        pull = draw_matrix(rng(seed), AugmentSettings(rotation_p=1, scale_p=1))
        grid = np.stack(np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in crop), indexing="ij"), -1) @ pull.T + start
        wanted = torch.from_numpy(np.clip(grid, 0, np.array(SCAN) - 1)).float().movedim(-1, 0)
        assert torch.allclose(turned(scan, pull, start, crop), wanted, atol=0.01)  # the last row meets the next slice


def test_labels_are_only_looked_for_where_they_can_be(scan):
    """A single labelled voxel lands where sampling everything puts it, at every angle and wherever it lies."""
    for seed in range(10):
        matrix = draw_matrix(rng(seed), AugmentSettings(rotation_p=1, scale_p=1))
        labels = np.zeros(SCAN, np.uint8)
        labels[tuple(np.random.default_rng(seed).integers(8, 30, 3))] = 3
        _, alone = cut(scan[0], labels, START, CROP, matrix)
        labels_with_corners = labels.copy()
        labels_with_corners[0, 0, 0] = labels_with_corners[-1, -1, -1] = 1  # now nothing can be left out
        _, whole = cut(scan[0], labels_with_corners, START, CROP, matrix)
        assert torch.equal(alone == 3, whole == 3)


def test_flips_are_drawn_for_the_axes_that_are_asked_for():
    drawn = {draw_flips(rng(seed), "tw") for seed in range(40)}
    assert drawn == {(t, False, w) for t in (False, True) for w in (False, True)}


def test_mirrored_crops_have_the_mirrored_codes():
    """Code equality: where a mirrored crop says it lies, the symmetric codes are those of the crop, mirrored."""
    frame, grid = tuple(n // 8 for n in SCAN), tuple(n // 8 for n in CROP)
    codes = PositionEncoding(frame, 24)
    for start in ((0, 0, 0), START, (16, 24, 32)):
        place = mirrored_start(start, CROP, SCAN, (False, False, True))
        assert place == (start[0], start[1], SCAN[2] - CROP[2] - start[2])
        here, there = (codes(grid, tuple(s // 8 for s in at)).view(*grid, -1) for at in (start, place))
        assert torch.equal(there, here.flip(2))


@pytest.mark.parametrize("matrix", [None, np.eye(3) / 1.3, QUARTER_TURN / 1.2])
def test_a_mirrored_crop_is_the_mirrored_image_of_the_crop(scan, matrix):
    image, labels = cut(*scan, START, CROP, matrix)
    for flips in itertools.product((False, True), repeat=3):
        axes = [axis for axis, flip in enumerate(flips) if flip]
        shown, shown_labels = cut(*scan, START, CROP, matrix, flips)
        assert torch.allclose(shown, image.flip([a + 1 for a in axes]), atol=2e-3)
        assert float((shown_labels != labels.flip(axes)).float().mean()) < 0.01
        if matrix is None:
            place = mirrored_start(START, CROP, SCAN, flips)
            again = cut(np.flip(scan[0], [a + 1 for a in axes]), np.flip(scan[1], axes), place, CROP, None)
            assert torch.equal(again[0], shown)
            assert torch.equal(again[1], shown_labels)


def test_gamma_keeps_mean_and_spread_of_each_channel():
    image = torch.randn(2, *CROP, generator=rng()) * torch.tensor([1.0, 5.0]).view(2, 1, 1, 1) + 3
    changed = power(image, 0.7)
    assert not torch.allclose(changed, image, atol=0.01)
    for statistic in (torch.mean, torch.std):
        assert torch.allclose(statistic(changed, (1, 2, 3)), statistic(image, (1, 2, 3)), atol=1e-3)
    assert torch.equal(power(torch.ones(1, 4, 4, 4), 2.0), torch.ones(1, 4, 4, 4))


def test_blur_keeps_constants_and_calms_noise():
    noise = torch.randn(2, *CROP, generator=rng())
    assert gaussian_blur(noise, 1.0).std() < 0.5 * noise.std()
    assert torch.allclose(gaussian_blur(torch.full((1, *CROP), 3.0), 0.7), torch.tensor(3.0), atol=1e-5)


@pytest.mark.parametrize("option", ["noise_p", "blur_p", "low_resolution_p", "gamma_p"])
def test_each_option_changes_intensities_and_nothing_else_does(option):
    image = torch.randn(2, *CROP, generator=rng())
    assert torch.equal(intensities(rng(1), image, CALM), image)
    settings = AugmentSettings(**{"gamma_p": 0.0, option: 1.0})
    changed = intensities(rng(1), image, settings)
    assert changed.shape == image.shape
    assert not torch.allclose(changed, image)
    assert torch.equal(changed, intensities(rng(1), image, settings))


def test_a_share_of_the_channels_is_blurred_or_coarsened():
    image = torch.randn(40, *CROP, generator=rng())
    for option in ("blur_p", "low_resolution_p"):
        settings = AugmentSettings(gamma_p=0.0, channel_p=0.5, **{option: 1.0})
        same = (intensities(rng(1), image, settings) == image).flatten(1).all(1)
        assert 8 < int(same.sum()) < 32


def test_one_modality_always_stays():
    image = torch.ones(3, 2, 2, 2)
    kept = [int(drop_modalities(rng(seed), image, 0.9)[:, 0, 0, 0].sum()) for seed in range(50)]
    assert min(kept) == 1
    assert torch.equal(drop_modalities(rng(), image, 0.0), image)


def test_axes_must_exist():
    with pytest.raises(ValueError, match="thw"):
        AugmentSettings(flip="x")
