"""Standardised intensities: whatever the air is, the same head gives the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asa.volume import Grid, Volume, standardise
from asa.volume.background import air_noise, background_value, rebased, with_finite_background


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


@settings(max_examples=60, deadline=None)
@given(
    exponent=st.floats(-9, 6),
    offset=st.floats(-3, 3),
    stripped=st.booleans(),
)
def test_a_positive_affine_change_gives_the_same_scan_after_reading(exponent, offset, stripped):
    image = head(stripped).astype(np.float64)
    changed = ((image + offset * image.max()) * 10.0**exponent).astype(np.float32)
    wanted, found = rebased(image.astype(np.float32)), rebased(changed)
    ratio = found.max() / wanted.max()
    assert 0.5 < ratio < 2, "the scale is a power of two, so it does not hit 1000 exactly"
    assert np.abs(found / ratio - wanted).max() < 2e-3 * wanted.max()
    assert 500 < np.percentile(found[found > 0.3 * found.max()], 99) < 1500
    assert (found[head(stripped=True) == 0] < 0.1 * found.max()).all(), "air is dark"


def test_an_ordinary_scan_is_scaled_without_rounding():
    image = head(stripped=True)
    factor = rebased(image).max() / image.max()
    assert np.log2(factor) == np.round(np.log2(factor))
    assert np.array_equal(rebased(image), image * factor)


@pytest.mark.parametrize("air", [np.nan, np.inf, -np.inf])
def test_a_rim_that_is_not_finite_hides_no_background(air):
    image = head(stripped=True) - 1024
    wanted = rebased(image)
    image[:2] = image[-1:] = image[:, :, :1] = air
    assert background_value(image) == -1024
    assert np.array_equal(rebased(with_finite_background(image)), wanted)


def test_a_scan_of_one_value_is_nothing():
    assert not rebased(np.full((4, 5, 6), 7, np.float32)).any()


def test_noise_as_bright_as_tissue_is_air():
    rng = np.random.default_rng(5)
    axes = np.meshgrid(*[np.linspace(-1.3, 1.3, 64)] * 3, indexing="ij")
    inside = sum(a**2 for a in axes) < 1
    tissue = 500 + 100 * np.sin(6 * axes[0]) + 15 * rng.standard_normal(inside.shape)
    quiet = np.where(inside, tissue, np.abs(15 * rng.standard_normal(inside.shape))).astype(np.float32)
    assert air_noise(quiet, (1, 1, 1)) is None
    loud = np.where(inside, tissue, rng.uniform(0, 600, inside.shape)).astype(np.float32)
    found = air_noise(loud, (1, 1, 1))
    assert found is not None
    deep, far = sum(a**2 for a in axes) < 0.9**2, sum(a**2 for a in axes) > 1.2**2
    assert not found[deep].any() and found[far].all()
