"""Affine alignment of a head with the brain frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..volume import Volume
from ..volume.grid import Affine


@dataclass(frozen=True, eq=False)
class Alignment:
    """Where the brain frame lies in a scan.

    matrix: 4×4, brain-frame mm → scan mm (RAS+).
    method: "affine" (registered), "estimate" (mid-sagittal plane and centre of mass only), "identity" (not aligned).
    quality: 0…1, how well the aligned scan agrees with the template.
    warnings: sentences for the user.
    """

    matrix: Affine
    method: Literal["affine", "estimate", "identity"]
    quality: float
    warnings: tuple[str, ...] = ()


def align_to_frame(volume: Volume, *, stripped: bool | None = None) -> Alignment:
    """Aligns a whole head or a stripped brain with the brain frame."""
    return Alignment(np.eye(4), "identity", 0.0, ("The head was not aligned.",))
