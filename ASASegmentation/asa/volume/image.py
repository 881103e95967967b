"""Image with its grid, and the axis order of its file."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from asa.volume.grid import Affine, Grid

# Which world axis (R, A, S) each array axis (T, H, W) follows.
WORLD_AXES = (2, 1, 0)


@dataclass(frozen=True, eq=False)
class StorageOrder:
    """How a file orders its voxels, so that a result can be written on the file's own grid.

    axes: for each of (T, H, W), the file axis that runs along it.
    flipped: for each of (T, H, W), whether the file runs against it.
    header: the geometry part of a NIfTI header, when the file was one: its sform, qform and codes are kept.
    oriented: False where a format other than NIfTI left out how the head lies (NRRD without a space, MGH without
        valid direction cosines).
    """

    axes: tuple[int, int, int] = (2, 1, 0)
    flipped: tuple[bool, bool, bool] = (False, False, False)
    header: Any = None
    oriented: bool = True

    @classmethod
    def of(cls, affine: Affine, header: Any = None, *, oriented: bool = True) -> StorageOrder:
        """Return the order that a file affine (4×4, file indices → RAS mm, not singular) describes.

        Each array axis takes the file axis closest to it, so oblique and sheared scans are ordered too.
        """
        orientation = nib.io_orientation(affine)
        axes = [int(np.flatnonzero(orientation[:, 0] == world)[0]) for world in WORLD_AXES]
        t, h, w = (bool(orientation[axis, 1] < 0) for axis in axes)
        return cls((axes[0], axes[1], axes[2]), (t, h, w), header, oriented)

    @property
    def sides_unknown(self) -> bool:
        """Whether the file does not say how the head lies in it (a NIfTI with neither sform nor qform, for example)."""
        if not self.oriented:
            return True
        return self.header is not None and not (int(self.header["sform_code"]) or int(self.header["qform_code"]))

    def to_array(self, stored: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """View of a file array as (T, H, W)."""
        return np.flip(stored.transpose(self.axes), self._flipped_axes)

    def to_stored(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """View of an array (T, H, W) in the order of the file."""
        return np.flip(array, self._flipped_axes).transpose(np.argsort(self.axes))

    def grid(self, stored_shape: tuple[int, ...], stored_affine: Affine) -> Grid:
        """Return the grid (T, H, W) of a file's shape and affine."""
        shape = tuple(stored_shape[axis] for axis in self.axes)
        return Grid((shape[0], shape[1], shape[2]), stored_affine @ self._array_to_stored(shape))

    def stored_affine(self, grid: Grid) -> Affine:
        """File affine (4×4, file indices → RAS mm) of a grid."""
        affine: Affine = grid.affine @ np.linalg.inv(self._array_to_stored(grid.shape))
        return affine

    @property
    def _flipped_axes(self) -> tuple[int, ...]:
        return tuple(axis for axis in range(3) if self.flipped[axis])

    def _array_to_stored(self, shape: tuple[int, ...]) -> Affine:
        """4×4 that maps array indices (t, h, w, 1) to file indices."""
        matrix = np.zeros((4, 4))
        matrix[3, 3] = 1
        for array_axis, file_axis in enumerate(self.axes):
            matrix[file_axis, array_axis] = -1 if self.flipped[array_axis] else 1
            matrix[file_axis, 3] = shape[array_axis] - 1 if self.flipped[array_axis] else 0
        return matrix


@dataclass(frozen=True, eq=False)
class Volume:
    """An image or label map.

    array: (T, H, W). Images are float32, label maps integers.
    grid: where its voxels lie; same shape.
    storage: the order in which its file held it, or a plain RAS+ NIfTI's.
    notes: what was changed on reading, as sentences without their subject ("has 12 voxels that ...").
    """

    array: npt.NDArray[Any]
    grid: Grid
    storage: StorageOrder = field(default_factory=StorageOrder)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.array.shape != self.grid.shape:
            raise ValueError(f"Array {self.array.shape} does not fit its grid {self.grid.shape}.")

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel spacing in mm along (T, H, W)."""
        return self.grid.spacing

    def with_array(self, array: npt.NDArray[Any]) -> Volume:
        """Another array on the same grid, to be written in the same order. Raises ValueError on another shape."""
        return replace(self, array=array)
