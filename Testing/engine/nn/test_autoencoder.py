"""The masked auto-encoder: who sees whom, what learns, and how large it is."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from asa.nn import (
    AutoencoderConfig,
    DecoderConfig,
    EncoderConfig,
    MaskedAutoencoder,
    autoencoder_preset,
    parameter_count,
    patchify,
)
from asa.nn.autoencoder import visible_patches
from asa.pretext import attentive_loss, importance, masked_weights, patch_errors, random_mask

SMALL = AutoencoderConfig(
    EncoderConfig(frame=(6, 4, 6), patch=4, dim=24, depth=3, heads=2, window=8), DecoderConfig(dim=16, depth=2, heads=2)
)


def make(config: AutoencoderConfig = SMALL) -> tuple[MaskedAutoencoder, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    image = torch.randn(2, config.encoder.in_channels, 16, 16, 16)
    mask = torch.stack([random_mask(64, 0.75, torch.Generator().manual_seed(s)) for s in range(2)])
    return MaskedAutoencoder(config), image, mask


def voxels_of(mask: torch.Tensor, patch: int = 4) -> torch.Tensor:
    """(B, 64) patches -> (B, 1, 16, 16, 16) voxels."""
    cells = mask.view(-1, 1, 4, 4, 4)
    for axis in (2, 3, 4):
        cells = cells.repeat_interleave(patch, axis)
    return cells


def autoencoder_like(**changes) -> AutoencoderConfig:
    encoder = {**SMALL.to_dict()["encoder"], **changes}
    return AutoencoderConfig(EncoderConfig(**encoder), SMALL.decoder)


def test_shape():
    network, image, mask = make()
    assert network(image, mask).shape == patchify(image, 4).shape == (2, 64, 64)


@pytest.mark.parametrize("position", ["symmetric", "literal", "sinusoid", "axial", "learned"])
def test_every_parameter_learns(position):
    network, image, mask = make(autoencoder_like(position=position))
    errors = patch_errors(network(image, mask, (1, 0, 1)), patchify(image, 4))
    attentive_loss(errors, masked_weights(importance(image, 4), mask)).backward()
    still = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not still


def test_reconstruction_depends_on_what_is_visible():
    network, image, mask = make()
    changed = image + voxels_of(~mask)
    assert not torch.allclose(network(image, mask)[mask], network(changed, mask)[mask])


def test_reconstruction_does_not_depend_on_what_is_hidden():
    network, image, mask = make()
    changed = torch.where(voxels_of(mask), torch.full_like(image, 1e6), image)
    assert torch.equal(network(image, mask), network(changed, mask))


def test_mask_tokens_see_visible_tokens():
    """Gradient of one hidden patch's output with respect to the image: it reaches visible voxels, and only these."""
    network, image, mask = make()
    image.requires_grad_(True)
    hidden = mask[0].nonzero()[20, 0]
    network(image, mask)[0, hidden].square().sum().backward()
    assert image.grad is not None
    reached = patchify(image.grad, 4)[0].any(-1)
    assert reached.any() and not reached[mask[0]].any()
    assert not image.grad[1].any(), "images of a batch do not mix"


def test_each_hidden_patch_in_a_window_with_visible_ones_sees_them():
    """After the first decoder block (windows of 8 consecutive grid patches) no mask token is blind."""
    network, image, mask = make()
    image.requires_grad_(True)
    seen: list[torch.Tensor] = []
    network.decoder[0].register_forward_hook(lambda _module, _args, out: seen.append(out))
    network(image, mask)
    for hidden in mask[0].nonzero()[:, 0].tolist():
        window = slice(hidden // 8 * 8, hidden // 8 * 8 + 8)
        if (~mask[0, window]).any():
            (gradient,) = torch.autograd.grad(seen[0][0, hidden].square().sum(), image, retain_graph=True)
            assert gradient.any(), f"patch {hidden} sees no visible patch"


def test_decoder_input_is_in_grid_order():
    network, image, mask = make()
    inputs: list[torch.Tensor] = []
    network.decoder[0].register_forward_pre_hook(lambda _module, args: inputs.append(args[0]))
    network(image, mask)
    expected = network.mask_token + network.position((4, 4, 4))
    is_mask_token = torch.isclose(inputs[0], expected).all(-1)
    assert torch.equal(is_mask_token, mask)


def test_each_image_of_a_batch_is_on_its_own():
    network, image, mask = make()
    together = network(image, mask, [(0, 0, 0), (2, 0, 1)])
    apart = torch.cat([network(image[:1], mask[:1], (0, 0, 0)), network(image[1:], mask[1:], (2, 0, 1))])
    assert torch.allclose(together, apart, atol=1e-5)


def test_checkpointing_changes_nothing():
    network, image, mask = make()
    network(image, mask).square().mean().backward()
    plain = [p.grad.clone() for p in network.parameters()]
    network.zero_grad()
    network.encoder.checkpointing = True
    network(image, mask).square().mean().backward()
    assert all(torch.allclose(a, p.grad, atol=1e-7) for a, p in zip(plain, network.parameters(), strict=True))


def test_visible_patches():
    assert visible_patches(torch.tensor([[True, False, False], [False, True, False]])).tolist() == [[1, 2], [0, 2]]


@pytest.mark.parametrize("rows", [[[True, False], [False, False]], [[True, True], [True, True]]])
def test_rows_that_hide_differently_are_refused(rows):
    with pytest.raises(ValueError, match="same number"):
        visible_patches(torch.tensor(rows))


def test_a_mask_of_another_grid_is_refused():
    network, image, _ = make()
    with pytest.raises(ValueError, match="does not fit"):
        network(image, torch.zeros(2, 63, dtype=torch.bool))


def test_parameters_of_the_paper():
    """Published: encoder 21.49 M, decoder 14.39 M, together (with the bridge and the mask token) 36.03 M."""
    network = MaskedAutoencoder(autoencoder_preset("paper"))
    decoder = sum(map(parameter_count, (network.decoder, network.norm, network.head)))
    assert parameter_count(network.encoder) == pytest.approx(21.49e6, rel=5e-4)
    assert decoder == pytest.approx(14.39e6, rel=5e-4)
    assert parameter_count(network) == pytest.approx(36.03e6, rel=5e-4)
    assert parameter_count(network) == parameter_count(network.encoder) + decoder + 384**2 + 384


@pytest.mark.parametrize("preset", ["paper", "starter"])
def test_settings_survive_json(preset):
    config = autoencoder_preset(preset, position="axial", in_channels=2)
    assert AutoencoderConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_visible_tokens_may_get_their_codes_again_in_the_decoder():
    config = dataclasses.replace(SMALL, decoder=dataclasses.replace(SMALL.decoder, visible_codes=True))
    plain, image, mask = make()
    coded, _, _ = make(config)
    coded.load_state_dict(plain.state_dict())
    assert not torch.allclose(plain(image, mask), coded(image, mask))
    for network in (plain, coded):  # without codes there is nothing to add
        grid = (4, 4, 4)
        network.position._codes[grid, (0, 0, 0)] = torch.zeros(64, config.decoder.dim)
    assert torch.equal(plain(image, mask), coded(image, mask))
