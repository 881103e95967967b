"""The threshold brush: of the voxels under it, those whose intensities speak for the segment, or against it.

The intensity model is refitted for each stroke, to the current segment and the rest of the crop around it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from asa.errors import InputError
from asa.refinement.crop import State
from asa.refinement.drawing import Drawn, Indices
from asa.refinement.energy import crop_of
from asa.refinement.rules import Segment

_MARGIN_MM = 36.0  # of the crop that the model is fitted in, as the first one of a mark
_FEWEST = 50  # voxels from which a density is known
_FLOOR = 0.1  # of a uniform density, as in the energy


def fitting(state: State, segment: Segment, adds: bool, voxels: Indices, name: str) -> Drawn:
    """Return what a threshold brush marks.

    Args:
        state: of the session; not changed.
        segment: of the mark.
        adds: whether it adds to the segment.
        voxels: (N, 3) indices (t, h, w) under the brush.
        name: what messages call the mark.

    Raises:
        InputError: the segment is empty near the brush, or no voxel under it fits.
    """
    features = state.features
    blocks = np.asarray(features.blocks)
    low, high = crop_of(np.unique(voxels // blocks, axis=0), features.shown.shape, features.spacing, _MARGIN_MM)
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    centres = tuple(slice(int(a * n + n // 2), None, int(n)) for a, n in zip(low, blocks, strict=True))
    codes, shown = features.codes[box], features.shown[box]
    labels = state.labels[centres][tuple(slice(0, size) for size in codes.shape)]
    shown = shown[tuple(slice(0, size) for size in labels.shape)]
    codes = codes[tuple(slice(0, size) for size in labels.shape)]
    member = state.rules.member(labels, segment)
    counts = [features.counts(codes[which & shown]) for which in (member, ~member)]
    if min(one.sum() for one in counts) < _FEWEST:
        raise InputError(
            f"{name}: the segment {segment.name} has too few voxels near the brush to compare intensities with; mark "
            "some with a point first. Nothing was changed."
        )
    inside, outside = (features.density(one, state.constants.kernel_sd) for one in counts)
    floor = np.float32(_FLOOR / len(inside))
    ratio: npt.NDArray[np.float32] = np.log((inside + floor) / (outside + floor))
    place = tuple((voxels // blocks).T)
    votes = ratio[features.codes[place]]
    chosen = (votes > 0 if adds else votes < 0) & features.shown[place]
    if not chosen.any():
        says = "belongs to" if adds else "does not belong to"
        raise InputError(f"{name}: by its intensities, nothing under the brush {says} {segment.name}.")
    return Drawn(voxels[chosen], box=True)
