"""The objectives: one interface, seeds decide, and each teaches the whole encoder."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch

from asa.nn import AutoencoderConfig, DecoderConfig, EncoderConfig
from asa.pretext import METHODS, ReconstructionOptions, make_objective, patch_errors, position_scheme
from asa.pretext.cells import CELLS, cut_cells, permutations

Objective = torch.nn.Module


def make(method: str, **options) -> Objective:
    torch.manual_seed(0)
    sizes = EncoderConfig(frame=(6, 6, 6), patch=4, dim=24, depth=2, heads=2, window=8)
    encoder = dataclasses.replace(sizes, position=position_scheme(method))
    return make_objective(method, AutoencoderConfig(encoder, DecoderConfig(16, 2, 2)), ReconstructionOptions(**options))


def make_batch(count: int = 2, size: int = 16) -> dict:
    image = torch.randn(count, 1, size, size, size, generator=torch.Generator().manual_seed(7))
    return {"image": image, "origins": [(1, 0, 1)] * count, "seeds": list(range(3, 3 + count))}


def one(batch: dict, index: int) -> dict:
    return {key: value[index : index + 1] for key, value in batch.items()}


# blocks of the residual encoder start as their shortcuts, so that not all of it learns in the first step
@pytest.mark.parametrize("method", [method for method in METHODS if method != "resenc"])
def test_every_encoder_parameter_learns(method):
    objective = make(method)
    objective.train()
    crops_of_eight_patches = 28
    objective(make_batch(3, crops_of_eight_patches if method in ("rpl", "jigsaw") else 16))["loss"].backward()
    still = [name for name, p in objective.network.encoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert not still


@pytest.mark.parametrize("method", METHODS)
def test_seeds_decide(method):
    objective = make(method).eval()
    batch = make_batch()
    again = {k: v.item() for k, v in objective(batch).items()}
    torch.manual_seed(99)
    assert {k: v.item() for k, v in objective(batch).items()} == again
    assert objective({**batch, "seeds": [20, 21]})["loss"].item() != again["loss"]


@pytest.mark.parametrize("options", [{}, {"brain_only": True}, {"weight_mode": "product"}, {"normalised_target": True}])
def test_a_batch_is_the_mean_of_its_samples(options):
    objective, batch = make("asa", **options), make_batch()
    batch["image"][0, :, :9] = batch["image"].min()  # half a head of air
    together = objective(batch)
    apart = [objective(one(batch, i)) for i in range(2)]
    for name, value in together.items():
        mean = (apart[0][name] + apart[1][name]) / 2
        assert torch.allclose(value, mean, rtol=1e-5), name


def test_which_loss_is_minimised():
    batch = make_batch()
    losses = {method: make(method)(batch) for method in ("asa", "spe-ssl", "a-ssl", "mae")}
    for method, values in losses.items():
        assert values["loss"] == (values["attentive"] if method in ("asa", "a-ssl") else values["mse"])
        assert values["attentive_sum"].item() == pytest.approx(48 * values["attentive"].item())
    assert losses["asa"]["mse"] == losses["spe-ssl"]["mse"], "one network, two losses"
    assert losses["asa"]["mse"] != losses["a-ssl"]["mse"], "two position encodings"


def test_explanation_adds_up():
    objective, batch = make("asa"), make_batch()
    explained = objective.explain(batch)
    weights = explained.importance * explained.mask
    weights = weights / weights.sum(1, keepdim=True)
    errors = patch_errors(explained.reconstruction, explained.target)
    assert (weights * errors).sum(1).mean().item() == pytest.approx(objective(batch)["loss"].item(), rel=1e-5)


def test_air_at_the_border_is_no_edge():
    objective = make("asa")
    image = torch.full((1, 1, 16, 16, 16), -3.0)
    assert not objective.importance(image).any()
    image[0, 0, 8, 8, 8] = 1.0
    assert 0 < (objective.importance(image) > 0).sum() <= 7


def test_cells_cover_the_image_without_overlap():
    image = torch.arange(30.0**3).view(1, 30, 30, 30)
    cells = cut_cells(image, 4, None)
    assert cells.shape == (27, 1, 8, 8, 8)
    assert torch.equal(cells[13], image[:, 11:19, 11:19, 11:19])
    assert cells.unique().numel() == cells.numel()
    jittered = cut_cells(image, 4, torch.Generator().manual_seed(0))
    for number, place in enumerate(itertools.product(range(3), repeat=3)):
        first = int(jittered[number, 0, 0, 0, 0])
        assert (first // 900 // 10, first // 30 % 30 // 10, first % 30 // 10) == place


def test_published_cells():
    assert cut_cells(torch.zeros(1, 128, 128, 128), 8, None).shape == (27, 1, 40, 40, 40)


def test_too_small_for_cells():
    with pytest.raises(ValueError, match="too small for 27 cells"):
        cut_cells(torch.zeros(1, 12, 12, 12), 4, None)


def test_permutations_are_as_different_as_can_be():
    orders = permutations(100)
    assert orders[0].tolist() == list(range(CELLS))
    assert torch.equal(orders.sort(1).values, torch.arange(CELLS).expand(100, -1))
    distance = (orders[:, None] != orders[None]).sum(-1) + 99 * torch.eye(100, dtype=torch.int64)
    assert distance.min() == CELLS - 1
    assert permutations(702).unique(dim=0).shape[0] == 702


def test_context_crops_do_not_tell_their_place():
    """The answer may not be read off position codes: origins of the batch make no difference."""
    objective, batch = make("rpl").eval(), make_batch()
    elsewhere = {**batch, "origins": [(0, 0, 0), (2, 2, 2)]}
    assert objective(batch)["loss"] == objective(elsewhere)["loss"]
