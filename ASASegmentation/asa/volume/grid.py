"""Voxel grid: shape and affine."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Affine = npt.NDArray[np.float64]

# The world axes of ITK and DICOM point left and posterior, ours right and anterior.
LPS_TO_RAS: Affine = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Grid:
    """A regular grid of voxels.

    shape: number of voxels along (T, H, W).
    affine: 4×4, maps (t, h, w, 1) to RAS+ mm. Copied and made read-only. It may be oblique, sheared or mirrored.
    """

    shape: tuple[int, int, int]
    affine: Affine

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or len(self.shape) != 3:
            raise ValueError(f"A grid needs three sizes and a 4×4 affine, not {self.shape} and {affine.shape}.")
        affine.flags.writeable = False
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance in mm between neighbouring voxel centres along (T, H, W)."""
        t, h, w = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(t), float(h), float(w)

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel in mL; from the determinant, so that sheared voxels count right."""
        return abs(float(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    @property
    def centre(self) -> npt.NDArray[np.float64]:
        """RAS mm of the centre of the grid, shape (3,)."""
        return self.to_world((np.asarray(self.shape) - 1) / 2)

    @property
    def corners(self) -> npt.NDArray[np.float64]:
        """RAS mm of the eight corners of the field of view (outer voxel faces), shape (8, 3)."""
        ends = [(-0.5, n - 0.5) for n in self.shape]
        return self.to_world(np.array(list(itertools.product(*ends))))

    def to_world(self, indices: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """RAS mm of voxel indices (..., 3), which may be fractional."""
        points: npt.NDArray[np.float64] = np.asarray(indices, dtype=np.float64) @ self.affine[:3, :3].T
        return points + self.affine[:3, 3]

    def to_index(self, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return fractional voxel indices of points (..., 3) in RAS mm."""
        inverse = np.linalg.inv(self.affine)
        indices: npt.NDArray[np.float64] = np.asarray(points, dtype=np.float64) @ inverse[:3, :3].T
        return indices + inverse[:3, 3]

    def contains(self, points: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Return which points (..., 3) in RAS mm lie inside the field of view (outer voxel faces)."""
        indices = self.to_index(points)
        inside: npt.NDArray[np.bool_] = np.all((indices >= -0.5) & (indices <= np.asarray(self.shape) - 0.5), axis=-1)
        return inside

    def same_as(self, other: Grid, tolerance_mm: float = 1e-2) -> bool:
        """Return whether both have the same shape and no corner differs by more than ``tolerance_mm``."""
        return self.shape == other.shape and bool(np.abs(self.corners - other.corners).max() <= tolerance_mm)
