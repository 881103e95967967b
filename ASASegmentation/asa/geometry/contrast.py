"""Tissue brightness of an aligned scan, and the share of the scan that the tissues explain."""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

from asa.geometry.atlas import atlas_level
from asa.geometry.fit import Fit, ScanLevel
from asa.geometry.register import FINE, Alignment, working_copy
from asa.volume import Volume


@dataclass(frozen=True)
class TissueContrast:
    """Brightness of tissues in parts of the scan's range (0 air, 1 the brightest but for a few voxels).

    explained: 0…1, the part of the variance of grey levels within the brain that the atlas' tissues explain. It is
        low for everything that has the outline of a brain but not its inside.
    """

    white: float
    grey: float
    fluid: float
    explained: float


def tissue_contrast(volume: Volume, alignment: Alignment) -> TissueContrast:
    """Measured by the same fit as the alignment, within the brain only, with a smooth bias field taken out.

    It is kept as long as the scan and its alignment.
    """
    known = _known.setdefault(volume, WeakKeyDictionary())
    if alignment not in known:
        step, blur, _ = FINE
        fit = Fit(ScanLevel.of(working_copy(volume), blur, None), atlas_level(step, blur, 0.0, stripped=True))
        (white, grey, fluid, *_), explained = fit.explanation(alignment.matrix)
        known[alignment] = TissueContrast(float(white), float(grey), float(fluid), explained)
    return known[alignment]


_known: WeakKeyDictionary[Volume, WeakKeyDictionary[Alignment, TissueContrast]] = WeakKeyDictionary()
