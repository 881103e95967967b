"""The generator of synthetic heads."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from asa.synth import STRUCTURES, HeadGenerator, SynthSettings, to_structures
from asa.synth.intensity import draw_contrast, foreground_scale, gaussian_blur
from asa.synth.structures import CEREBRAL_WHITE, CORTEX, CSF, TARGETS

FRAME = (32, 40, 32)


@pytest.fixture(scope="module")
def head() -> np.ndarray:
    """Concentric structures in a frame with 8 voxels of margin: white matter, cortex, sulcal CSF, scalp."""
    shape = np.array(FRAME) + 16
    grid = np.meshgrid(*[(np.arange(n) - (n - 1) / 2) / (n / 2) for n in shape], indexing="ij")
    radius = np.sqrt(sum(g**2 for g in grid))
    labels = np.zeros(shape, np.int64)
    for limit, value in ((0.9, 507), (0.75, 24), (0.7, 3), (0.5, 2), (0.15, 4)):
        labels[radius < limit] = value
    return to_structures(labels)


def generator(head: np.ndarray, **settings: float) -> HeadGenerator:
    return HeadGenerator(head[None], FRAME, (16, 24, 16), SynthSettings(**settings))


def test_every_label_has_one_structure():
    numbers = [n for s in STRUCTURES for n in s.labels]
    assert len(numbers) == len(set(numbers))
    assert to_structures(np.array([0, 2, 41, 99999])).tolist() == [0, 1, 1, 0]


def test_a_seed_is_a_sample(head):
    make = generator(head)
    first, again, other = make.sample(7), make.sample(7), make.sample(8)
    assert torch.equal(first.image, again.image) and torch.equal(first.target, again.target)
    assert first.origin == again.origin
    assert not torch.equal(first.image, other.image)


def test_samples_are_finite_crops_on_the_patch_grid(head):
    make = generator(head)
    seen = set()
    for seed in range(40):
        sample = make.sample(seed)
        assert sample.image.shape == sample.target.shape == (16, 24, 16)
        assert torch.isfinite(sample.image).all() and sample.target.dtype == torch.int64
        assert all(0 <= 8 * o <= f - c for o, f, c in zip(sample.origin, FRAME, (16, 24, 16), strict=True))
        seen |= set(sample.target.unique().tolist())
    assert seen == {0, 1, 2, 3, 4}


def test_without_randomness_the_target_is_the_head(head):
    still = {"rotation": 0, "scaling": 0, "shear": 0, "translation": 0, "warp": 0, "stripped_share": 0}
    make = generator(head, **still)
    inner = torch.from_numpy(TARGETS[head][8:-8, 8:-8, 8:-8].astype(np.int64))
    for seed in range(6):
        sample = make.sample(seed)
        box = tuple(slice(8 * o, 8 * o + c) for o, c in zip(sample.origin, (16, 24, 16), strict=True))
        # a flipped crop is the crop at the mirrored place, since this head is symmetric
        assert torch.equal(sample.target, inner[box])


def test_t1_like_contrast_orders_csf_grey_white():
    rng = torch.Generator().manual_seed(0)
    for _ in range(50):
        mean = draw_contrast(rng, 1.0).mean
        assert mean[CSF] < mean[CORTEX] < mean[CEREBRAL_WHITE]


def test_other_contrasts_occur():
    rng = torch.Generator().manual_seed(0)
    inverted = sum(bool(c.mean[CSF] > c.mean[CEREBRAL_WHITE]) for c in (draw_contrast(rng, 0.0) for _ in range(100)))
    assert 20 < inverted < 80


@pytest.mark.parametrize(("share", "low", "high"), [(1.0, 0.6, 1.0), (0.0, 0.0, 0.05)])
def test_stripping_blanks_what_is_outside_the_brain(head, share, low, high):
    make = generator(head, stripped_share=share)
    structure = torch.from_numpy(head[8:24, 8:32, 8:24].astype(np.int64))
    scalp = structure == int(to_structures(np.array([507]))[0])
    blank = []
    for seed in range(8):
        image, target = make.paint(torch.Generator().manual_seed(seed), structure, make.counts[0])
        values, counts = image[scalp].unique(return_counts=True)
        blank.append(float(counts.max()) / int(scalp.sum()))
        assert (target[scalp] == 0).all()
        if share:
            assert (target[image == values[counts.argmax()]] == 0).float().mean() > 0.9
    assert low <= np.mean(blank) <= high


def test_blur_keeps_the_sum_and_has_the_asked_width():
    image = torch.zeros(31, 31, 31)
    image[15, 15, 15] = 1
    blurred = gaussian_blur(image, (2.0, 1.0, 0.0))
    assert blurred.sum() == pytest.approx(1, abs=1e-4)
    place = torch.arange(31.0) - 15
    assert (blurred.sum((1, 2)) * place**2).sum().sqrt() == pytest.approx(2.0, rel=0.05)
    assert (blurred.sum((0, 2)) * place**2).sum().sqrt() == pytest.approx(1.0, rel=0.05)
    assert torch.equal(blurred.sum((0, 1)) > 1e-6, image.sum((0, 1)) > 0)


def test_foreground_scale_is_what_the_whole_head_gives(head):
    rng = torch.Generator().manual_seed(1)
    contrast = draw_contrast(rng, 1.0)
    counts = torch.from_numpy(np.bincount(head.ravel(), minlength=len(STRUCTURES)))
    structure = torch.from_numpy(head.astype(np.int64))
    image = contrast.mean[structure] + contrast.spread[structure] * torch.randn(structure.shape, generator=rng)
    wanted = (structure > 0) & (contrast.mean[structure] > 0.1 * contrast.mean[structure][structure > 0].max())
    centre, spread = foreground_scale(counts, contrast, stripped=False, noise=0.0)
    assert centre == pytest.approx(float(image[wanted].mean()), abs=0.01)
    assert spread == pytest.approx(float(image[wanted].std()), rel=0.05)
