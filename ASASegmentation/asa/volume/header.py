"""Read the grid of a file without its voxels."""

from __future__ import annotations

import os
from pathlib import Path

from asa.errors import InputError
from asa.volume.checks import check_affine, check_shape
from asa.volume.grid import Grid
from asa.volume.image import StorageOrder
from asa.volume.reading import NIBABEL_SUFFIXES, load_header, read_volume


def read_grid(path: str | os.PathLike[str]) -> Grid:
    """Return the grid (T, H, W) of an image or label map, from its header where the format allows.

    Raises:
        InputError: the file does not exist, or its header does not describe a volume.
    """
    source = Path(path)
    if not source.name.lower().endswith(NIBABEL_SUFFIXES):
        return read_volume(source).grid
    try:
        image = load_header(source)
        shape, affine = check_shape(source, image.shape), check_affine(source, image.affine)
    except Exception as error:  # what nibabel trips over in a damaged header can be anything
        raise InputError(f"{source} is missing, or is not an image with a readable header.") from error
    return StorageOrder.of(affine).grid(shape, affine)
