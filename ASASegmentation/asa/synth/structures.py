"""Structures of a labelled head, painted by the generator and learned by the tissue model.

FreeSurfer numbers for the brain; 5xx are the extra-cerebral classes of the SynthSeg label maps. Left and right
share one structure, so that they share one intensity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

BACKGROUND, VENTRICLES, GREY, WHITE, SULCAL = range(5)
EXTRA_CEREBRAL = (502, 506, 507, 508, 509, 511, 512, 514, 515, 516, 530)


@dataclass(frozen=True)
class Structure:
    """One structure.

    Attributes:
        name: anatomical name.
        labels: numbers in the label maps.
        target: class of the tissue model (0 background, 1 ventricular CSF, 2 GM, 3 WM, 4 sulcal CSF).
        fraction: T1 intensity on the scale 0 = cortex, 1 = cerebral white matter (-1 = CSF); None for tissue
            outside the brain, whose intensity is drawn at random.
        spread: standard deviation of ``fraction`` between heads.
    """

    name: str
    labels: tuple[int, ...]
    target: int
    fraction: float | None = None
    spread: float = 0.08


STRUCTURES: tuple[Structure, ...] = (
    Structure("air", (0,), BACKGROUND),
    Structure("cerebral white matter", (2, 41), WHITE, 1.0, 0.0),
    Structure("cerebral cortex", (3, 42), GREY, 0.0, 0.0),
    Structure("ventricles", (4, 43, 5, 44, 14, 15, 72), VENTRICLES, -1.0, 0.04),
    Structure("cerebellar white matter", (7, 46), WHITE, 0.95, 0.08),
    Structure("cerebellar cortex", (8, 47), GREY, -0.02, 0.1),
    Structure("thalamus", (10, 49), GREY, 0.45, 0.15),
    Structure("caudate", (11, 50), GREY, 0.12, 0.1),
    Structure("putamen", (12, 51), GREY, 0.22, 0.12),
    Structure("pallidum", (13, 52), GREY, 0.62, 0.15),
    Structure("brainstem", (16,), WHITE, 0.8, 0.1),
    Structure("hippocampus", (17, 53), GREY, 0.0, 0.1),
    Structure("amygdala", (18, 54), GREY, -0.02, 0.1),
    Structure("accumbens", (26, 58), GREY, 0.1, 0.1),
    Structure("ventral diencephalon", (28, 60), GREY, 0.6, 0.15),
    Structure("white-matter lesion", (25, 57), WHITE, 0.5, 0.3),
    Structure("vessel", (30, 62), WHITE, 0.2, 0.5),
    Structure("choroid plexus", (136, 137, 163, 164), VENTRICLES, -0.6, 0.25),
    Structure("optic chiasm", (85,), WHITE, 0.6, 0.2),
    Structure("sulcal CSF", (24,), SULCAL, -0.95, 0.08),
    *(Structure(f"extra-cerebral {n}", (n,), BACKGROUND) for n in EXTRA_CEREBRAL),
)

CEREBRAL_WHITE, CORTEX, CSF = 1, 2, 3  # indices of the three structures that set the scale of `fraction`
TARGETS: npt.NDArray[np.uint8] = np.array([s.target for s in STRUCTURES], np.uint8)
IN_BRAIN: npt.NDArray[np.bool_] = np.isin(TARGETS, (VENTRICLES, GREY, WHITE))


def to_structures(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.uint8]:
    """Label map -> index into :data:`STRUCTURES`, any shape; unknown numbers become air."""
    table = np.zeros(int(max(labels.max(initial=0), 1024)) + 1, np.uint8)
    for index, structure in enumerate(STRUCTURES):
        table[list(structure.labels)] = index
    structures: npt.NDArray[np.uint8] = table[labels]
    return structures
