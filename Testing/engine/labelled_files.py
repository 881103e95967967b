"""Small files that look like those of the data sets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

SHAPE = (8, 9, 10)


def save(
    path: Path,
    array: npt.NDArray[Any],
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    origin: Sequence[float] = (0.0, 0.0, 0.0),
) -> Path:
    """Write an array (file order, RAS) as NIfTI, folders included; ``origin`` is the first voxel's place in mm."""
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = origin
    nib.save(nib.Nifti1Image(array, affine), path)
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


def tumour_head(root: Path, name: str, seed: int) -> Path:
    """A BraTS 2021 case of 96 mm around the brain frame's origin: a bright ball of three shells in noise."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(48)] * 3, indexing="ij")).astype(float)
    distance = np.linalg.norm(grid - rng.uniform(22, 26, (3, 1, 1, 1)), axis=0)
    labels = np.select([distance < 1.5, distance < 3, distance < 5], [1, 4, 2], 0)
    for number, part in enumerate(("t1", "t1ce", "t2", "flair")):
        shown = 300 + 100 * ((labels + number) % 5) + rng.normal(0, 20, labels.shape)
        save(root / name / f"{name}_{part}.nii.gz", shown.astype(np.int16), (2, 2, 2), (-48, -65, -43))
    save(root / name / f"{name}_seg.nii.gz", labels.astype(np.uint8), (2, 2, 2), (-48, -65, -43))
    return root / name


def new_brats_case(root: Path, name: str, values: Sequence[int] = (1, 2, 3)) -> Path:
    """A case as BraTS names it from 2023 on."""
    for part in ("t1n", "t1c", "t2w", "t2f"):
        save(root / name / f"{name}-{part}.nii.gz", image())
    save(root / name / f"{name}-seg.nii.gz", label_map(values))
    return root / name
