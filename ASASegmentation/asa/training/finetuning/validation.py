"""Validation: Dice over whole volumes while and after fine-tuning, and the posterior's temperature."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from asa.data.case_store import CaseStore
from asa.devices import native_bf16
from asa.nn.baselines import Network
from asa.nn.position import Grid3
from asa.tasks import Task
from asa.training.finetuning.calibration import Posterior, choose_temperature
from asa.training.finetuning.whole_volume import WindowSettings, activation, predict
from asa.training.parallel.distributed import World


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


@torch.inference_mode()
def frame_dice(
    network: nn.Module, store: CaseStore, numbers: Sequence[int], task: Task, device: torch.device
) -> dict[str, float]:
    """Return the Dice of each region of a network of regions over whole frames in one pass, averaged over stored cases.

    ``score`` is the mean over regions. A region that is absent and not found counts as 1.
    """
    sums = dict.fromkeys((region.name for region in task.regions), 0.0)
    for number in numbers:
        image, labels = store.read(number)
        picture = torch.from_numpy(image.astype(np.float32))[None].to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=native_bf16(device)):
            logits = network(picture.contiguous(memory_format=torch.channels_last_3d), (0, 0, 0))[0]
        for row, region in enumerate(task.regions):
            found, expected = (logits[row] > 0).cpu().numpy(), np.isin(labels, region.values)
            size = int(found.sum()) + int(expected.sum())
            sums[region.name] += 2 * int((found & expected).sum()) / size if size else 1.0
    scores = {f"dice {name}": value / len(numbers) for name, value in sums.items()}
    return {"score": sum(scores.values()) / len(scores), **scores}


def whole_volume_dice(
    store: CaseStore, numbers: Sequence[int], windows: WindowSettings, frame: Grid3, task: Task, world: World
) -> Callable[[nn.Module], dict[str, float]]:
    """Validation: Dice of each region of the task over whole volumes, averaged over cases; ``score`` is their mean.

    Every process takes its share of the cases. What each returns is so scaled that the mean over processes is the
    mean over cases.
    """
    mine = numbers[world.rank :: world.size]
    by_region = windows.output == "regions"

    def validate(network: nn.Module) -> dict[str, float]:
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

    return validate


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
