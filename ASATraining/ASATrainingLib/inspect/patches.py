"""Patch grid of a model in a scan: positions, mirror partners, attention."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ASASlicerLib.steps import Steps, slabs


@dataclass(frozen=True, eq=False)
class Patches:
    """The patch grid of a model, laid into a scan.

    `numbers` (K, J, I) holds number + 1 of the patch at each voxel, 0 outside. `grid` is (t, h, w), patches are
    counted with w fastest. `to_ras` maps (t, h, w) to the centre of a patch in mm, before the scan's transforms.
    `symmetric`: whether a patch and its mirror image carry the same position code.
    """

    numbers: np.ndarray
    grid: tuple[int, int, int]
    to_ras: np.ndarray
    symmetric: bool

    @staticmethod
    def of(numbers: np.ndarray, summary: Mapping[str, Any]) -> Patches:
        """Read the output of `asa inspect`.

        Raises:
            LookupError, ValueError: it is invalid.
        """
        t, h, w = (int(n) for n in summary["grid"])
        matrix = np.asarray(summary["patches_to_ras"], dtype=float)
        if matrix.shape != (4, 4):
            raise ValueError("The patch positions in inspect.json are damaged.")
        return Patches(numbers, (t, h, w), matrix, summary["position"] in ("symmetric", "literal"))

    def __len__(self) -> int:
        return int(np.prod(self.grid))

    def fill(self, array: np.ndarray, values: np.ndarray) -> None:
        """Write values of all patches (N,) to their voxels in the scan (K, J, I), 0 elsewhere."""
        table = np.concatenate([[0], values]).astype(array.dtype)
        # per plane, because the indices of a whole scan exceed the cache
        for plane, numbers in zip(array, self.numbers, strict=True):
            np.take(table, numbers, out=plane, mode="clip")

    def marked(self, array: np.ndarray) -> Steps[np.ndarray]:
        """Return the patches with more than half of their voxels marked in the scan (K, J, I): (N,) bool."""
        size = len(self) + 1
        balance = np.zeros(size, np.int64)  # marked voxels less the others
        for slab in slabs(array.shape, self.numbers.itemsize):
            numbers = self.numbers[slab]
            balance += 2 * np.bincount(numbers[array[slab] != 0], minlength=size)
            balance -= np.bincount(numbers.ravel(), minlength=size)
            yield True
        return balance[1:] > 0

    def at(self, ras: np.ndarray) -> int | None:
        """Return the patch at a point in mm, None outside the grid."""
        place = np.linalg.inv(self.to_ras) @ [*ras, 1.0]
        index = np.rint(place[:3]).astype(int)
        if (index < 0).any() or (index >= self.grid).any():
            return None
        return int(np.ravel_multi_index(tuple(index), self.grid))

    def centre(self, patch: int) -> np.ndarray:
        """Return the centre of a patch in mm."""
        return (self.to_ras @ [*self.place(patch), 1.0])[:3]

    def place(self, patch: int) -> tuple[int, int, int]:
        """Return the position (t, h, w) of a patch."""
        t, h, w = np.unravel_index(patch, self.grid)
        return int(t), int(h), int(w)

    def mirror(self, patch: int) -> int:
        """Return the patch at the mirrored position."""
        t, h, w = self.place(patch)
        return int(np.ravel_multi_index((t, h, self.grid[2] - 1 - w), self.grid))


class Attention:
    """Attention between patches in the encoder, written by `asa inspect --attention`; read on demand."""

    def __init__(self, folder: Path) -> None:
        """Open the attention files. Raises OSError or ValueError if they are missing or invalid."""
        self._path = folder / "attention.npy"
        self._keys = np.load(folder / "attention_keys.npy", allow_pickle=False)
        shape = self._weights().shape
        if len(shape) != 4 or self._keys.shape[1:] != shape[2:]:
            raise ValueError("The attention files have an unsupported format.")
        self.blocks, self.heads = int(shape[0]), int(shape[1])

    def _weights(self) -> np.ndarray:
        """Open the weights on demand: on Windows an open file cannot be removed."""
        weights: np.ndarray = np.load(self._path, mmap_mode="r", allow_pickle=False)
        return weights

    def of(self, patch: int, block: int | None, head: int | None) -> np.ndarray:
        """Return the attention of a patch to all patches: (N,) float32, for one block and head, or their mean for None.

        Sums to 1 minus the attention to padding.
        """
        stored = self._weights()
        taken = np.zeros(stored.shape[2], np.float32)
        blocks = range(self.blocks) if block is None else (block,)
        for number in blocks:
            weights = np.asarray(stored[number, :, patch], np.float32)
            row = weights.mean(0) if head is None else weights[head]
            keys = self._keys[number % len(self._keys), patch]
            taken[keys[keys >= 0]] += row[keys >= 0] / len(blocks)
        return taken
