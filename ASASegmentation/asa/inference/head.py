"""A head before any model of a task has seen it: read, placed in the brain frame, and checked."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from asa.doubts import image
from asa.geometry import Alignment
from asa.inference.placement import place_series
from asa.inference.plausibility import hole_findings
from asa.inference.quality import input_reasons
from asa.inference.series import Placement
from asa.preprocessing.normalise import Mask
from asa.volume import Volume, read_scan


@dataclass
class Head:
    """A head that can be segmented again, with another model or other settings, without reading it again.

    Attributes:
        scans: modality -> image, each on its own grid.
        placement: how they lie to one another and in the brain frame.
        doubts: reasons to doubt a result, apart from how the head is turned.
        notes: sentences about the images.
        brain: brain mask (T, H, W) in the brain frame, once a task has needed it.
    """

    scans: Mapping[str, Volume]
    placement: Placement
    doubts: tuple[str, ...]
    notes: tuple[str, ...]
    brain: Mask | None = None


def place_head(scans: Mapping[str, Volume], *, align: bool, alignment: Alignment | None = None) -> Head:
    """Place the images of a head, and check them.

    Args:
        scans: modality -> image.
        align: False trusts all of them to lie in MNI152 space.
        alignment: of the anchor, where it is known; None: it is found.

    Raises:
        InputError: there is no brain, or two images do not show the same head.
    """
    placement = place_series(scans, align=align, alignment=alignment)
    holes, small_holes = hole_findings(placement.series)
    doubts = (*placement.warnings, *input_reasons(placement), *holes)
    notes = [f"The {image(key)} {note}." for key, scan in scans.items() for note in scan.notes]
    return Head(scans, placement, doubts, (*notes, *small_holes))


def read_scans(paths: Mapping[str, Path]) -> dict[str, Volume]:
    """Read the images of a head, two at a time: modality -> image.

    Raises:
        InputError: one cannot be used.
    """
    with ThreadPoolExecutor(2) as pool:  # unpacking and counting run without the interpreter's lock
        return dict(zip(paths, pool.map(read_scan, paths.values()), strict=True))
