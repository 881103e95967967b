"""Validation: Dice over crops, or over whole volumes while and after fine-tuning, and the posterior's temperature."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from asa.data.case_store import CaseStore
from asa.nn.baselines import Network
from asa.nn.objective import Batch
from asa.nn.position import Grid3
from asa.tasks import Task
from asa.training.finetuning.calibration import Posterior, choose_temperature
from asa.training.finetuning.whole_volume import WindowSettings, activation, predict
from asa.training.parallel.distributed import World


class Source(Protocol):
    """Where crops come from."""

    def collate(self, indices: Sequence[int]) -> Batch:
        """Images (B, C, T, H, W), targets (B, T, H, W) and crop origins."""


def posteriors(
    network: Network,
    store: CaseStore,
    numbers: Sequence[int],
    windows: WindowSettings,
    frame: Grid3,
    device: torch.device,
) -> Iterator[tuple[str, Posterior, npt.NDArray[np.uint8]]]:
    """Name, posterior (K, T, H, W) and labels (T, H, W) of stored cases, one after the other."""
    for number in numbers:
        image, labels = store.read(number)
        picture = torch.from_numpy(image.astype(np.float32))
        found = predict(network, picture, windows.crop, frame, activation(windows.output), device, windows.overlap)
        yield store.cases[number].name, found.numpy(), np.asarray(labels)


def pooled_dice(
    network: nn.Module,
    source: Source,
    count: int,
    names: Sequence[str],
    masks: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
) -> dict[str, float]:
    """Dice of each of K structures, called ``names``, over the crops 0 to ``count`` - 1; ``score`` is their mean.

    ``masks``: logits (1, C, T, H, W) and target (1, T, H, W) of a crop -> what was found and what is there, each
    (K, T, H, W) bool.
    """
    device = next(network.parameters()).device
    overlap, size = torch.zeros(len(names)), torch.zeros(len(names))
    for index in range(count):
        batch = source.collate([index])
        image = batch["image"].to(device).contiguous(memory_format=torch.channels_last_3d)
        shown, truth = masks(network(image, batch["origins"]).cpu(), batch["target"])
        overlap += (shown & truth).flatten(1).sum(1)
        size += shown.flatten(1).sum(1) + truth.flatten(1).sum(1)
    dice = (2 * overlap / size.clamp(min=1)).tolist()
    return {"score": sum(dice) / len(dice), **{f"dice {n}": d for n, d in zip(names, dice, strict=True)}}


def whole_volume_dice(
    store: CaseStore, numbers: Sequence[int], windows: WindowSettings, frame: Grid3, task: Task, world: World
) -> Callable[[nn.Module], dict[str, float]]:
    """Validation: Dice of each region of the task over whole volumes, averaged over cases; ``score`` is their mean.

    Every process takes its share of the cases. What each returns is so scaled that the mean over processes is the
    mean over cases.
    """
    mine = numbers[world.rank :: world.size]
    by_region = windows.output == "regions"

    def judge(network: nn.Module) -> dict[str, float]:
        sums = dict.fromkeys((region.name for region in task.regions), 0.0)
        for _, found, labels in posteriors(cast(Network, network), store, mine, windows, frame, world.device):
            shown = found > 0.5 if by_region else found.argmax(0)
            for row, region in enumerate(task.regions):
                predicted = shown[row] if by_region else np.isin(shown, region.values)
                expected = np.isin(labels, region.values)
                size = int(np.count_nonzero(predicted) + np.count_nonzero(expected))
                sums[region.name] += 2 * int(np.count_nonzero(predicted & expected)) / size if size else 1.0
        scores = {f"dice {name}": value * world.size / len(numbers) for name, value in sums.items()}
        return {"score": sum(scores.values()) / len(scores), **scores}

    return judge


@torch.inference_mode()
def calibrate(
    network: Network,
    store: CaseStore,
    numbers: Sequence[int],
    windows: WindowSettings,
    frame: Grid3,
    task: Task,
    device: torch.device,
) -> dict[str, Any]:
    """Temperature fitted to validation cases, and the expected calibration error before and after."""
    cases = posteriors(network, store, numbers, windows, frame, device)
    return choose_temperature(cases, task, by_region=windows.output == "regions")
