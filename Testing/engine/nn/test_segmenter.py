"""Encoder and segmentation network."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from asa.nn import (
    Encoder,
    EncoderConfig,
    Segmenter,
    SegmenterConfig,
    build_segmenter,
    encoder_preset,
    inflate_channels,
    parameter_count,
    patchify,
    segmenter_preset,
    unpatchify,
)
from asa.nn.segmenter import depth_to_space, space_to_depth

TINY = EncoderConfig(frame=(8, 8, 8), dim=24, depth=4, heads=2, window=8)
SMALL = {
    "paper-like": SegmenterConfig(encoder=TINY, classes=3, widths=(4, 6, 8, 10, 12, 14), taps=(1, 2, 3, 4)),
    "starter-like": SegmenterConfig(
        encoder=TINY, classes=3, widths=(4, 6, 8, 10, 12), taps=(1, 2, 3), pyramid=True, norm="batch"
    ),
}
SUBPIXEL = dataclasses.replace(SMALL["starter-like"], subpixel=True)


def test_patches_flatten_t_h_w_with_w_fastest_and_come_back():
    image = torch.arange(2 * 4 * 6 * 8, dtype=torch.float32).view(1, 2, 4, 6, 8)
    patches = patchify(image, 2)
    assert patches.shape == (1, 2 * 3 * 4, 2 * 8)
    assert torch.equal(patches[0, 1, :8].view(2, 2, 2), image[0, 0, :2, :2, 2:4])
    assert torch.equal(patches[0, 4, 8:].view(2, 2, 2), image[0, 1, :2, 2:4, :2])
    assert torch.equal(unpatchify(patches, (2, 3, 4), 2), image)


def test_image_must_divide_into_patches():
    with pytest.raises(ValueError, match="does not divide"):
        patchify(torch.zeros(1, 1, 8, 8, 9), 8)


def test_published_parameter_counts():
    with torch.device("meta"):
        encoder = parameter_count(Encoder(encoder_preset("paper")))
        network = build_segmenter(segmenter_preset("paper", in_channels=4, classes=4))
        own = build_segmenter(segmenter_preset("paper", in_channels=4, classes=4, layout="own"))
    assert encoder == pytest.approx(21.49e6, rel=0.001)
    assert parameter_count(network) == 85_295_780
    assert [parameter_count(tap) for tap in network.taps] == [290_304, 294_912, 3_059_712, 1_179_648, 38_928_384]
    assert network.config.taps == (3, 5, 7, 9)
    assert parameter_count(own) == 84_937_624
    assert own.config.taps == (2, 4, 6, 8)


def test_the_layout_of_a_configuration_of_an_earlier_version_is_its_own():
    values = segmenter_preset("paper", in_channels=4, classes=4, layout="own").to_dict()
    del values["layout"], values["encoder"]["late_bias"]
    config = SegmenterConfig.from_dict(values)
    assert config == segmenter_preset("paper", in_channels=4, classes=4, layout="own")
    with torch.device("meta"):
        assert type(build_segmenter(config)) is Segmenter


def test_the_released_layout_gives_five_resolutions_and_learns_with_all_its_weights():
    torch.manual_seed(0)
    widths = (4, 6, 8, 10, 12, 14)
    config = SegmenterConfig(TINY, 3, widths, taps=(1, 2, 3, 4), deep_supervision=4, layout="released")
    network = build_segmenter(config)
    outputs = network.forward_deep(torch.randn(2, 1, 64, 32, 64), (0, 2, 0))
    assert [tuple(o.shape) for o in outputs] == [(2, 3, 64 // s, 32 // s, 64 // s) for s in (1, 2, 4, 8, 16)]
    sum(o.square().mean() for o in outputs).backward()
    silent = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not silent
    assert torch.equal(network.eval()(image := torch.randn(1, 1, 32, 32, 64)), network.forward_deep(image)[0])
    with pytest.raises(ValueError, match="released layout"):
        build_segmenter(dataclasses.replace(config, subpixel=True))


def test_starter_fits_its_file_size():
    with torch.device("meta"):
        network = Segmenter(segmenter_preset("starter", in_channels=1, classes=5))
    assert 2 * parameter_count(network) < 25e6


@pytest.mark.parametrize("name", SMALL)
def test_shapes_deep_outputs_and_gradients(name):
    torch.manual_seed(0)
    network = Segmenter(SMALL[name])
    outputs = network.forward_deep(torch.randn(2, 1, 64, 32, 64), (0, 2, 0))
    assert [tuple(o.shape) for o in outputs] == [(2, 3, 64 // s, 32 // s, 64 // s) for s in (1, 2, 4, 8)]
    sum(o.square().mean() for o in outputs).backward()
    silent = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not silent


def test_space_and_depth_are_exchanged_and_come_back():
    image = torch.arange(2 * 3 * 4 * 6 * 8, dtype=torch.float32).view(2, 3, 4, 6, 8)
    deep = space_to_depth(image)
    assert deep.shape == (2, 24, 2, 3, 4)
    assert torch.equal(deep[1, 8:16, 1, 2, 3].view(2, 2, 2), image[1, 1, 2:, 4:, 6:])  # one 2x2x2 block
    assert torch.equal(depth_to_space(deep), image)


def test_a_subpixel_network_answers_for_every_voxel_and_shares_weights_below():
    network = Segmenter(SUBPIXEL).eval()
    image = torch.randn(1, 1, 32, 32, 32)
    outputs = network.forward_deep(image)
    assert [tuple(o.shape[2:]) for o in outputs] == [(32, 32, 32), (8, 8, 8), (4, 4, 4)]
    assert torch.equal(outputs[0], network(image))
    # fine detail comes out: neighbours within one block of two voxels differ
    assert (outputs[0][..., ::2] - outputs[0][..., 1::2]).abs().min() > 0
    outputs[0].sum().backward()
    assert all(p.grad is not None for n, p in network.named_parameters() if "heads.1" not in n and "heads.2" not in n)
    plain = {k: v.shape for k, v in Segmenter(SMALL["starter-like"]).state_dict().items()}
    own = {k: v.shape for k, v in network.state_dict().items()}
    assert {k for k in own if plain.get(k) != own[k]} <= {k for k in own if k.startswith(("stem", "ups.1", "heads"))}


@pytest.mark.parametrize("name", SMALL)
def test_origin_matters_and_a_batch_may_mix_origins(name):
    torch.manual_seed(0)
    network = Segmenter(SMALL[name]).eval()
    image = torch.randn(1, 1, 32, 32, 64)
    a, b = network(image, (0, 0, 0)), network(image, (4, 4, 0))
    assert not torch.allclose(a, b, atol=1e-5)
    both = network(image.expand(2, -1, -1, -1, -1), [(0, 0, 0), (4, 4, 0)])
    assert torch.allclose(both, torch.cat((a, b)), atol=1e-5)


def test_fused_network_gives_the_same_answer():
    torch.manual_seed(0)
    network = Segmenter(SMALL["starter-like"])
    image = torch.randn(2, 1, 32, 32, 64)
    network(image)  # running statistics that are not the defaults
    network.eval()
    before = network(image)
    assert torch.allclose(network.fuse()(image), before, atol=1e-5)
    assert not any(isinstance(m, torch.nn.BatchNorm3d) for m in network.modules())


@pytest.mark.parametrize("slab", [8, 24, 64])
def test_a_fused_network_computes_its_finest_level_in_slabs_of_the_same_values(slab, monkeypatch):
    torch.manual_seed(0)
    network = Segmenter(SMALL["starter-like"])
    image = torch.randn(2, 1, 64, 32, 32)
    network(image)  # running statistics that are not the defaults
    network.eval().fuse()
    monkeypatch.setattr("asa.nn.segmenter.SLAB", slab)
    with torch.inference_mode():
        whole = network.finest(network.features(image)[0])
        assert torch.allclose(network(image), whole, atol=1e-6)


def test_config_survives_json():
    import json

    config = SMALL["starter-like"]
    assert SegmenterConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_inflated_embedding_gives_equal_channels_the_code_of_one():
    one = Encoder(TINY)
    three = Encoder(dataclasses.replace(TINY, in_channels=3))
    three.load_state_dict(one.state_dict() | {"embed.weight": inflate_channels(one.embed.weight, 3)})
    image = torch.randn(1, 1, 16, 16, 16)
    assert torch.allclose(three(image.expand(-1, 3, -1, -1, -1)), one(image), atol=1e-5)


def test_checkpointing_changes_memory_not_gradients():
    torch.manual_seed(0)
    encoder = Encoder(TINY)
    image = torch.randn(1, 1, 16, 16, 16)
    grads = []
    for checkpointing in (False, True):
        encoder.zero_grad()
        encoder.checkpointing = checkpointing
        encoder(image).square().mean().backward()
        grads.append(encoder.embed.weight.grad.clone())
    assert torch.allclose(*grads, atol=1e-6)


def test_taps_must_fit_the_levels():
    with pytest.raises(ValueError, match="Taps"):
        Segmenter(SegmenterConfig(encoder=TINY, widths=(4, 6, 8), taps=(1, 2)))


def test_bfloat16_agrees_with_float32():
    torch.manual_seed(0)
    network = Segmenter(SMALL["starter-like"]).eval()
    image = torch.randn(1, 1, 32, 32, 32)
    exact = network(image)
    with torch.autocast("cpu", torch.bfloat16):
        half = network(image).float()
    assert (exact - half).abs().max() < 0.05 * exact.abs().max()


def test_bfloat16_strided_convolution_of_one_output_voxel():
    # CPU bf16 conv3d was wrong for output width 1 with stride > 1 (PyTorch issue 169688)
    torch.manual_seed(0)
    conv = torch.nn.Conv3d(16, 16, 3, stride=2, padding=1)
    x = torch.randn(1, 16, 2, 2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        half = conv(x).float()
    assert (conv(x) - half).abs().max() < 0.05
