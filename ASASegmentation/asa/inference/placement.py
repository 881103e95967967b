"""Relative position of a patient's series, their alignment to the brain frame, and brain extraction."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from asa import doubts
from asa.errors import InputError
from asa.geometry import (
    FRAME,
    Alignment,
    agreement,
    align_to_frame,
    brain_region,
    from_frame,
    is_stripped,
    register_rigid,
    template_brain,
    upright,
)
from asa.inference.quality import refuse_no_brain
from asa.inference.series import UNALIGNED, Placement, Series
from asa.preprocessing.normalise import Mask
from asa.tasks import TITLES
from asa.volume import Volume

# Which series tells how the head lies: the first of these that there is.
ANCHORS = ("t1", "t1gd", "flair", "t2")
AROUND_BRAIN_MM, WITHIN_BRAIN_MM = 12.0, -4.0
# Agreement (asa.geometry.rigid) from which series on one grid are left as they are, below which a registration is
# doubted, and below which it is not the same head. Measured: 0.31 and more for one head (a blurred T2; most above
# 0.45), 0.23 and less for the heads of two people, registered as well as they can be.
SAME_PLACE, DOUBTED, HOPELESS = 0.3, 0.3, 0.26
# Visible share of the brain below which a warning is given; the anchor has its own warning.
COVERED = 0.95


def place_series(scans: Mapping[str, Volume], *, align: bool, alignment: Alignment | None = None) -> Placement:
    """Find how the series lie to one another and in the brain frame.

    Args:
        scans: modality key -> scan, each in its own grid.
        align: False trusts all of them to lie in MNI152 space.
        alignment: of the anchor, where it is known; None: it is found.

    Raises:
        InputError: there is no brain in the anchor, or two series do not show the same head.
    """
    anchor = next(key for key in (*ANCHORS, *scans) if key in scans)
    here = (alignment or align_to_frame(scans[anchor])) if align else UNALIGNED
    if align:
        refuse_no_brain(anchor, scans[anchor], here)
    anchored = Series(scans[anchor], here, stripped=is_stripped(scans[anchor], here))
    if len(scans) == 1:
        return Placement({anchor: anchored}, anchor, here.warnings)
    fixed = upright(scans[anchor])
    region, core = (brain_region(here, fixed.grid, margin) for margin in (AROUND_BRAIN_MM, WITHIN_BRAIN_MM))

    def placed(key: str) -> tuple[Series, list[str]]:
        """Return a series in its place, with warnings."""
        if key == anchor:
            return anchored, []
        scan = scans[key]
        moving = upright(scan)
        matrix, registered = np.eye(4), False
        found = agreement(fixed, moving, core, matrix)
        if align and not (found >= SAME_PLACE and scan.grid.same_as(scans[anchor].grid)):
            matrix, registered = register_rigid(fixed, moving, region, [np.eye(4)]), True
            found = agreement(fixed, moving, core, matrix)
            if found < DOUBTED:  # the scanner's coordinates may mean nothing: start from the head's own position
                start = align_to_frame(scan).matrix @ np.linalg.inv(here.matrix)
                other = register_rigid(fixed, moving, region, [start])
                again = agreement(fixed, moving, core, other)
                if again > found:
                    matrix, found = other, again
        if found < HOPELESS:
            title, other_title = (TITLES.get(name, name) for name in (key, anchor))
            raise InputError(
                f"The {title} and {other_title} images do not show the same head: they cannot be registered with one "
                f"another (agreement {found:.2f}, required {HOPELESS}); use series of the same patient."
            )
        warnings = []
        if found < DOUBTED:
            warnings.append(doubts.poorly_registered(key, anchor, found))
        place = replace(here, matrix=matrix @ here.matrix, warnings=())
        series = Series(scan, place, found, registered, is_stripped(scan, place))
        seen = reached(series, template_brain()).sum() / template_brain().sum()
        if seen < COVERED:
            warnings.append(doubts.cut_off(1 - seen, key))
        return series, warnings

    with ThreadPoolExecutor(2) as pool:  # one series does not depend on another
        found = dict(zip(scans, pool.map(placed, scans), strict=True))
    warnings = [*here.warnings, *(sentence for _, sentences in found.values() for sentence in sentences)]
    return Placement({key: series for key, (series, _) in found.items()}, anchor, tuple(warnings))


def reached(series: Series, brain: Mask) -> Mask:
    """Return the part of a brain mask (T, H, W) in the brain frame that lies in the field of view of a series."""
    matrix, grid = series.alignment.matrix, series.scan.grid
    boxes = ndimage.find_objects(brain.view(np.uint8))
    if not boxes:
        return brain
    ends = np.array(list(itertools.product(*((part.start, part.stop - 1) for part in boxes[0]))))

    def seen(indices: npt.NDArray[np.intp]) -> Mask:
        return grid.contains(FRAME.to_world(indices) @ matrix[:3, :3].T + matrix[:3, 3])

    if seen(ends).all():
        return brain
    places = np.argwhere(brain)
    inside = np.zeros_like(brain)
    inside[tuple(places.T)] = seen(places)
    return inside


def brain_on(series: Series, brain: Mask) -> Mask:
    """Return a brain mask of the brain frame on the grid of a series."""
    moved: Mask = from_frame(brain.astype(np.float32), series.alignment, series.scan.grid).array > 0.5
    return moved
