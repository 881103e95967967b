"""Windows along every axis: which patches a block can bring together, and that order is nobody's but its own."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from asa.nn import AutoencoderConfig, DecoderConfig, Encoder, EncoderConfig, MaskedAutoencoder
from asa.nn.attention_maps import attention_maps
from asa.nn.position import sequence_rank

GRID = (3, 4, 6)
AXIAL = EncoderConfig(GRID, patch=2, dim=12, depth=6, heads=2, window=6, orders=("thw", "twh", "hwt"))


def test_ranks_are_places_in_line():
    rank = sequence_rank(GRID, "hwt").view(GRID)
    assert sorted(rank.flatten().tolist()) == list(range(72))
    assert rank[1, 0, 0] == 1 and rank[0, 0, 1] == 3 and rank[0, 1, 0] == 18
    assert torch.equal(sequence_rank(GRID, "thw"), torch.arange(72))


def reached(orders: tuple[str, ...], depth: int = 6) -> torch.Tensor:
    """Which patches (T, H, W) change when one patch in the middle does."""
    torch.manual_seed(0)
    encoder = Encoder(dataclasses.replace(AXIAL, orders=orders, depth=depth)).eval()
    tokens = torch.randn(1, 72, 12)
    other = tokens.clone()
    other[0, 30] = torch.randn(12)
    with torch.no_grad():
        before, after = (encoder.encode(x, GRID)[0] for x in (tokens, other))
    return ((before - after).abs().amax(-1) > 1e-6).view(GRID)


def test_only_axial_windows_reach_along_every_axis():
    along_w, axial = reached(("thw",)), reached(AXIAL.orders)
    assert not along_w.all() and axial.float().mean() > along_w.float().mean()
    assert axial.any(2).any(1).all(), "nothing passes along T"
    assert not reached(("thw",), depth=2).any(2).any(1).all()


def test_some_tokens_keep_their_own_places():
    """Encoding all tokens as a subset of the grid gives what encoding the grid gives."""
    torch.manual_seed(0)
    encoder = Encoder(AXIAL).eval()
    tokens = torch.randn(2, 72, 12)
    everything = torch.arange(72).expand(2, -1)
    plain, states = encoder.encode(tokens, GRID, taps=(2, 5))
    chosen, also = encoder.encode(tokens, GRID, taps=(2, 5), shown=everything)
    assert torch.allclose(plain, chosen, atol=1e-6)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(states, also, strict=True))


@pytest.mark.parametrize("absent", [False, True])
def test_hidden_patches_alone_are_those_of_the_whole_answer(absent):
    torch.manual_seed(0)
    network = MaskedAutoencoder(AutoencoderConfig(AXIAL, DecoderConfig(12, 4, 2))).eval()
    image = torch.randn(1, 1, 6, 8, 12)
    mask = torch.zeros(1, 72, dtype=torch.bool)
    mask[0, torch.randperm(72)[:40]] = True
    left_out = None
    if absent:
        left_out = torch.zeros_like(mask)
        left_out[0, (~mask[0]).nonzero()[:10, 0]] = True
    with torch.no_grad():
        whole = network(image, mask, (0, 0, 0), left_out)
        alone = network.hidden(image, mask, (0, 0, 0), left_out)
        if left_out is not None:
            assert not whole[left_out].any()
            other = image.clone()
            corner = int(left_out[0].nonzero()[0])
            t, h, w = corner // 24, corner // 6 % 4, corner % 6
            other[..., 2 * t : 2 * t + 2, 2 * h : 2 * h + 2, 2 * w : 2 * w + 2] += 5
            assert torch.equal(network(other, mask, (0, 0, 0), left_out), whole), "an absent patch was seen"
    assert torch.allclose(whole[mask], alone[0], atol=1e-6)


def test_every_parameter_of_the_auto_encoder_learns():
    torch.manual_seed(0)
    network = MaskedAutoencoder(AutoencoderConfig(AXIAL, DecoderConfig(12, 4, 2)))
    mask = torch.rand(1, 72) > 0.3
    network.hidden(torch.randn(1, 1, 6, 8, 12), mask, (0, 0, 0), None).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_attention_maps_follow_the_line():
    """In a block with windows along T a patch attends to the patches above and below it."""
    torch.manual_seed(0)
    encoder = Encoder(AXIAL).eval()
    maps = attention_maps(encoder, torch.randn(1, 1, 6, 8, 12))
    assert maps.keys.shape == (6, 72, 6) and torch.allclose(maps.weights.sum(-1).float(), torch.ones(()), atol=2e-3)
    along_t = maps.keys[4]  # the first block of the third order
    column = {(t * 4) * 6 for t in range(3)}
    assert column <= set(along_t[0].tolist())
    assert all(patch in row for patch, row in enumerate(along_t.tolist())), "each patch is in its own window"
    assert maps.keys[0][0].tolist() == list(range(6))


def test_a_typical_head_is_what_the_decoder_starts_from():
    """A decoder whose last layer is 0 answers with the mean head, in a crop with that of the crop's place."""
    torch.manual_seed(0)
    network = MaskedAutoencoder(AutoencoderConfig(AXIAL, DecoderConfig(12, 2, 2, typical=True))).eval()
    torch.nn.init.zeros_(network.head.weight)
    assert network.typical is not None and network.typical.shape == (*GRID, 8)
    network.typical.copy_(torch.randn(*GRID, 8))
    mask = torch.zeros(2, 12, dtype=torch.bool)
    mask[0, :5], mask[1, 4:9] = True, True
    crops = torch.randn(2, 1, 4, 4, 6)
    with torch.no_grad():
        whole = network(crops, mask, [(0, 0, 0), (1, 2, 3)])
        alone = network.hidden(crops, mask, [(0, 0, 0), (1, 2, 3)], None)
    places = network.typical[0:2, 0:2, 0:3].flatten(0, 2), network.typical[1:3, 2:4, 3:6].flatten(0, 2)
    assert torch.allclose(whole, torch.stack(places)) and torch.allclose(alone.flatten(0, 1), whole[mask])
