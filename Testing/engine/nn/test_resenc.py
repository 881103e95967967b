"""Residual-encoder U-Net: sizes, masked pre-training, and first weights from public checkpoints."""

from __future__ import annotations

import pytest
import torch

from asa.errors import ModelError
from asa.nn import AutoencoderConfig, DecoderConfig, EncoderConfig, parameter_count
from asa.nn.baselines import NetworkSpec, build_network
from asa.nn.baselines.resenc import ResidualEncoder, stage_widths
from asa.pretext import ReconstructionOptions, make_objective
from asa.training import checkpoint
from asa.training.finetuning.network import pretrained_network
from asa.training.finetuning.residual import pretrained_unet, residual_encoder
from asa.training.pretraining.pretrained import describe

CONFIG = AutoencoderConfig(
    EncoderConfig(frame=(4, 4, 4), dim=48, depth=2, heads=2, window=8), DecoderConfig(dim=48, depth=1, heads=2)
)
SPEC = NetworkSpec("resenc", 2, 3, (32, 32, 32), "small")


def of_nnssl(encoder: ResidualEncoder) -> dict[str, torch.Tensor]:
    """Weights under the names of nnssl, repeated entries and a decoder included."""
    weights = {"decoder.seg_layers.0.weight": torch.zeros(1)}
    for name, value in encoder.state_dict().items():
        part, _, rest = name.partition(".")
        if part == "stem":
            theirs = f"encoder.stem.convs.0.{rest.partition('.')[2]}"
            weights["encoder.stem.convs.0.all_modules.0.weight"] = value
        else:
            stage, block, which, what, last = rest.split(".")
            names = {"first": "conv1", "second": "conv2", "shortcut": "skip.1"}
            theirs = f"encoder.stages.{stage}.blocks.{block}.{names[which]}.{what}.{last}"
        weights[theirs] = value
    return weights


def small_encoder(channels: int = 1, stages: int = 6) -> ResidualEncoder:
    torch.manual_seed(0)
    encoder = ResidualEncoder(channels, stage_widths(4, (128,) * 3)[:stages], (1,) * 6)
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return encoder.eval()


def test_it_has_the_parameters_of_the_release_to_the_unit():
    with torch.device("meta"):
        assert parameter_count(build_network(NetworkSpec("resenc", 4, 4))) == 102_353_972


def test_hidden_voxels_do_not_matter_and_shown_ones_do():
    torch.manual_seed(0)
    network = make_objective("resenc", CONFIG, ReconstructionOptions()).network.eval()
    image = torch.randn(1, 1, 32, 32, 32)
    mask = torch.zeros(1, 64, dtype=torch.bool)
    mask[0, ::2] = True
    found = network.hidden(image, mask, (0, 0, 0), None)
    assert found.shape == (1, 32, 512)
    blocks = mask.view(4, 4, 4).repeat_interleave(8, 0).repeat_interleave(8, 1).repeat_interleave(8, 2)
    assert torch.equal(network.hidden(torch.where(blocks, image + 5, image), mask, (0, 0, 0), None), found)
    assert not torch.allclose(network.hidden(torch.where(blocks, image, image + 5), mask, (0, 0, 0), None), found)
    assert torch.equal(network(image, mask)[:, ::2], found)


def test_attentive_masked_pre_training_learns_with_all_weights():
    torch.manual_seed(0)
    objective = make_objective("resenc", CONFIG, ReconstructionOptions()).train()
    assert objective.attentive
    batch = {"image": torch.randn(2, 1, 32, 32, 32), "origins": [(0, 0, 0)] * 2, "seeds": [1, 2]}
    objective(batch)["loss"].backward()
    assert not [n for n, p in objective.network.named_parameters() if p.grad is None]


def test_fine_tuning_starts_from_a_public_checkpoint(tmp_path):
    encoder = small_encoder()
    path = tmp_path / "checkpoint_final.pth"
    torch.save({"network_weights": of_nnssl(encoder), "nnssl_adaptation_plan": {"x": [1]}}, path)
    network = pretrained_unet(SPEC, path).eval()  # a crop of 32 voxels has room for four of the six stages
    image = torch.randn(1, 1, 32, 32, 32)
    expected = encoder.stages[0](encoder.stem(image))
    assert torch.allclose(network.body.encoder(image.expand(-1, 2, -1, -1, -1))[0], expected, atol=1e-4)
    torch.save({"network_weights": of_nnssl(small_encoder(stages=3))}, path)
    with pytest.raises(ModelError, match=r"stages.3.0.first.conv.weight \(none there, \(32, 16, 3, 3, 3\) here\)"):
        pretrained_unet(SPEC, path)
    torch.save({"network_weights": {"a": torch.zeros(1)}}, path)
    with pytest.raises(ModelError, match="no residual encoder in the layout of nnssl"):
        pretrained_unet(SPEC, path)


def test_fine_tuning_starts_from_a_run_of_its_own_method_only(tmp_path):
    torch.manual_seed(0)
    for method in ("resenc", "asa"):
        objective = make_objective(method, CONFIG, ReconstructionOptions())
        tensors = {f"model.{name}": value for name, value in objective.state_dict().items()}
        described = describe(method, CONFIG, ReconstructionOptions())
        checkpoint.save(tmp_path / f"{method}.safetensors", tensors, {"step": 1, "network": described})
    network = pretrained_unet(NetworkSpec("resenc", 1, 3, (32, 32, 32), "small"), tmp_path / "resenc.safetensors")
    known = residual_encoder(tmp_path / "resenc.safetensors")
    assert all(torch.equal(value, known[name]) for name, value in network.body.encoder.state_dict().items())
    with pytest.raises(ModelError, match="pre-trained with 'asa'; network resenc needs a run of method resenc"):
        pretrained_unet(SPEC, tmp_path / "asa.safetensors")
    with pytest.raises(ModelError, match="set network: resenc"):
        pretrained_network(NetworkSpec("asa", 1, 3, (32, 32, 32), "small"), tmp_path / "resenc.safetensors")
