"""Masks and the attentive loss (Eq. 2), with numbers that can be checked by hand."""

from __future__ import annotations

import pytest
import torch

from asa.pretext.losses import attentive_loss, normalised_patches, patch_errors
from asa.pretext.masking import brain_patches, random_mask


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_equation_2_by_hand():
    """Two hidden patches of two voxels: errors (1 + 9)/2 = 5 and (4 + 0)/2 = 2, p = (0.25, 0.75): 1.25 + 1.5."""
    target = torch.zeros(1, 3, 2)
    reconstruction = torch.tensor([[[1.0, 3.0], [100.0, 100.0], [2.0, 0.0]]])
    errors = patch_errors(reconstruction, target)
    assert errors.tolist() == [[5.0, 10000.0, 2.0]]
    assert attentive_loss(errors, torch.tensor([[0.25, 0.0, 0.75]])).item() == 2.75


def test_equal_weights_are_plain_mse():
    errors = torch.rand(2, 8, generator=generator())
    mask = torch.tensor([[True] * 6 + [False] * 2] * 2)
    assert torch.allclose(attentive_loss(errors, mask / 6), errors[:, :6].mean())


def test_normalised_patches():
    patches = normalised_patches(5 + 3 * torch.randn(2, 4, 512, generator=generator()))
    assert patches.mean(-1).abs().max() < 1e-5 and (patches.var(-1) - 1).abs().max() < 1e-4
    assert torch.isfinite(normalised_patches(torch.full((1, 1, 8), 2.0))).all()


@pytest.mark.parametrize(("tokens", "ratio", "hidden"), [(4096, 0.75, 3072), (2, 0.9, 1), (10, 0.01, 1)])
def test_share_that_is_hidden(tokens, ratio, hidden):
    assert int(random_mask(tokens, ratio, generator()).sum()) == hidden


def test_every_patch_is_hidden_as_often():
    masks = torch.stack([random_mask(40, 0.75, generator(seed)) for seed in range(2000)])
    assert (masks.float().mean(0) - 0.75).abs().max() < 0.05


def test_seeded():
    assert torch.equal(random_mask(64, 0.75, generator(5)), random_mask(64, 0.75, generator(5)))
    assert not torch.equal(random_mask(64, 0.75, generator(5)), random_mask(64, 0.75, generator(6)))


def test_only_brain_is_hidden():
    allowed = torch.arange(64) < 20
    mask = random_mask(64, 0.75, generator(), allowed)
    assert int(mask.sum()) == 15 and not mask[20:].any()


def test_an_image_without_brain_is_masked_anywhere():
    assert int(random_mask(64, 0.75, generator(), torch.zeros(64, dtype=torch.bool)).sum()) == 48


@pytest.mark.parametrize(("tokens", "ratio"), [(1, 0.75), (64, 0.0), (64, 1.0), (64, float("nan"))])
def test_impossible_masks(tokens, ratio):
    with pytest.raises(ValueError, match="Cannot hide"):
        random_mask(tokens, ratio, generator())


def test_brain_patches():
    image = torch.full((2, 1, 8, 8, 8), -3.0)
    image[0, 0, 0, 0, 5] = 1.0
    assert brain_patches(image, 4).nonzero().tolist() == [[0, 1]]
