"""Distributed setup of this process; without torchrun the world size is one."""

from __future__ import annotations

import atexit
import os
import sys
from dataclasses import dataclass
from typing import NoReturn

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.rendezvous import rendezvous

from asa.devices import choose_device


@dataclass(frozen=True)
class World:
    """Rank, number of processes, and the device of this one."""

    rank: int
    size: int
    device: torch.device

    @property
    def main(self) -> bool:
        """True in the one process that writes."""
        return self.rank == 0


def join(device: str = "auto") -> World:
    """Join the group that torchrun describes in the environment (NCCL on GPUs, gloo on CPUs).

    Raises:
        ResourceError: there is no such device.
    """
    choose_device(device)
    size, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    gpu = torch.cuda.is_available() if device == "auto" else device.startswith("cuda")
    if gpu:
        local = (
            int(os.environ.get("LOCAL_RANK", 0))
            if size > 1
            else torch.device(device if device != "auto" else "cuda").index or 0
        )
        torch.cuda.set_device(local)
        chosen = torch.device("cuda", local)
    else:
        chosen = torch.device("cpu" if device == "auto" else device)
    if size > 1 and not dist.is_initialized():
        store, rank, size = next(rendezvous("env://"))
        # processes restarted by torchrun must not find the addresses of ended ones
        attempt = f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"
        store = dist.PrefixStore(attempt, store)  # type: ignore[attr-defined]
        dist.init_process_group("nccl" if gpu else "gloo", store=store, rank=rank, world_size=size)
    return World(rank, size, chosen)


def leave() -> None:
    """Leave the group, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def end_process(code: int) -> NoReturn:
    """End a process of a group immediately, after everything is written, without shutting Python down first.

    Threads of gloo can hold tensors for longer than the group lives; freeing them while Python goes down aborts the
    process, whose work is done (PyTorch's pull request 179291; 2 of 50 runs of two processes here).
    """
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def barrier() -> None:
    """Wait until every process is here."""
    if dist.is_initialized():
        dist.barrier()


def share_buffers(module: nn.Module, world: World) -> None:
    """Give every process the main one's buffers: statistics of batch normalisation differ, and only those are saved."""
    if world.size > 1:
        for buffer in module.buffers():
            dist.broadcast(buffer, 0)


def mean_over_world(values: dict[str, float], world: World) -> dict[str, float]:
    """Average of each value over all processes."""
    if world.size == 1:
        return values
    packed = torch.tensor([values[k] for k in sorted(values)], dtype=torch.float64, device=world.device)
    dist.all_reduce(packed)
    return dict(zip(sorted(values), (packed / world.size).tolist(), strict=True))
