"""The segmenter whose deep levels are the encoder's alone."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from asa.nn import EncoderConfig, HybridSegmenter, Segmenter, SegmenterConfig, build_segmenter, segmenter_preset

ENCODER = EncoderConfig((4, 4, 4), in_channels=2, dim=24, depth=4, heads=2, window=8, orders=("thw", "hwt"))
SMALL = SegmenterConfig(
    ENCODER, 3, (4, 8, 12, 16, 20), taps=(1, 2, 3), hybrid=True, mirror=True, subpixel=True, norm="batch"
)


@pytest.fixture
def network() -> HybridSegmenter:
    torch.manual_seed(0)
    made = build_segmenter(SMALL)
    assert isinstance(made, HybridSegmenter)
    return made


def test_configuration_survives_json():
    import json

    assert SegmenterConfig.from_dict(json.loads(json.dumps(SMALL.to_dict()))) == SMALL
    assert not isinstance(build_segmenter(dataclasses.replace(SMALL, hybrid=False)), HybridSegmenter)


def test_shapes_and_gradients(network):
    image = torch.randn(2, 2, 32, 32, 32)
    outputs = network.forward_deep(image, [(0, 0, 0), (0, 0, 0)])
    assert [tuple(o.shape) for o in outputs] == [(2, 3, 32, 32, 32), (2, 3, 8, 8, 8), (2, 3, 4, 4, 4)]
    sum(o.square().mean() for o in outputs).backward()
    silent = {name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum()}
    # the addition to the tokens starts at zero, so what feeds it learns from the second step on
    assert all(name.startswith("inject.0") for name in silent), silent


def test_the_encoder_begins_as_it_was_pre_trained(network):
    network.eval()
    image = torch.randn(1, 2, 32, 32, 32)
    seen = []
    network.encoder.blocks[0].register_forward_pre_hook(lambda _module, given: seen.append(given[0]))
    with torch.no_grad():
        network(image)
        assert torch.equal(seen[0], network.encoder.tokens(image))


def test_attention_and_codes_reach_the_answer(network):
    """Without either the answer is another one, at once and not after training only."""
    network.eval()
    image = torch.randn(1, 2, 32, 32, 32)
    with torch.no_grad():
        whole = network(image)
        assert not torch.allclose(network(image, (0, 0, 0)), build_other(network)(image), atol=1e-4)
        for block in network.encoder.blocks:
            block.attention.proj.weight.zero_()
            block.attention.proj.bias.zero_()
        assert not torch.allclose(network(image), whole, atol=1e-4)


def build_other(network: Segmenter) -> Segmenter:
    """The same weights with codes of zero."""
    other = build_segmenter(SMALL).eval()
    other.load_state_dict(network.state_dict())
    other.encoder.codes = lambda grid, origin=(0, 0, 0): torch.zeros(1, 64, 24)  # type: ignore[method-assign]
    return other


def test_asymmetry_is_the_difference_to_the_other_side(network):
    image = torch.randn(2, 2, 32, 32, 32)
    image[0] = (image[0] + image[0].flip(-1)) / 2
    found = network.asymmetry(image, (0, 0, 0))
    assert found.shape == (2, 2, 8, 8, 8)
    assert found[0].abs().max() < 1e-6 and found[1].any() and torch.allclose(found[1], -found[1].flip(-1))
    narrow = image[..., :16]
    assert not network.asymmetry(narrow, [(0, 0, 0), (0, 0, 1)])[0].any(), "a crop beside the midline"
    assert network.asymmetry(narrow, [(0, 0, 0), (0, 0, 1)])[1].any()


def test_fused_network_answers_the_same(network):
    image = torch.randn(1, 2, 32, 32, 32)
    for _ in range(3):
        network(image)
    network.eval()
    with torch.no_grad():
        assert torch.allclose(network.fuse()(image), network(image), atol=1e-5)


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="sub-pixel"):
        build_segmenter(dataclasses.replace(SMALL, subpixel=False))


def test_presets_of_the_brain_share_their_encoder():
    tumour = segmenter_preset("brain", in_channels=4, classes=3, subpixel=True)
    tissue = segmenter_preset("brain", in_channels=1, classes=5, subpixel=True)
    assert dataclasses.replace(tumour.encoder, in_channels=1) == tissue.encoder and tumour.hybrid and tumour.mirror
