"""LW-MSA and SLW-MSA against a plain loop, and what may not leak."""

from __future__ import annotations

import math

import pytest
import torch

from asa.nn import Encoder, EncoderConfig
from asa.nn.attention import Block, LinearWindowAttention
from asa.nn.attention_maps import attention_in_crops, attention_maps
from asa.nn.encoder import patch_grid


def naive(layer: LinearWindowAttention, x: torch.Tensor) -> torch.Tensor:
    """Token by token: who is in my window, on my side of the wrap?"""
    batch, tokens, dim = x.shape
    size, heads, shift = layer.window, layer.heads, layer.shift
    padded = math.ceil(tokens / size) * size
    width = dim // heads
    q, k, v = layer.qkv(x).chunk(3, dim=-1)
    out = torch.zeros_like(x)
    place = [(i - shift) % padded for i in range(padded)]  # where token i lies after the roll
    for b in range(batch):
        for i in range(tokens):
            near = [j for j in range(tokens) if place[j] // size == place[i] // size and (j < shift) == (i < shift)]
            if shift == 0:
                near = [j for j in range(tokens) if j // size == i // size]
            for h in range(heads):
                part = slice(h * width, (h + 1) * width)
                score = torch.stack(
                    [
                        q[b, i, part] @ k[b, j, part] / math.sqrt(width)
                        + layer.relative_bias[place[i] - place[j] + size - 1, h]
                        for j in near
                    ]
                )
                weight = score.softmax(0)
                if layer.double_softmax:
                    weight = weight.softmax(0)
                out[b, i, part] = sum(w * v[b, j, part] for w, j in zip(weight, near, strict=True))
    return layer.proj(out)


def make(
    tokens: int, *, shifted: bool, window: int = 4, double: bool = False
) -> tuple[LinearWindowAttention, torch.Tensor]:
    torch.manual_seed(tokens)
    layer = LinearWindowAttention(6, 2, window, shifted=shifted, double_softmax=double).double()
    torch.nn.init.normal_(layer.relative_bias)
    return layer, torch.randn(2, tokens, 6, dtype=torch.float64)


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("tokens", [12, 16, 13, 3, 1, 4, 6])
def test_equals_a_plain_loop(tokens, shifted):
    layer, x = make(tokens, shifted=shifted)
    assert torch.allclose(layer(x), naive(layer, x), atol=1e-12, rtol=0)


def test_late_bias_is_added_between_the_two_softmaxes():
    torch.manual_seed(0)
    layer = LinearWindowAttention(6, 2, 4, shifted=True, double_softmax=True, late_bias=True).double()
    torch.nn.init.normal_(layer.relative_bias)
    x = torch.randn(1, 8, 6, dtype=torch.float64)
    q, k, _, bias = layer.windows(x)
    first = (q @ k.transpose(-1, -2) / 3**0.5).softmax(-1)
    expected = (first + bias).softmax(-1).view(1, 2, 2, 4, 4)
    weights = layer.weights(x)
    assert torch.allclose(weights, expected)
    assert (weights[0, 1, :, :2, 2:] == 0).all()  # the wrapped tokens of the last window stay apart
    with pytest.raises(ValueError, match="late_bias needs double_softmax"):
        EncoderConfig(late_bias=True)


def test_double_softmax_option():
    layer, x = make(8, shifted=False, double=True)
    single, _ = make(8, shifted=False)
    assert torch.allclose(layer(x), naive(layer, x), atol=1e-12, rtol=0)
    assert not torch.allclose(layer(x), single(x), atol=1e-3)


def influence(layer: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Which input token changes which output token: bool (outputs, inputs)."""
    x = x[:1].clone().requires_grad_()
    rows = []
    for out in layer(x)[0]:
        (grad,) = torch.autograd.grad(out.sum(), x, retain_graph=True)
        rows.append(grad[0].abs().sum(-1) > 0)
    return torch.stack(rows)


def test_shifted_window_leaks_nothing_across_the_wrap():
    layer, x = make(16, shifted=True)
    seen = influence(layer, x)
    assert not seen[:2, -2:].any() and not seen[-2:, :2].any()
    assert seen[:2, :2].all() and seen[2:6, 2:6].all()


def test_padding_is_never_seen():
    # zero padding would dilute the average of constant values
    for tokens in (13, 1, 6):
        layer, _ = make(tokens, shifted=True)
        flat = torch.ones(1, tokens, 6, dtype=torch.float64)
        value = layer.qkv(flat).chunk(3, dim=-1)[2]
        assert torch.allclose(layer(flat), layer.proj(value), atol=1e-12)


def test_alternating_blocks_pass_information_between_windows():
    torch.manual_seed(0)
    plain = torch.nn.Sequential(Block(6, 2, 4), Block(6, 2, 4)).double()
    mixed = torch.nn.Sequential(Block(6, 2, 4), Block(6, 2, 4, shifted=True)).double()
    x = torch.randn(1, 16, 6, dtype=torch.float64)
    assert not influence(plain, x)[0:4, 4:].any()
    assert influence(mixed, x)[2:4, 4:6].all()


def test_gradient():
    layer, x = make(7, shifted=True)
    assert torch.autograd.gradcheck(lambda y: layer(y), (x[:1].requires_grad_(),))


def test_width_must_divide_into_heads():
    with pytest.raises(ValueError, match="heads"):
        LinearWindowAttention(10, 3)


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("tokens", [12, 13, 3])
def test_weights_are_what_is_mixed(tokens, shifted, double):
    layer, x = make(tokens, shifted=shifted, double=double)
    weights, keys = layer.weights(x), layer.keys(tokens)
    assert torch.allclose(weights.sum(-1), torch.ones(()).double())
    values = layer.qkv(x).chunk(3, dim=-1)[2].unflatten(-1, (layer.heads, -1))
    values = torch.where((keys >= 0)[None, ..., None, None], values[:, keys.clamp_min(0)], 0.0)
    if double:  # its second softmax gives even padding a share, whose value is zero
        assert keys.min() == (-1 if tokens % layer.window else 0)
    mixed = torch.einsum("bchqk,bckhd->bcqhd", weights, values).flatten(-2)
    out = torch.zeros_like(x)
    out[:, keys[keys >= 0]] = mixed[:, keys >= 0]
    assert torch.allclose(layer.proj(out), layer(x), atol=1e-12)


@pytest.mark.parametrize("depth", [1, 3])
def test_maps_of_an_encoder(depth):
    """A token attends to its own window only, in the order of the grid, and the rows are those of its block."""
    torch.manual_seed(0)
    encoder = Encoder(EncoderConfig((2, 3, 5), patch=2, dim=12, depth=depth, heads=3, window=8)).eval()
    image = torch.randn(1, 1, 4, 6, 10)
    maps = attention_maps(encoder, image)
    assert maps.weights.shape == (depth, 3, 30, 8) and maps.keys.shape == (2, 30, 8)
    assert torch.allclose(maps.weights.sum(-1).float(), torch.ones(()), atol=2e-3)
    plain = [[k if k < 30 else -1 for k in range(8 * (n // 8), 8 * (n // 8) + 8)] for n in range(30)]
    assert maps.keys[0].tolist() == plain
    if depth == 1:
        return
    for n in range(30):
        first = (n - 4) % 32 // 8 * 8 + 4
        assert maps.keys[1][n].tolist() == [k % 32 if k % 32 < 30 else -1 for k in range(first, first + 8)]
    hidden = encoder.encode(encoder.tokens(image), patch_grid(image.shape, encoder.config.patch), taps=(1,))[1][0]
    second = encoder.blocks[1]
    wanted = second.attention.weights(second.norm1(hidden))[0]  # (windows, heads, S, S)
    window, place = (7 - 4) // 8, (7 - 4) % 8
    assert torch.allclose(maps.weights[1][:, 7].float(), wanted[window, :, place], atol=1e-3)


def test_maps_in_crops():
    """Each token looks as it does in the crop it is most in the middle of; one crop of all is the whole."""
    torch.manual_seed(0)
    encoder = Encoder(EncoderConfig((2, 3, 6), patch=2, dim=12, depth=2, heads=3, window=4)).eval()
    image = torch.randn(1, 1, 4, 6, 12)
    whole, one = attention_maps(encoder, image), attention_in_crops(encoder, image, (4, 6, 12), [(0, 0, 0)])
    assert torch.equal(whole.weights, one.weights) and torch.equal(whole.keys, one.keys)

    two = attention_in_crops(encoder, image, (4, 6, 8), [(0, 0, 0), (0, 0, 4)])
    left = attention_maps(encoder, image[..., :8])
    right = attention_maps(encoder, image[..., 4:], (0, 0, 2))
    for t, h, w in ((0, 0, 0), (1, 2, 1), (1, 1, 5), (0, 2, 4)):
        maps, start = (left, 0) if w < 3 else (right, 2)
        here, there = (t * 3 + h) * 6 + w, (t * 3 + h) * 4 + w - start
        assert torch.equal(two.weights[:, :, here], maps.weights[:, :, there])
        local = maps.keys[:, there]
        expected = torch.where(local >= 0, local // 4 * 6 + local % 4 + start, -1)
        assert torch.equal(two.keys[:, here], expected)
