"""Labelled heads for image synthesis, aligned once per run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from asa.errors import InputError
from asa.runs.layout import FINE_HEADS, HEADS
from asa.synth.heads import prepare_heads
from asa.synth.partial_volume import prepare_fine_heads
from asa.training.parallel.distributed import World, barrier


def open_heads(label_maps: Path, folder: Path, world: World) -> npt.NDArray[np.uint8]:
    """Structures (N, T, H, W) of the label maps in the brain frame, memory-mapped; prepared once in ``folder``.

    Raises:
        InputError: no label maps, or one that cannot be read.
        OutputError: no room or no permission.
    """
    store = folder / HEADS
    if not store.exists() and world.main:
        if not (found := sorted(label_maps.glob("*.nii.gz"))):
            raise InputError(
                f"{label_maps} contains no label map (*.nii.gz) to generate heads from; choose a folder that does."
            )
        prepare_heads(found, store)
    barrier()
    heads: npt.NDArray[np.uint8] = np.load(store, mmap_mode="r")
    return heads


def open_fine_heads(label_maps: Path, folder: Path, world: World) -> list[npt.NDArray[np.uint8]]:
    """Fine structures of the label maps of a folder, memory-mapped; prepared once in ``folder``.

    Raises:
        InputError: no label maps, or one that cannot be read.
        OutputError: no room or no permission.
    """
    found = sorted(label_maps.glob("*.nii.gz"))
    if world.main:
        prepare_fine_heads(found, folder / FINE_HEADS)
    barrier()
    return [np.load(path, mmap_mode="r") for path in prepare_fine_heads(found, folder / FINE_HEADS)]
