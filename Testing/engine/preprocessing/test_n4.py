"""The bias field is that of ITK's N4."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from asa.preprocessing.n4 import log_bias_field


def shaded_brain() -> tuple[np.ndarray, np.ndarray]:
    """Two tissues and a little noise under a smooth field, within an ellipsoid, on cubes of 8 mm."""
    t, h, w = np.meshgrid(*(np.linspace(-1, 1, n) for n in (20, 24, 18)), indexing="ij")
    mask = t**2 + h**2 + w**2 < 0.8
    rng = np.random.default_rng(0)
    tissue = np.where(ndimage.gaussian_filter(rng.standard_normal(mask.shape), 1.5) > 0, 1.0, 0.6)
    image = (tissue + 0.02 * rng.standard_normal(mask.shape)) * np.exp(0.3 * t * h + 0.2 * w)
    return np.where(mask, image, 0).astype(np.float32), mask


def itk_field(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations([20, 15, 10])
    n4.SetNumberOfThreads(1)
    coarse = sitk.GetImageFromArray(image)
    n4.Execute(coarse, sitk.GetImageFromArray(mask.astype(np.uint8)))
    fine = sitk.GetImageFromArray(np.zeros([2 * n for n in image.shape], np.float32))
    return sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(fine))


def test_the_field_is_that_of_itk() -> None:
    image, mask = shaded_brain()
    expected = itk_field(image, mask)
    found = log_bias_field(image, mask, expected.shape)
    inside = mask.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    assert expected[inside].std() > 0.05
    assert np.abs(found - expected)[inside].max() < 1e-3
    assert found.dtype == np.float32 and np.array_equal(found, log_bias_field(image, mask, expected.shape))


@pytest.mark.parametrize("value", [1.0, 0.0, -3.0])
def test_a_constant_has_no_field(value: float) -> None:
    _, mask = shaded_brain()
    found = log_bias_field(np.full(mask.shape, value, np.float32), mask, mask.shape)
    assert np.abs(found).max() < 1e-6


def test_one_bright_voxel_among_equal_ones_is_no_field() -> None:
    image, mask = shaded_brain()
    image[mask] = 1.0
    image[10, 12, 9] = 1e30
    assert np.isfinite(log_bias_field(image, mask, mask.shape)).all()
