"""Series of one patient, each on its own grid with its position in the brain frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from asa.geometry import Alignment, to_frame
from asa.volume import Volume

# For images that lie in MNI152 space already.
UNALIGNED = Alignment(np.eye(4), "identity", 1.0)


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

    @cached_property
    def framed(self) -> Volume:
        """The scan in the brain frame, (160, 192, 160); made once for checks, the brain mask and the network."""
        return to_frame(self.scan, self.alignment)


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

    def to_report(self) -> dict[str, dict[str, object]]:
        """What report.json says of each series."""
        return {
            key: {
                "stripped": one.stripped,
                "registration": "anchor" if key == self.anchor else "rigid" if one.registered else "as given",
                "agreement": round(one.agreement, 3),
                "frame_to_scan": one.alignment.matrix.round(6).tolist(),
            }
            for key, one in self.series.items()
        }
