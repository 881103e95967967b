"""The optimiser of a run: one operation for a whole step where that is possible, with the values of many."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from asa.training.optimiser import can_fuse, make_optimiser
from asa.training.settings import Optimisation


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 3))


def trained(module: nn.Module, optimiser: torch.optim.Optimizer) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        module(torch.randn(4, 6, generator=generator)).square().sum().backward()
        optimiser.step()
        optimiser.zero_grad()
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


@pytest.mark.parametrize("kind", ["adamw", "adam"])
def test_a_fused_step_has_the_values_of_many_operations(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    o = Optimisation(optimiser=kind, lr=1e-2, weight_decay=0.1)
    fused = make_optimiser(one := network(), o)
    assert all(group["fused"] for group in fused.param_groups)
    monkeypatch.setattr("asa.training.optimiser.can_fuse", lambda parameters: False)
    plain = make_optimiser(other := network(), o)
    assert not any(group["fused"] for group in plain.param_groups)
    assert torch.allclose(trained(one, fused), trained(other, plain), rtol=1e-5, atol=1e-6)


def test_sharded_weights_and_other_devices_are_not_fused() -> None:
    class Sharded(torch.Tensor):
        """Stands for a DTensor, which FSDP puts in the place of a parameter."""

    assert can_fuse(network().parameters())
    assert not can_fuse([nn.Parameter(torch.zeros(2).as_subclass(Sharded))])
    assert not can_fuse([nn.Parameter(torch.zeros(2, device="meta"))])
