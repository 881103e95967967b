"""What a network says of a head, averaged over what it says when it is shown a part of the modalities only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set
from typing import Protocol

import numpy as np
import numpy.typing as npt

from asa.models import ModelFolder
from asa.tasks import Task

Map = npt.NDArray[np.float32]


class Answers(Protocol):
    """What is asked of a predictor; see :class:`asa.inference.predictor.Predictor`."""

    def posterior(self, image: Map, *, tta: bool, progress: Callable[[float], None] = ...) -> Map:
        """Probabilities (K, T, H, W) of an image (C, T, H, W)."""


def averaged(
    predictor: Answers,
    image: Map,
    model: ModelFolder,
    task: Task,
    *,
    tta: bool,
    progress: Callable[[float], None] = lambda _: None,
) -> Map:
    """Posterior (K, T, H, W), averaged over all given modalities and the subsets that the model names.

    A network trained with missing modalities errs differently on each subset of them. On regions that a subset cannot
    know (`unknown_without` in model.json) it has no say.

    Args:
        image: (C, T, H, W), normalised; 0 throughout in channels that were not given.
        tta: as for the predictor.
    """
    given = set(given_channels(model, image))
    subsets = [given, *named_subsets(model, given)]
    if len(subsets) == 1:
        return predictor.posterior(image, tta=tta, progress=progress)
    total, says = np.zeros(1, np.float32), np.zeros(1, np.float32)
    for number, shown in enumerate(subsets):

        def told(done: float, before: int = number) -> None:
            progress((before + done) / len(subsets))

        part = image * as_column(key in shown for key in model.modalities)
        weight = as_column(known_regions(model, task, shown, always=number == 0))
        total = total + weight * predictor.posterior(part, tta=tta, progress=told)
        says = says + weight
    mean: Map = total / says
    return mean


def given_channels(model: ModelFolder, image: Map) -> dict[str, Map]:
    """Modality -> channel (T, H, W) of an image (C, T, H, W), without those that were not given."""
    return {key: channel for key, channel in zip(model.modalities, image, strict=True) if channel.any()}


def as_column(values: Iterable[bool]) -> Map:
    """One 0 or 1 for each channel or region, (N, 1, 1, 1)."""
    return np.array(list(values), np.float32)[:, None, None, None]


def named_subsets(model: ModelFolder, given: Set[str]) -> Iterator[Set[str]]:
    """Those of the `subset_averaging` of a model of regions that are a part of the modalities given."""
    described = model.description
    return (keys for keys in described.subset_averaging if described.regions and keys < given)


def known_regions(model: ModelFolder, task: Task, shown: Set[str], *, always: bool) -> Iterator[bool]:
    """Of each region of the task, whether the modalities shown can tell of it; ``always``: nobody knows better."""
    unknown = {r for key, regions in model.description.unknown_without.items() if key not in shown for r in regions}
    return (always or region.name not in unknown for region in task.regions)
