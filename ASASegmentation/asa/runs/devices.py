"""Devices available for training, their free memory, and the runs on them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from asa.memory import main_memory
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
    """Return the GPUs that PyTorch sees, then the processor."""
    found = []
    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        found.append(_device(f"cuda:{number}", torch.cuda.get_device_name(number), free, total))
    threads = torch.get_num_threads()
    title = f"Processor, {threads} thread{'s' if threads > 1 else ''}"
    found.append(_device("cpu", title, main_memory("MemAvailable"), main_memory("MemTotal")))
    return found


def _device(name: str, title: str, free: int, total: int) -> Device:
    return Device(name, title, free, total, tuple(holders(name)))
