"""Small files that look like those of the data sets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

SHAPE = (8, 9, 10)


def save(path: Path, array: npt.NDArray[Any], spacing: Sequence[float] = (1.0, 1.0, 1.0)) -> Path:
    """Write an array (file order, RAS) as NIfTI, folders included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([*spacing, 1.0])), path)
    return path


def label_map(values: Iterable[int], shape: tuple[int, int, int] = SHAPE) -> npt.NDArray[np.uint8]:
    """A map that holds each of ``values`` once or more, and background."""
    array = np.zeros(shape, np.uint8)
    for place, value in enumerate(values):
        array[2:5, 2:5, place] = value
    return array


def image(shape: tuple[int, int, int] = SHAPE) -> npt.NDArray[np.int16]:
    """Noise."""
    return np.random.default_rng(0).integers(1, 1000, shape).astype(np.int16)


def brats_case(root: Path, name: str, values: Sequence[int] = (1, 2, 4), suffix: str = ".nii.gz") -> Path:
    """A case as BraTS up to 2021 named it."""
    for part in ("t1", "t1ce", "t2", "flair"):
        save(root / name / f"{name}_{part}{suffix}", image())
    save(root / name / f"{name}_seg{suffix}", label_map(values))
    return root / name


def new_brats_case(root: Path, name: str, values: Sequence[int] = (1, 2, 3)) -> Path:
    """A case as BraTS names it from 2023 on."""
    for part in ("t1n", "t1c", "t2w", "t2f"):
        save(root / name / f"{name}-{part}.nii.gz", image())
    save(root / name / f"{name}-seg.nii.gz", label_map(values))
    return root / name
