"""Average the posterior of a network over subsets of the modalities."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set
from typing import Protocol

import numpy as np
import numpy.typing as npt

from asa.models import ModelFolder
from asa.tasks import Task

Map = npt.NDArray[np.float32]


class PosteriorPredictor(Protocol):
    """Interface of a predictor; see :class:`asa.inference.predictor.Predictor`."""

    def posterior(self, image: Map, *, tta: bool, progress: Callable[[float], None] = ...) -> Map:
        """Return the probabilities (K, T, H, W) of an image (C, T, H, W)."""


def average_over_subsets(
    predictor: PosteriorPredictor,
    image: Map,
    model: ModelFolder,
    task: Task,
    *,
    tta: bool,
    progress: Callable[[float], None] = lambda _: None,
) -> Map:
    """Average the posterior (K, T, H, W) over all given modalities and the subsets named by the model.

    A network trained with missing modalities makes different errors on each subset. Subsets do not contribute to
    regions that they cannot show (`unknown_without` in model.json).

    Args:
        image: (C, T, H, W), normalised; 0 throughout in channels that were not given.
        tta: as for the predictor.
    """
    given = set(given_channels(model, image))
    subsets = [given, *named_subsets(model, given)]
    if len(subsets) == 1:
        return predictor.posterior(image, tta=tta, progress=progress)
    total, weights = np.zeros(1, np.float32), np.zeros(1, np.float32)
    for number, shown in enumerate(subsets):

        def report(done: float, before: int = number) -> None:
            progress((before + done) / len(subsets))

        part = image * as_column(key in shown for key in model.modalities)
        weight = as_column(known_regions(model, task, shown, always=number == 0))
        total = total + weight * predictor.posterior(part, tta=tta, progress=report)
        weights = weights + weight
    mean: Map = total / weights
    return mean


def given_channels(model: ModelFolder, image: Map) -> dict[str, Map]:
    """Return modality -> channel (T, H, W) of an image (C, T, H, W), without missing ones."""
    return {key: channel for key, channel in zip(model.modalities, image, strict=True) if channel.any()}


def as_column(values: Iterable[bool]) -> Map:
    """Return one 0 or 1 per channel or region, (N, 1, 1, 1)."""
    return np.array(list(values), np.float32)[:, None, None, None]


def named_subsets(model: ModelFolder, given: Set[str]) -> Iterator[Set[str]]:
    """Yield the subsets of `subset_averaging` that are proper subsets of the given modalities."""
    described = model.description
    return (keys for keys in described.subset_averaging if described.regions and keys < given)


def known_regions(model: ModelFolder, task: Task, shown: Set[str], *, always: bool) -> Iterator[bool]:
    """Yield for each region of the task whether the shown modalities suffice for it; ``always``: regardless."""
    unknown = {r for key, regions in model.description.unknown_without.items() if key not in shown for r in regions}
    return (always or region.name not in unknown for region in task.regions)
