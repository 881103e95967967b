"""Fit a training step into GPU memory: first smaller micro-batches, then smaller crops."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import torch
import torch.distributed as dist

from asa.errors import ResourceError
from asa.nn.baselines.registry import MULTIPLE
from asa.nn.position import Grid3
from asa.training.parallel.distributed import World

Candidate = tuple[int, Grid3]  # micro-batch, crop


def candidates(micro_batch: int, crop: Grid3, *, may_crop: bool) -> Iterator[Candidate]:
    """What to try, in this order: halves of the micro-batch; then, one crop at a time, its longest sides shortened."""
    yield micro_batch, crop
    while micro_batch > 1:
        micro_batch = (micro_batch + 1) // 2
        yield micro_batch, crop
    while may_crop and max(crop) > MULTIPLE:
        t, h, w = (side - MULTIPLE if side == max(crop) else side for side in crop)
        crop = (t, h, w)
        yield 1, crop


def choose_fitting(tried: list[Candidate], attempt: Callable[[int, Grid3], None], world: World) -> Candidate:
    """Return the first candidate whose step fits into the memory of every process's device.

    Args:
        attempt: does one step; raises ``torch.cuda.OutOfMemoryError`` where it does not fit.

    Raises:
        ResourceError: none does.
    """
    place = 0
    while place < len(tried):
        try:
            attempt(*tried[place])
            break
        except torch.cuda.OutOfMemoryError:
            place += 1
        gc.collect()
        if world.device.type == "cuda":
            torch.cuda.empty_cache()
    if world.size > 1:
        worst = torch.tensor(place, device=world.device)
        dist.all_reduce(worst, dist.ReduceOp.MAX)
        place = int(worst)
    if place == len(tried):
        micro_batch, crop = tried[-1]
        raise ResourceError(
            f"{micro_batch} crop of {'x'.join(map(str, crop))} voxels does not fit into the GPU's memory; choose a "
            "smaller network or crop, 'fit: crop' to let crops shrink, or a GPU with more memory."
        )
    return tried[place]
