"""Standardised intensities: whatever the air is, the same head gives the same numbers."""

from __future__ import annotations

import numpy as np
import pytest

from asa.volume import Grid, Volume, standardise
from asa.volume.background import background_value


def head(stripped: bool, seed: int = 0) -> np.ndarray:
    """A ball with texture (T, H, W), in air that is 0 or, in a whole head, noise."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*[np.linspace(-1.2, 1.2, n) for n in (24, 30, 26)], indexing="ij")
    inside = sum(a**2 for a in axes) < 1
    tissue = 300 + 120 * np.sin(4 * axes[0]) + 30 * rng.standard_normal(inside.shape)
    air = np.zeros(inside.shape) if stripped else np.abs(8 * rng.standard_normal(inside.shape))
    return np.where(inside, tissue, air).astype(np.float32)


def standard(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scan, shown = standardise(Volume(array, Grid(array.shape, np.eye(4))))
    return scan.array, shown


CHANGES = {
    "offset": lambda x: x + 100,
    "air at -1024": lambda x: x - 1024,
    "tiny": lambda x: x * 1e-9,
    "slope and intercept": lambda x: 0.01 * x - 7,
    "z-scored": lambda x: (x - x.mean()) / x.std(),
    "z-scored within what is shown, air 0": lambda x: np.where(x == x[0, 0, 0], 0, (x - 300) / 125),
    "NaN for air": lambda x: np.where(x == x[0, 0, 0], np.nan, x),
}


@pytest.mark.parametrize("change", CHANGES)
def test_air_and_scale_do_not_matter(change):
    image = head(stripped=True)
    wanted, shown = standard(image)
    found, also_shown = standard(CHANGES[change](image.astype(np.float64)).astype(np.float32))
    assert np.array_equal(shown, also_shown) and np.array_equal(shown, image != 0)
    assert np.abs(found - wanted).max() < 1e-3
    assert not found[~shown].any() and found.min() == 0 and 0.9 < found.max() < 1.5


@pytest.mark.parametrize("change", ["offset", "air at -1024", "tiny", "z-scored"])
def test_noise_in_the_air_is_shown(change):
    image = head(stripped=False)
    assert background_value(image) is None
    wanted, shown = standard(image)
    found, _ = standard(CHANGES[change](image.astype(np.float64)).astype(np.float32))
    assert shown.all() and np.abs(found - wanted).max() < 1e-3


def test_an_inverted_scale_is_another_image():
    image = head(stripped=True)
    assert np.abs(standard(image)[0] - standard(-image)[0]).max() > 0.3


@pytest.mark.parametrize("value", [0.0, 3.0, np.nan])
def test_a_scan_that_shows_nothing(value):
    found, _ = standard(np.full((8, 8, 8), value, np.float32))
    assert not found.any()
