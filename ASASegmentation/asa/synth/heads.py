"""Labelled heads, aligned to the brain frame once for the generator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from asa.errors import InputError
from asa.files import atomic_path
from asa.geometry import FRAME, align_to_frame, resample
from asa.synth.structures import IN_BRAIN, STRUCTURES, to_structures
from asa.volume import Grid, read_volume

MARGIN = 16  # voxels beyond the frame on every side, so that a rotated or shifted head still fills the frame


def margin_grid() -> Grid:
    """Return the brain frame with :data:`MARGIN` voxels more on every side."""
    affine = FRAME.affine.copy()
    affine[:3, 3] = FRAME.to_world([-MARGIN] * 3)
    t, h, w = (n + 2 * MARGIN for n in FRAME.shape)
    return Grid((t, h, w), affine)


def plain_t1(structures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return a brain as T1 shows it, without noise and skull, from structure indices: what the alignment looks at."""
    table = np.zeros(len(STRUCTURES), np.float32)
    for index, structure in enumerate(STRUCTURES):
        if IN_BRAIN[index] and structure.fraction is not None:
            table[index] = 150 + 70 * structure.fraction if structure.fraction > 0 else 150 + 110 * structure.fraction
    image: npt.NDArray[np.float32] = table[structures]
    return image


def prepare_heads(
    label_maps: Sequence[Path], store: Path, progress: Callable[[int, int], None] = lambda _done, _all: None
) -> None:
    """Align each label map and save structure indices (N, T, H, W) uint8 as ``store`` (.npy).

    Raises:
        InputError: no label maps, or one that cannot be read.
        OutputError: no room or no permission.
    """
    if not label_maps:
        raise InputError("No label maps (*.nii.gz) found for training. Choose a folder that contains label maps.")
    heads = []
    grid = margin_grid()
    for number, path in enumerate(label_maps, start=1):
        labels = read_volume(path, labels=True)
        structures = labels.with_array(to_structures(labels.array))
        alignment = align_to_frame(structures.with_array(plain_t1(structures.array)), stripped=True)
        heads.append(resample(structures, grid, order=0, matrix=alignment.matrix).array)
        progress(number, len(label_maps))
    with atomic_path(store) as temporary:
        np.save(temporary, np.stack(heads))
