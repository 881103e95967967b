"""Whether a scan shows a brain without the head around it."""

from __future__ import annotations

import numpy as np

from asa.geometry.register import Alignment, working_copy
from asa.geometry.rigid import brain_region
from asa.geometry.search import FOREGROUND_LEVEL, Foreground
from asa.volume import Volume

# Of a stripped scan, at least this part is exactly zero.
EMPTY_AROUND_BRAIN = 0.2
# And at most this part of its foreground lies farther than this from the template's brain. Six stripped brains had
# 0 to 0.6 %; four whole heads of slices of 3 to 4 mm, which end above the skull base and are no larger than a brain may
# be, had 15 to 38 %.
BEYOND_MM, MOST_BEYOND = 6.0, 0.05


def is_stripped(volume: Volume, alignment: Alignment) -> bool:
    """Return whether a scan shows a brain without the head around it: small, in nothing but zeros, no scalp.

    Args:
        volume: the scan.
        alignment: where the brain frame lies in it; where that was not registered, the scalp is not looked for.
    """
    if float(np.mean(volume.array == 0)) <= EMPTY_AROUND_BRAIN:
        return False
    small = working_copy(volume)
    foreground = Foreground.of(small, None)
    if not foreground.stripped or alignment.method != "affine":
        return foreground.stripped
    bright = small.array > FOREGROUND_LEVEL * float(small.array.max())  # a dark skull parts the brain from the scalp
    beyond = bright & ~brain_region(alignment, small.grid, BEYOND_MM)
    return float(beyond.sum() / bright.sum()) <= MOST_BEYOND
