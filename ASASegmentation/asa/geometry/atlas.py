"""Tissue atlas in the brain frame, the target of the alignment.

The file holds probabilities of tissues, not grey levels, so that one atlas fits every MR contrast: how bright each
tissue is in a scan is found together with the alignment (``fit``). data/README.md describes how it was made.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
from scipy import ndimage

ATLAS_FILE = Path(__file__).parent / "data" / "head_atlas.nii.gz"
# The order of the maps in the file. Air is what remains.
TISSUES = ("white matter", "grey matter", "ventricles", "sulcal CSF", "bone", "soft tissue")
BRAIN_TISSUES = 4

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class AtlasLevel:
    """Tissue probabilities at n points, symmetric about x = 0.

    points: (n, 3) RAS mm of the brain frame.
    tissues: (n, K) probabilities that sum to one; the last is air, or everything that is not brain.
    slopes: (n, K, 3) their gradients per mm along R, A, S.
    spacing: distance of neighbouring points, mm.
    """

    points: npt.NDArray[np.float64]
    tissues: Floats
    slopes: Floats
    spacing: float


@dataclass(frozen=True, eq=False)
class Atlas:
    """Tissue probability maps (K, X, Y, Z) on a regular RAS+ grid that is its own mirror image.

    affine: 4×4, (x, y, z, 1) → RAS mm of the brain frame.
    """

    maps: Floats
    affine: npt.NDArray[np.float64]

    def level(self, step: int, blur_mm: float, rim_mm: float, *, stripped: bool) -> AtlasLevel:
        """Return every ``step``-th voxel of the atlas, smoothed by a Gaussian of standard deviation ``blur_mm``.

        rim_mm: how far around the brain; infinite: all.
        stripped: whether all that is not brain is one class.
        """
        size = float(self.affine[0, 0])
        inside = self.maps[:BRAIN_TISSUES] if stripped else self.maps
        sigma = (0, *[blur_mm / size] * 3)
        smooth: Floats = ndimage.gaussian_filter(inside, sigma, mode="nearest")
        maps = np.concatenate([smooth, 1 - smooth.sum(axis=0, keepdims=True)])
        slopes = np.stack(np.gradient(maps, size, axis=(1, 2, 3)), axis=-1)
        chosen = np.ix_(*(_thinned(n, step) for n in maps.shape[1:]))
        keep = np.zeros(maps.shape[1:], dtype=bool)
        keep[chosen] = True
        if np.isfinite(rim_mm):
            keep &= ndimage.distance_transform_edt(~self.brain, sampling=size) <= rim_mm
        points = np.argwhere(keep) * size + self.affine[:3, 3]
        return AtlasLevel(
            points,
            np.ascontiguousarray(np.moveaxis(maps, 0, -1)[keep], dtype=np.float32),
            np.ascontiguousarray(np.moveaxis(slopes, 0, -2)[keep], dtype=np.float32),
            size * step,
        )

    @property
    def brain(self) -> npt.NDArray[np.bool_]:
        """Where the brain (grey and white matter, ventricles) is more likely than not, (X, Y, Z)."""
        inside: npt.NDArray[np.bool_] = self.maps[: BRAIN_TISSUES - 1].sum(axis=0) > 0.5
        return inside


def head_atlas() -> Atlas:
    """Return the atlas that comes with the package."""
    image = nib.load(ATLAS_FILE)
    maps = np.moveaxis(np.asanyarray(image.dataobj), -1, 0).astype(np.float32) / 255
    return Atlas(maps, np.asarray(image.affine, dtype=np.float64))


@lru_cache(maxsize=8)
def atlas_level(step: int, blur_mm: float, rim_mm: float, *, stripped: bool) -> AtlasLevel:
    """:meth:`Atlas.level` of the atlas that comes with the package, made once."""
    return head_atlas().level(step, blur_mm, rim_mm, stripped=stripped)


def _thinned(n: int, step: int) -> npt.NDArray[np.intp]:
    """Return every ``step``-th index, counted from both ends, so that the choice is its own mirror image."""
    index = np.arange(n)
    return np.flatnonzero(np.minimum(index, n - 1 - index) % step == 0)
