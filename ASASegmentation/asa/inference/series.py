"""The series of one patient, each in its own grid: where they lie in the brain frame, and where the brain is."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

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
from asa.preprocessing.normalise import Mask
from asa.volume import Volume

# Which series tells how the head lies: the first of these that there is.
ANCHORS = ("t1", "t1gd", "flair", "t2")
AROUND_BRAIN_MM, WITHIN_BRAIN_MM = 12.0, -4.0
# Agreement (asa.geometry.rigid) from which series on one grid are left as they are, below which a registration is
# doubted, and below which it is not the same head. Measured: 0.31 and more for one head (a blurred T2; most above
# 0.45), 0.23 and less for the heads of two people, registered as well as they can be.
SAME_PLACE, DOUBTED, HOPELESS = 0.3, 0.3, 0.26
# Part of the brain in a series' field of view, below which that is said; the anchor's alignment says its own.
COVERED = 0.95
# For images that lie in MNI152 space already.
UNALIGNED = Alignment(np.eye(4), "identity", 1.0)
# What a scanner or a converter writes of a patient; compared, and never repeated in a message.
IDENTITY = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex")


@dataclass(frozen=True)
class Series:
    """One series in its place.

    Attributes:
        scan: as it was read.
        alignment: where the brain frame lies in it.
        agreement: how far its lines coincide with those of the anchor, 0 to 1; 1 for the anchor itself.
        registered: whether it had to be moved onto the anchor.
        stripped: whether what is not brain was removed from it.
    """

    scan: Volume
    alignment: Alignment
    agreement: float = 1.0
    registered: bool = False
    stripped: bool = False


@dataclass(frozen=True)
class Placement:
    """All series of a request in their places.

    Attributes:
        series: modality key -> series.
        anchor: the key of the one that was aligned with the brain frame; the others follow it.
        warnings: sentences for the user.
    """

    series: Mapping[str, Series]
    anchor: str
    warnings: tuple[str, ...] = ()

    @property
    def stripped(self) -> Series | None:
        """A series that shows the brain alone, the anchor before others."""
        found = [one for key, one in self.series.items() if one.stripped and key == self.anchor]
        return next(iter(found + [one for one in self.series.values() if one.stripped]), None)

    def told(self) -> dict[str, dict[str, object]]:
        """What report.json says of each series."""
        return {
            key: {
                "stripped": one.stripped,
                "registration": "anchor" if key == self.anchor else "rigid" if one.registered else "as given",
                "agreement": round(one.agreement, 3),
            }
            for key, one in self.series.items()
        }


def place_series(scans: Mapping[str, Volume], *, align: bool) -> Placement:
    """Find how the series lie to one another and in the brain frame.

    Args:
        scans: modality key -> scan, each in its own grid.
        align: False trusts all of them to lie in MNI152 space.

    Raises:
        InputError: there is no brain in the anchor, or two series do not show the same head.
    """
    anchor = next(key for key in (*ANCHORS, *scans) if key in scans)
    here = align_to_frame(scans[anchor]) if align else UNALIGNED
    if align:
        refuse_no_brain(anchor, scans[anchor], here)
    series = {anchor: Series(scans[anchor], here, stripped=is_stripped(scans[anchor]))}
    warnings = list(here.warnings)
    if len(scans) == 1:
        return Placement(series, anchor, tuple(warnings))
    fixed = upright(scans[anchor])
    region, core = (brain_region(here, fixed.grid, margin) for margin in (AROUND_BRAIN_MM, WITHIN_BRAIN_MM))
    for key, scan in scans.items():
        if key == anchor:
            continue
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
            raise InputError(
                f"the {key} and {anchor} images do not show the same head: they cannot be registered with one another "
                f"(agreement {found:.2f}, at least {HOPELESS}); give series of one patient"
            )
        if found < DOUBTED:
            warnings.append(f"The {key} image could not be registered well with the {anchor} (agreement {found:.2f}).")
        place = replace(here, matrix=matrix @ here.matrix, warnings=())
        series[key] = Series(scan, place, found, registered, is_stripped(scan))
        seen = reached(series[key], template_brain()).sum() / template_brain().sum()
        if seen < COVERED:
            warnings.append(f"About {1 - seen:.0%} of the brain lies outside the field of view of the {key} image.")
    return Placement({key: series[key] for key in scans}, anchor, tuple(warnings))


def reached(series: Series, brain: Mask) -> Mask:
    """The part of a brain mask (T, H, W) in the brain frame that lies in the field of view of a series."""
    matrix, grid = series.alignment.matrix, series.scan.grid
    places = np.argwhere(brain)
    if not len(places):
        return brain
    ends = np.array(list(itertools.product(*zip(places.min(axis=0), places.max(axis=0), strict=True))))

    def seen(indices: npt.NDArray[np.intp]) -> Mask:
        return grid.contains(FRAME.to_world(indices) @ matrix[:3, :3].T + matrix[:3, 3])

    if seen(ends).all():
        return brain
    inside = np.zeros_like(brain)
    inside[tuple(places.T)] = seen(places)
    return inside


def brain_on(series: Series, brain: Mask) -> Mask:
    """A brain mask of the brain frame on the grid of a series."""
    moved: Mask = from_frame(brain.astype(np.float32), series.alignment, series.scan.grid).array > 0.5
    return moved


def check_one_patient(images: Mapping[str, Path]) -> None:
    """Compare what the files beside the images (BIDS, dcm2niix: same name, ending .json) say of the patient.

    Raises:
        InputError: two of them are of different patients.
    """
    known = {key: _identity(path) for key, path in images.items()}
    for (first, one), (second, other) in itertools.combinations(known.items(), 2):
        if any(one[tag] != other[tag] for tag in one.keys() & other.keys()):
            raise InputError(f"the {first} and {second} images are of different patients, as their DICOM tags say")


def _identity(path: Path) -> dict[str, str]:
    sidecar = path.with_name(path.name.removesuffix(".gz").rpartition(".")[0] + ".json")
    try:
        said = json.loads(sidecar.read_text(encoding="utf-8"))
        return {tag: str(said[tag]).strip().lower() for tag in IDENTITY if str(said.get(tag, "")).strip()}
    except (OSError, ValueError, AttributeError):
        return {}
