"""VHOG (Eq. 1) against a plain float64 loop, and the weights made of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from asa.pretext.vhog import (
    WEIGHT_MODES,
    central_differences,
    histograms,
    importance,
    layered_histograms,
    masked_weights,
    orientation,
)

PATCH, BINS = 4, 9


def loop_histograms(image: np.ndarray, patch: int, bins: int) -> np.ndarray:
    """Voxel by voxel, (T, H, W) -> (N, bins, bins), as the paper's prose says it."""
    t, h, w = (n // patch for n in image.shape)
    out = np.zeros((t * h * w, bins, bins))

    def value(z: int, y: int, x: int) -> float:
        inside = 0 <= z < image.shape[0] and 0 <= y < image.shape[1] and 0 <= x < image.shape[2]
        return float(image[z, y, x]) if inside else 0.0

    for z, y, x in np.ndindex(*image.shape):
        g_x = value(z, y, x + 1) - value(z, y, x - 1)
        g_y = value(z, y + 1, x) - value(z, y - 1, x)
        g_z = value(z + 1, y, x) - value(z - 1, y, x)
        size = math.sqrt(g_x**2 + g_y**2 + g_z**2)
        if size == 0:
            continue
        theta = math.acos(max(-1.0, min(1.0, g_z / size)))
        phi = abs(math.atan2(g_y, g_x))
        row = min(int(theta * bins / math.pi), bins - 1)
        column = min(int(phi * bins / math.pi), bins - 1)
        out[((z // patch) * h + y // patch) * w + x // patch, row, column] += size
    return out


def loop_importance(image: np.ndarray, patch: int, bins: int, mode: str) -> np.ndarray:
    scores = []
    for g in loop_histograms(image, patch, bins):
        length = math.sqrt((g**2).sum())
        variety = (g / length).mean() if length else 0.0
        scores.append({"paper": variety, "magnitude": g.mean(), "product": variety * g.mean()}[mode])
    return np.array(scores)


def volumes() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    shape = (8, 12, 8)
    z, y, x = np.meshgrid(*(np.arange(n, dtype=float) for n in shape), indexing="ij")
    step = np.zeros(shape)
    step[:, :, 5:] = 1.0
    lone = np.zeros(shape)
    lone[4, 4, 4] = 2.0  # its gradient falls into six patches, across their borders
    return {
        "noise": rng.normal(size=shape),
        "falling along T (theta = pi)": -z,
        "falling along W (phi = pi)": -x,
        "edge at a border of patches": step,
        "lone voxel": lone,
        "sphere": np.exp(-((z - 4) ** 2 + (y - 6) ** 2 + (x - 3.5) ** 2) / 9),
        "nothing": np.zeros(shape),
        "constant": np.full(shape, 3.0),
    }


@pytest.mark.parametrize("name", volumes())
def test_histograms_equal_a_plain_loop(name):
    image = volumes()[name]
    found = histograms(torch.from_numpy(image)[None, None], PATCH, BINS)[0]
    assert np.allclose(found.view(-1, BINS, BINS).numpy(), loop_histograms(image, PATCH, BINS), atol=1e-12, rtol=0)


@pytest.mark.parametrize("mode", WEIGHT_MODES)
@pytest.mark.parametrize("name", volumes())
def test_importance_equals_a_plain_loop(name, mode):
    image = volumes()[name]
    expected = loop_importance(image, PATCH, BINS, mode)
    exact = importance(torch.from_numpy(image)[None, None], PATCH, BINS, mode)[0].numpy()
    single = importance(torch.from_numpy(image).float()[None, None], PATCH, BINS, mode)[0].numpy()
    assert np.allclose(exact, expected, atol=1e-12, rtol=0)
    # float32 may put a voxel on the edge of a bin into its neighbour
    assert np.allclose(single, expected, atol=1e-3 * max(1.0, expected.max()))


def test_batch_and_channels():
    one, two = (torch.from_numpy(volumes()[name]) for name in ("noise", "sphere"))
    together = histograms(torch.stack((torch.stack((one, two)), torch.stack((two, two)))), PATCH)
    assert torch.allclose(together[0], histograms(one[None, None], PATCH)[0] + histograms(two[None, None], PATCH)[0])
    assert torch.allclose(together[1], 2 * histograms(two[None, None], PATCH)[0])


def test_layers_and_one_pass_are_the_same():
    """A processor takes layer by layer, a GPU everything at once."""
    image = torch.randn(2, 3, 12, 8, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    layers = layered_histograms(image, PATCH, BINS, 1, 1)
    assert torch.allclose(layers, layered_histograms(image, PATCH, BINS, 2, 3), rtol=0, atol=1e-12)
    assert torch.equal(layers, histograms(image, PATCH, BINS))


def test_angles_by_hand():
    g = torch.tensor([[0, 0, 1], [0, 0, -1], [1, 0, 0], [-1, 0, 0], [0, -2, 0], [1, 1, 0]], dtype=torch.float32)
    theta, phi, size = orientation(g[:, 0], g[:, 1], g[:, 2])
    half = math.pi / 2
    assert torch.allclose(theta, torch.tensor([0.0, math.pi, half, half, half, half]))
    assert torch.allclose(phi, torch.tensor([0.0, 0.0, 0.0, math.pi, half, math.pi / 4]))
    assert torch.allclose(size, torch.tensor([1.0, 1.0, 1.0, 1.0, 2.0, math.sqrt(2)]))


def test_no_gradient_gives_no_nan():
    theta, phi, size = orientation(*torch.zeros(3, 5))
    assert torch.isfinite(theta).all() and torch.isfinite(phi).all() and not size.any()


def test_axes_and_the_border():
    image = torch.arange(24.0).view(2, 3, 4)  # T changes by 12, H by 4, W by 1
    g_x, g_y, g_z = central_differences(image)
    assert g_x[0, 1, 1] == 2 and g_y[0, 1, 1] == 8
    assert g_z[0, 1, 1] == image[1, 1, 1], "the image is zero outside"
    assert g_x[1, 2, 3] == -image[1, 2, 2]


def test_importance_by_hand():
    """Two voxels of gradient 3 and 4 in different bins: histogram (3, 4), length 5, mean (3 + 4) / 5 / 81."""
    histogram = torch.zeros(1, 1, 81)
    histogram[0, 0, 5], histogram[0, 0, 40] = 3.0, 4.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("asa.pretext.vhog.histograms", lambda *_: histogram)
        image = torch.zeros(1, 1, 4, 4, 4)
        assert importance(image, 4, 9, "paper").item() == pytest.approx(7 / 5 / 81)
        assert importance(image, 4, 9, "magnitude").item() == pytest.approx(7 / 81)
        assert importance(image, 4, 9, "product").item() == pytest.approx(7 / 5 / 81 * 7 / 81)


def test_paper_mode_measures_variety_not_strength():
    image = torch.from_numpy(volumes()["noise"])[None, None]
    assert torch.allclose(importance(image, PATCH), importance(1e-3 * image, PATCH))
    found = importance(image, PATCH)
    assert found.min() >= 1 / BINS**2 and found.max() <= 1 / BINS


def test_faint_noise_beats_a_clean_edge():
    """The numbers for b = 8: an edge has one orientation, 1/64; noise has many, however faint."""
    edge = torch.zeros(1, 1, 24, 24, 24)
    edge[..., 12:] = 1.0
    noise = 1e-3 * torch.randn(1, 1, 24, 24, 24, generator=torch.Generator().manual_seed(0))
    inner = 13  # the middle one of 3 x 3 x 3 patches, untouched by the border of the image
    assert importance(edge, 8, 8)[0, inner].item() == pytest.approx(1 / 64)
    assert importance(noise, 8, 8)[0, inner].item() == pytest.approx(0.1075, abs=0.004)


@pytest.mark.parametrize("mode", WEIGHT_MODES)
def test_weights_sum_to_one_over_hidden_patches(mode):
    image = torch.from_numpy(np.stack([volumes()["noise"], volumes()["sphere"]]))[:, None]
    mask = torch.rand(2, 12, generator=torch.Generator().manual_seed(1)) < 0.6
    weights = masked_weights(importance(image, PATCH, mode=mode), mask)
    assert torch.allclose(weights.sum(1), torch.ones(2, dtype=weights.dtype))
    assert not weights[~mask].any() and (weights >= 0).all()


def test_weights_by_hand():
    p = masked_weights(torch.tensor([[1.0, 2.0, 3.0, 10.0]]), torch.tensor([[True, False, True, False]]))
    assert p.tolist() == [[0.25, 0.0, 0.75, 0.0]]


def test_nothing_to_see_gives_equal_weights():
    mask = torch.tensor([[True, True, False, True, True]])
    assert masked_weights(torch.zeros(1, 5), mask).tolist() == [[0.25, 0.25, 0.0, 0.25, 0.25]]


def test_unknown_mode():
    with pytest.raises(ValueError, match="Unknown weight mode 'strong'; choose from paper, magnitude, product"):
        importance(torch.zeros(1, 1, 4, 4, 4), 4, 9, "strong")
