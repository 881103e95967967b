"""FSDP2: weights, gradients and optimiser state sharded over processes, for large encoders."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from asa.errors import DependencyError
from asa.nn.attention import Block
from asa.training.parallel.distributed import World


def shard(module: nn.Module, world: World) -> None:
    """Split every transformer block, and what remains, over all processes, in place; before the optimiser is made.

    Raises:
        DependencyError: this PyTorch is too old.
    """
    try:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard
    except ImportError:
        raise DependencyError(f"FSDP2 needs PyTorch 2.6 or newer; this is {torch.__version__}.") from None
    mesh = init_device_mesh(world.device.type, (world.size,))
    for part in module.modules():
        if isinstance(part, Block):
            fully_shard(part, mesh=mesh)
    fully_shard(module, mesh=mesh)


def whole(tensor: Tensor) -> Tensor:
    """Return the full tensor of a shared one (every process must ask for it), any other as it is."""
    full_tensor = getattr(tensor, "full_tensor", None)
    return full_tensor() if full_tensor is not None else tensor


def shared_like(full: Tensor, example: Tensor) -> Tensor:
    """``full`` shared out as ``example`` is; as it is where that one is not shared."""
    placements = getattr(example, "placements", None)
    if placements is None:
        return full
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(full.to(example.device), example.device_mesh, placements)  # type: ignore[attr-defined]
