"""What a run can be trained on here, how much memory is free, and which runs have it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from asa.inference.predictor import free_memory
from asa.runs.queue import holders


@dataclass(frozen=True)
class Device:
    """A device: ``name`` as in options; memory in bytes, 0 where the system does not say; runs that have it or wait."""

    name: str
    title: str
    free: int
    total: int
    runs: tuple[Path, ...]


def list_devices() -> list[Device]:
    """The GPUs that PyTorch sees, then the processor."""
    found = []
    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        found.append(_device(f"cuda:{number}", torch.cuda.get_device_name(number), free, total))
    main = free_memory(torch.device("cpu"))
    threads = torch.get_num_threads()
    title = f"Processor, {threads} thread{'s' if threads > 1 else ''}"
    found.append(_device("cpu", title, int(main) if main < float("inf") else 0, _installed()))
    return found


def _device(name: str, title: str, free: int, total: int) -> Device:
    return Device(name, title, free, total, tuple(holders(name)))


def _installed() -> int:
    """Bytes of main memory, 0 where the system does not say."""
    try:
        with Path("/proc/meminfo").open(encoding="ascii") as stream:
            return next(1024 * int(line.split()[1]) for line in stream if line.startswith("MemTotal"))
    except (OSError, StopIteration):
        return 0
