"""The optimiser of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from asa.training.settings import Optimisation


def make_optimiser(
    module: nn.Module, o: Optimisation, lr_scale: Callable[[str], float] = lambda _name: 1.0
) -> torch.optim.Optimizer:
    """AdamW, Adam or Nesterov SGD; what has one axis (biases, norms, mask token) is not decayed.

    ``lr_scale``: factor on the learning rate, by the name of the parameter.
    """
    groups: dict[tuple[bool, float], dict[str, Any]] = {}
    trained = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    for decayed in (True, False):
        for name, parameter in trained:
            if (parameter.ndim > 1) is decayed:
                scale = lr_scale(name)
                new = {"params": [], "weight_decay": o.weight_decay if decayed else 0.0, "lr_scale": scale}
                groups.setdefault((decayed, scale), new)["params"].append(parameter)
    if o.optimiser == "adamw":
        return torch.optim.AdamW(groups.values(), lr=o.lr, betas=o.betas)
    if o.optimiser == "adam":
        return torch.optim.Adam(groups.values(), lr=o.lr, betas=o.betas)
    return torch.optim.SGD(groups.values(), lr=o.lr, momentum=o.momentum, nesterov=o.momentum > 0)
