"""Every network of the registry, under one test; nnFormer's and TransBTS's own parts."""

from __future__ import annotations

import itertools
import json

import pytest
import torch

from asa.errors import DependencyError, InputError
from asa.nn import parameter_count
from asa.nn.baselines import NETWORKS, NetworkSpec, build_network, registry
from asa.nn.baselines.nnformer import (
    PADDING,
    DropPath,
    NNFormer,
    VolumeAttention,
    VolumeBlock,
    relative_entries,
    window_join,
    window_partition,
    zones,
)
from asa.nn.baselines.transbts import DecoderUnit

CROP = (32, 64, 32)  # the deepest level keeps two voxels, which instance normalisation needs
MONAI = {"unetr", "swinunetr", "dynunet", "segresnet"}
# Parameters with 4 channels and 4 classes at 128^3, as counted in the releases (Testing/equality).
RELEASED = {"asa": 85_296_164, "nnformer": 37_754_190, "transbts": 32_987_588}
# Parameters of the releases that no output depends on: a class token; a linear embedding and a last LayerNorm.
DEAD = {"asa": 384, "nnformer": 0, "transbts": 512 * 512 + 512 + 2 * 512}


def small(name: str, **changes: object) -> NetworkSpec:
    if name in MONAI:
        pytest.importorskip("monai")
    return NetworkSpec(**{"name": name, "in_channels": 2, "classes": 3, "crop": CROP, "size": "small"} | changes)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_maps_a_crop_to_logits_and_learns_with_all_its_weights(name):
    torch.manual_seed(0)
    network = build_network(small(name, frame=(4, 8, 4))).train()
    outputs = network.forward_deep(torch.randn(2, 2, *CROP), (0, 0, 0))
    assert outputs[0].shape == (2, 3, *CROP)
    assert all(a.shape[-1] >= b.shape[-1] for a, b in itertools.pairwise(outputs))
    sum(o.float().square().mean() for o in outputs).backward()
    silent = [n for n, p in network.named_parameters() if p.requires_grad and p.grad is None]
    assert not silent


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_is_rebuilt_from_its_json_and_answers_alike(name):
    spec = small(name, frame=(4, 8, 4))
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(json.dumps(spec.to_dict())).items()}
    first, second = build_network(spec).eval(), build_network(NetworkSpec(**values)).eval()
    second.load_state_dict(first.state_dict())
    image = torch.randn(1, 2, *CROP)
    with torch.inference_mode():
        a, b = first(image, (0, 0, 0)), second(image, (0, 0, 0))
    assert a.shape == (1, 3, *CROP)
    assert torch.equal(a, b)


@pytest.mark.parametrize("name", RELEASED)
def test_parameters_are_those_of_the_releases_to_the_unit(name):
    with torch.device("meta"):
        network = build_network(NetworkSpec(name, in_channels=4, classes=4))
    assert parameter_count(network) == RELEASED[name] - DEAD[name]


def test_nnformer_without_its_coarser_heads_has_the_other_published_count():
    with torch.device("meta"):
        assert parameter_count(NNFormer(4, 4, deep_supervision=False)) == 37_606_726


def test_unetr_has_the_published_number_of_parameters():
    pytest.importorskip("monai")
    with torch.device("meta"):
        network = build_network(NetworkSpec("unetr", in_channels=4, classes=4))
    assert parameter_count(network) / 1e6 == pytest.approx(102.5, rel=0.01)


def test_a_description_without_layout_is_of_an_earlier_version():
    values = NetworkSpec("asa", 1, 2).to_dict()
    assert NetworkSpec.from_dict(values).layout == "released"
    del values["layout"]
    assert NetworkSpec.from_dict(values).layout == "own"


@pytest.mark.parametrize(("crop", "levels"), [((128, 128, 128), 6), ((160, 192, 160), 6), ((32, 64, 32), 4)])
def test_the_plain_u_net_is_as_deep_as_its_crop_allows(crop, levels):
    pytest.importorskip("monai")
    with torch.device("meta"):
        network = build_network(NetworkSpec("dynunet", 4, 4, crop=crop))
    assert len(network.body.strides) == levels


def test_position_encodings_are_asas_only():
    spec = NetworkSpec("asa", 1, 2, (32, 32, 32), "small", frame=(20, 24, 20), position="sinusoid")
    assert build_network(spec).config.encoder.position == "sinusoid"


def test_what_is_asked_for_must_exist():
    with pytest.raises(InputError, match=r"Unknown network 'unet'.*transbts"):
        build_network(NetworkSpec("unet", 1, 2))
    with pytest.raises(InputError, match="multiple of 32"):
        build_network(NetworkSpec("nnformer", 1, 2, crop=(64, 60, 64)))
    pytest.importorskip("monai")
    with pytest.raises(InputError, match="swinunetr needs a crop of more than 32 voxels"):
        build_network(NetworkSpec("swinunetr", 1, 2, crop=(32, 32, 32), size="small"))
    with pytest.raises(InputError, match="starter"):
        build_network(NetworkSpec("nnformer", 1, 2, size="starter"))


def test_without_monai_the_error_names_the_extra(monkeypatch):
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(registry.importlib, "import_module", missing)
    with pytest.raises(DependencyError, match=r"asa\[train\]"):
        build_network(NetworkSpec("unetr", 1, 2))


def test_windows_come_back():
    x = torch.arange(2 * 4 * 6 * 8 * 3).view(2, 4, 6, 8, 3)
    assert torch.equal(window_join(window_partition(x, 2), (4, 6, 8), 2), x)


def test_zones_keep_the_ends_of_a_shifted_grid_and_its_padding_apart():
    zone = zones((1, 1, 6), 4, (0, 0, 2)).view(2, 4, 4, 4)[:, 0, 0]  # one row along the last axis, padded to 8
    # after the roll the row reads 2 3 4 5 | pad pad 0 1
    assert len(set(zone[0].tolist())) == 1
    assert len(set(zone[1, :2].tolist())) == 1
    assert zone[1, 0] % 3 == PADDING
    assert zone[1, 1] != zone[1, 2] == zone[1, 3]


def test_padding_and_wrapping_do_not_leak_into_shifted_attention():
    torch.manual_seed(0)
    attention = VolumeAttention(8, 2, 4, shifted=True)
    x = torch.randn(1, 4, 4, 10, 8)
    changed = x.clone()
    changed[..., -1, :] += 10  # the last column: rolled beside the first one
    before, after = attention(x), attention(changed)
    assert torch.allclose(before[..., :2, :], after[..., :2, :], atol=1e-6)
    assert not torch.allclose(before[..., -1, :], after[..., -1, :])


def test_skip_attention_reads_keys_and_values_from_the_encoder():
    torch.manual_seed(0)
    attention = VolumeAttention(8, 2, 4, skip=True)
    x, source = torch.randn(1, 4, 4, 4, 8), torch.randn(1, 4, 4, 4, 8)
    assert not torch.allclose(attention(x, source), attention(x, source + 1))
    assert torch.allclose(attention(x, torch.zeros_like(source)), attention(x + 1, torch.zeros_like(source)), atol=1e-6)


def test_skip_attention_has_a_shortcut_around_both_volumes():
    torch.manual_seed(0)
    block = VolumeBlock(8, 2, 4, 0.0, skip=True)
    for last in (block.attention.project_out, block.mlp[2]):
        torch.nn.init.zeros_(last.weight)
        torch.nn.init.zeros_(last.bias)
    x, source = torch.randn(1, 4, 4, 4, 8), torch.randn(1, 4, 4, 4, 8)
    assert torch.equal(block(x, source), x + source)


def test_nnformer_activates_before_it_reduces():
    network = NNFormer(1, 2, embedding=24, heads=(1, 2, 4, 8), decoder_heads=(2, 4, 8), windows=(4, 4, 4, 4))
    low = -20 - torch.rand(2, 4, 4, 4, 24)  # GELU of which is 0
    assert torch.allclose(network.downs[0](low), network.downs[0](2 * low), atol=1e-6)


def test_nnformer_answers_at_three_resolutions_while_it_trains():
    sizes = {"embedding": 24, "heads": (1, 2, 4, 8), "decoder_heads": (2, 4, 8), "windows": (4, 4, 4, 4)}
    network = NNFormer(1, 2, **sizes)
    image = torch.randn(1, 1, 32, 32, 32)
    assert [one.shape[-1] for one in network(image)] == [32, 16, 8]
    assert [one.shape[-1] for one in network.eval()(image)] == [32]
    shares = [block.drop_path.share for stage in network.stages for block in stage]
    assert shares == pytest.approx([0.2 * n / 7 for n in range(8)])
    decoder = [block.drop_path.share for pair in zip(network.skips, network.blocks, strict=True) for block in pair]
    assert decoder == pytest.approx([0.04 * n for n in range(6)])


def test_drop_path_leaves_out_whole_samples_and_keeps_the_mean():
    torch.manual_seed(0)
    drop = DropPath(0.25)
    x = torch.ones(4000, 2, 3)
    dropped = drop(x)
    assert sorted(dropped.unique().tolist()) == [0, pytest.approx(4 / 3)]
    assert (dropped.flatten(1).std(1) == 0).all()
    assert dropped.mean() == pytest.approx(1, abs=0.03)
    assert torch.equal(drop.eval()(x), x)


def test_offsets_share_entries_as_in_the_release():
    entries = relative_entries(2)
    assert entries.shape == (8, 8)
    assert entries[0, 0] == entries[7, 7] == 5 + 3 + 1
    assert entries[7, 0] == 2 * (5 + 3 + 1)
    assert entries[4, 3] == 5 * 2  # one step back along T, one on along H and W


def test_transbts_activates_last_in_its_decoder():
    torch.manual_seed(0)
    unit = DecoderUnit(8)
    x = torch.randn(2, 8, 4, 4, 4)
    change = unit(x) - x
    assert change.min() > -1e-6
    assert change.max() > 0.1
