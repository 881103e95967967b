"""A stand-in for `asa inspect`: the same files, made without a network."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ASASlicerLib.nifti import read_nifti, write_nifti
from ASASlicerLib.steps import finish
from ASASlicerLib.tests.fakes import FakeProcess

GRID, BLOCKS, HEADS, WINDOW = (4, 4, 4), 2, 2, 8


def write_checkpoint(path: Path, step: int) -> Path:
    """A safetensors file without a tensor, as far as its header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"format": "asa-checkpoint-1", "record": json.dumps({"step": step})}
    header = json.dumps({"__metadata__": metadata}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    return path


class FakeInspection(FakeProcess):
    """A running `asa inspect`; `finish` lets it answer."""

    def __init__(self, arguments: Sequence[str], folder: Path) -> None:
        super().__init__(folder)
        self.arguments = list(arguments)

    def value(self, name: str) -> str:
        """What follows an option on the command line; "" without it."""
        return self.arguments[self.arguments.index(name) + 1] if name in self.arguments else ""

    @property
    def models(self) -> list[str]:
        return self.arguments[3 : self.arguments.index("--image")]

    def finish(self) -> None:
        """Hides every second patch, or what is drawn; each checkpoint errs less than the one before."""
        image, affine = finish(read_nifti(Path(self.value("--image"))))
        output = Path(self.value("--output"))
        cell = -(-np.array(image.shape) // GRID[::-1])
        i, j, k = np.meshgrid(*[np.arange(n) // c for n, c in zip(image.shape, cell, strict=True)], indexing="ij")
        numbers = np.asarray(np.ravel_multi_index((k, j, i), GRID), np.int32) + 1
        count = int(np.prod(GRID))
        hidden = np.arange(count) % 2 == 1
        if mask := self.value("--mask"):
            drawn = finish(read_nifti(Path(mask)))[0] > 0
            hidden = np.bincount(numbers[drawn], minlength=count + 1)[1:] > 0
        to_voxel = np.zeros((4, 4))
        to_voxel[[0, 1, 2], [2, 1, 0]] = cell
        to_voxel[:, 3] = [*((cell - 1) / 2), 1]
        volumes = {"image": image / 100.0, "importance": numbers / 100.0, "hidden": hidden[numbers - 1]}
        volumes["patches"] = numbers
        for name, values in volumes.items():
            self._write(output / f"{name}.nii", values, affine)
        for number, model in enumerate(self.models):
            own = output / f"step_{number}" if len(self.models) > 1 else output
            error = np.where(volumes["hidden"], 1.0 / (number + 1), 0.0)
            self._write(own / "reconstruction.nii", volumes["image"] + error, affine)
            self._write(own / "error.nii", error, affine)
            summary = {
                "steps": 10 * (number + 1), "hidden": float(hidden.mean()), "mse_hidden_brain": 0.5 / (number + 1),
                "variance_hidden_brain": 1.0, "grid": GRID, "position": "symmetric", "warnings": [],
                "patches_to_ras": (affine @ to_voxel).tolist(),
            }  # fmt: skip
            (own / "inspect.json").write_text(json.dumps(summary), encoding="utf-8")
            self.write_attention(own, count)
            self.say(event="inspected", folder=str(own), steps=summary["steps"], model=model)
        self.say(event="done")
        self.end()

    def _write(self, path: Path, array: np.ndarray, affine: np.ndarray) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        array = array.astype(np.int32 if array.dtype.kind == "i" else np.float32)
        finish(write_nifti(path, lambda: array.T, affine))

    def write_attention(self, folder: Path, count: int) -> None:
        """Each patch takes 3/4 from itself and 1/4 from the last of its window, shifted in the second block."""
        plain = np.arange(count)[:, None] // WINDOW * WINDOW + np.arange(WINDOW)
        shifted = (np.arange(count)[:, None] - WINDOW // 2) % count // WINDOW * WINDOW + np.arange(WINDOW) + WINDOW // 2
        keys = np.stack([plain, shifted % count]).astype(np.int32)
        weights = np.zeros((BLOCKS, HEADS, count, WINDOW), np.float16)
        for block in range(BLOCKS):
            weights[block][:, keys[block] == np.arange(count)[:, None]] = 0.75
            weights[block][:, :, -1] += 0.25
        np.save(folder / "attention.npy", weights)
        np.save(folder / "attention_keys.npy", keys)


class FakeInspectionRunner:
    """Starts a FakeInspection and remembers it."""

    def __init__(self) -> None:
        self.process: Any = None  # a FakeInspection, once one was started

    def start(self, arguments: Sequence[str], folder: Path) -> FakeInspection:
        self.process = process = FakeInspection(arguments, folder)
        return process
