"""Weights of the authors become an encoder to fine-tune from; anything but weights is refused."""

from __future__ import annotations

import argparse
import pickle

import pytest
import torch
from safetensors.torch import save_file

from asa.cli import main
from asa.errors import ModelError, OutputError
from asa.nn import Encoder, EncoderConfig
from asa.nn.baselines import NetworkSpec
from asa.training.finetuning.network import pretrained_network
from asa.training.pretraining.foreign import import_weights, read_weights
from asa.training.pretraining.pretrained import Pretrained

SIZES = EncoderConfig(dim=24, depth=9, heads=2, window=8, double_softmax=True, late_bias=True, position="released")
OWN_NAMES = {
    "attention.qkv": "attn.qkv",
    "attention.proj": "attn.out_proj",
    "attention.relative_bias": "attn.relative_position_bias_table",
    "mlp.0": "mlp.linear1",
    "mlp.2": "mlp.linear2",
    "embed": "patch_embedding.patch_embeddings.1",
}


def of_authors(channels: int = 1, prefix: str = "encoder.vit.") -> tuple[Encoder, dict[str, torch.Tensor]]:
    """An encoder of ours, and its weights under the authors' names and in their order of voxels."""
    torch.manual_seed(0)
    encoder = Encoder(EncoderConfig(**{**SIZES.__dict__, "in_channels": channels})).eval()
    weights = {}
    for name, value in encoder.state_dict().items():
        if name == "embed.weight":
            value = value.view(24, channels, 512).transpose(1, 2).reshape(24, -1).contiguous()
        for own, theirs in OWN_NAMES.items():
            name = name.replace(own, theirs)
        weights[prefix + name] = value
    weights[f"{prefix}patch_embedding.cls_token"] = torch.zeros(1, 1, 24)
    weights["mask_token"] = torch.zeros(1, 1, 24)
    return encoder, weights


def test_an_encoder_of_the_authors_is_imported_and_initialises_fine_tuning(tmp_path, capsys):
    encoder, weights = of_authors()
    content = {"model": weights, "epoch": 199, "args": argparse.Namespace(lr=1e-4)}
    torch.save(content, tmp_path / "checkpoint-199.pth")
    with pytest.raises(SystemExit) as end:
        main(["import-weights", str(tmp_path / "checkpoint-199.pth"), "-o", str(tmp_path / "run")])
    assert end.value.code == 0
    assert "9 blocks of width 24" in capsys.readouterr().out
    config, imported = Pretrained.open(tmp_path / "run").encoder()
    assert config == SIZES
    again = Encoder(config).eval()
    again.load_state_dict(imported)
    image = torch.randn(1, 1, 16, 16, 16)
    assert torch.equal(again(image), encoder(image))
    spec = NetworkSpec("asa", 2, 3, (32, 32, 32))
    assert pretrained_network(spec, tmp_path / "run").config.encoder.in_channels == 2
    with pytest.raises(OutputError, match="already contains a run"):
        import_weights(tmp_path / "checkpoint-199.pth", tmp_path / "run")


def test_the_encoder_of_a_segmentation_network_keeps_its_channels(tmp_path):
    encoder, weights = of_authors(channels=2, prefix="module.vit.")
    save_file(weights, tmp_path / "weights.safetensors")
    assert import_weights(tmp_path / "weights.safetensors", tmp_path / "run").in_channels == 2
    network = pretrained_network(NetworkSpec("asa", 2, 3, (32, 32, 32)), tmp_path / "run").eval()
    image = torch.randn(1, 2, 16, 16, 16)
    assert torch.equal(network.encoder(image), encoder(image))
    with pytest.raises(ModelError, match=r"trained on 2 modalities, the cases have 4"):
        pretrained_network(NetworkSpec("asa", 4, 3, (32, 32, 32)), tmp_path / "run")


class Harmful:
    def __reduce__(self):
        return (print, ("run",))


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_would_run_code_is_refused_and_not_run(tmp_path, capsys, legacy):
    path = tmp_path / "weights.pth"
    if legacy:
        path.write_bytes(pickle.dumps({"model": Harmful()}))
    else:
        torch.save({"model": {"a": Harmful()}}, path)
    with pytest.raises(ModelError, match=r"more than plain weights.* refused; nothing in it was run") as refusal:
        import_weights(path, tmp_path / "run")
    assert "\n" not in str(refusal.value)
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "run").exists()


def test_tensors_that_do_not_fit_are_named_with_both_shapes(tmp_path):
    _, weights = of_authors()
    name = "encoder.vit.blocks.3.mlp.linear2.weight"
    weights[name] = weights[name][:, :-1].contiguous()
    del weights["encoder.vit.blocks.5.norm1.bias"]
    save_file(weights, tmp_path / "weights.safetensors")
    with pytest.raises(
        ModelError,
        match=r"2 tensors differ, blocks.3.mlp.2.weight \(\(24, 95\) there, \(24, 96\) here\), "
        r"blocks.5.norm1.bias \(none there, \(24,\) here\)",
    ):
        import_weights(tmp_path / "weights.safetensors", tmp_path / "run")


def test_other_files_are_refused_in_one_sentence(tmp_path):
    with pytest.raises(ModelError, match="no file"):
        read_weights(tmp_path / "missing.pth")
    (tmp_path / "text.pth").write_text("weights")
    with pytest.raises(ModelError):
        read_weights(tmp_path / "text.pth")
    (tmp_path / "half.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    with pytest.raises(ModelError, match="damaged"):
        read_weights(tmp_path / "half.safetensors")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ModelError, match="no weights by name"):
        read_weights(tmp_path / "list.pth")
    torch.save({"state_dict": {"conv.weight": torch.zeros(1)}}, tmp_path / "other.pth")
    with pytest.raises(ModelError, match="no encoder of the authors"):
        import_weights(tmp_path / "other.pth", tmp_path / "run")
