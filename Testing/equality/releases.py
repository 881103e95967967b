"""Import the networks of published repositories from checkouts; nothing of them is part of this project."""

from __future__ import annotations

import importlib
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


def commit(checkout: Path) -> str:
    """Return the commit of a checkout, or what it is called where git does not know it."""
    found = subprocess.run(
        ["git", "-C", str(checkout), "rev-parse", "HEAD"], capture_output=True, encoding="utf-8", check=False
    )
    return found.stdout.strip() or "unknown commit"


def stand_in(name: str, **contents: Any) -> None:
    """Register a module of a package that the networks import and do not need for their arithmetic."""
    module = types.ModuleType(name)
    module.__dict__.update(contents)
    sys.modules[name] = module


class KeepAll(nn.Identity):
    """Stochastic depth that leaves nothing out."""

    def __init__(self, *_: Any) -> None:
        super().__init__()


def truncated_normal(tensor: Tensor, **arguments: float) -> Tensor:
    """In-place initialisation, as ``timm`` has it."""
    return nn.init.trunc_normal_(tensor, **arguments)


def release_module(checkout: Path, name: str) -> types.ModuleType:
    """Return a module of a checkout; ``timm`` and the trainers of nnFormer are replaced by stand-ins."""
    stand_in("timm")
    stand_in("timm.models")
    stand_in(
        "timm.models.layers",
        DropPath=KeepAll,
        to_3tuple=lambda value: (value,) * 3 if isinstance(value, int) else tuple(value),
        trunc_normal_=truncated_normal,
    )
    # packages of which only the networks are read: what they import on the way is not installed here
    stand_in("nnformer", __path__=[str(checkout / "nnformer")])
    stand_in("nnformer.utilities")
    stand_in("nnformer.utilities.nd_softmax", softmax_helper=lambda x: torch.softmax(x, 1))
    stand_in("nnformer.network_architecture", __path__=[str(checkout / "nnformer" / "network_architecture")])
    stand_in("nnformer.network_architecture.initialization", InitWeights_He=None)
    stand_in("nnformer.network_architecture.neural_network", SegmentationNetwork=nn.Module)
    sys.path.insert(0, str(checkout))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(checkout))


@torch.no_grad()
def disturb(network: nn.Module) -> None:
    """Give parameters and statistics values that no initialisation has, so that no part can hide behind 0 or 1."""
    for parameter in network.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.02)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d) and module.running_mean is not None and module.running_var is not None:
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
