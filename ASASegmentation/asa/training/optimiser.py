"""The optimiser of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
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
    if o.optimiser != "sgd":
        kind = torch.optim.AdamW if o.optimiser == "adamw" else torch.optim.Adam
        fused = can_fuse(p for _, p in trained) or None  # None: PyTorch chooses
        return kind(groups.values(), lr=o.lr, betas=o.betas, fused=fused)
    return torch.optim.SGD(groups.values(), lr=o.lr, momentum=o.momentum, nesterov=o.momentum > 0)


def can_fuse(parameters: Iterable[nn.Parameter]) -> bool:
    """Return whether one operation can do a whole step of Adam, which then reads and writes each weight once.

    Not with weights that are sharded, nor on devices other than processors and NVIDIA GPUs.
    """
    return all(type(p) is nn.Parameter and p.device.type in ("cpu", "cuda") for p in parameters)
