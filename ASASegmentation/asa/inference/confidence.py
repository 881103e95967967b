"""How sure a network of nested regions is of what it found: the Dice that its probabilities let expect.

Arrays are (T, H, W) in the brain frame.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from math import floor

import numpy as np
import numpy.typing as npt

from asa import doubts
from asa.tasks import Task

Map = npt.NDArray[np.float32]
# A region of which less is expected says little about the result: one voxel more or less decides its Dice.
LEAST_ML = 1.0
# Lesions are many and small: 1 mL of them is a finding, and the outlines of small ones are the least reliable.
LEAST_LESIONS_ML = 0.1
# Far from a region, small probabilities everywhere would add up to litres.
LEAST_PROBABILITY = 0.1


def expected_dice(probability: Map, found: npt.NDArray[np.bool_]) -> float:
    """Return the Dice that the voxels ``found`` may expect if the probabilities hold; 1 if nothing is there.

    Expected overlap and size in place of the true ones: 2 Σ_found p / (Σ p + |found|).
    """
    total = float(probability.sum(dtype=np.float64)) + float(np.count_nonzero(found))
    return 2 * float(probability[found].sum(dtype=np.float64)) / total if total else 1.0


def believed(probability: Map) -> Map:
    """Return a probability without the small values far from the region; see :data:`LEAST_PROBABILITY`."""
    kept: Map = np.where(probability > LEAST_PROBABILITY, probability, 0)
    return kept


def least_volume_ml(task: Task) -> float:
    """Return the volume from which a region of a task is judged."""
    return LEAST_LESIONS_ML if task.lesions else LEAST_ML


def region_reasons(
    posterior: Map, labelled: Map, task: Task, voxel_ml: float, known: Collection[str], doubtful_below: float
) -> Iterator[str]:
    """Yield a doubt for each region whose outline the network itself does not believe.

    Args:
        posterior: probabilities (R, T, H, W) as the network gives them, at the model's temperature.
        labelled: probabilities after post-processing, above 0.5 where a region is labelled.
        task: the task, with nested regions.
        voxel_ml: volume in the scan of a voxel of the frame.
        known: names of the regions that the given images can show.
        doubtful_below: expected Dice below which an outline is doubtful.
    """
    least_ml = least_volume_ml(task)
    for probability, final, region in zip(posterior, labelled, task.regions, strict=True):
        shown, found = believed(probability), final > 0.5
        expected_ml = voxel_ml * float(shown.sum(dtype=np.float64))
        if region.name not in known or max(expected_ml, voxel_ml * np.count_nonzero(found)) < least_ml:
            continue
        if not found.any():
            yield doubts.perhaps_missed(region.title, expected_ml)
        elif (dice := expected_dice(shown, found)) < doubtful_below:
            certainty = floor(100 * dice) / 100  # so that what is said is below the limit too
            yield doubts.uncertain_outline(region.title, certainty, doubtful_below)
