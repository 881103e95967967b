"""What the held-back patients say about a trained lesion model, before it ships: its temperature, and whether it knows
when it is wrong.

``python -m Testing.benchmarks.models.held_back STORE SPLIT RUN``

Whole frames, every subset of the modalities, threshold 0.5, no post-processing: Dice by subset without and with the
mirrored image averaged, the temperature at which the probabilities hold (fitted to all modalities together and to each
alone), and for each region of at least 1 mL the Dice that the probabilities expect beside the true one. Temperature and
expected Dice are those of the plain prediction; with --mirrored, of the average, for a model that ships with it.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from Testing.benchmarks.models.parts import trained
from Testing.benchmarks.tables import markdown

from asa.data.case_store import CaseStore
from asa.devices import native_bf16
from asa.geometry import FRAME
from asa.inference.confidence import believed, expected_dice, least_volume_ml
from asa.metrics import dice
from asa.metrics.calibration import fit_temperature
from asa.nn import Segmenter
from asa.tasks import TASKS
from asa.training.finetuning.calibration import SAMPLED, problems, temper
from asa.training.synthetic.lesion_samples import training_cases

LEVELS = (0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)
CPU = torch.device("cpu")


@torch.inference_mode()
def posterior(network: Segmenter, image: np.ndarray, *, mirrored: bool = False) -> np.ndarray:
    """Probabilities (R, T, H, W) of regions in a frame (C, T, H, W)."""
    picture = torch.from_numpy(np.ascontiguousarray(image[..., ::-1] if mirrored else image))[None]
    with torch.autocast("cpu", torch.bfloat16, enabled=native_bf16(CPU)):
        logits = network(picture.contiguous(memory_format=torch.channels_last_3d), (0, 0, 0))[0]
    found = torch.sigmoid(logits.float()).numpy()
    return found[..., ::-1] if mirrored else found


def doubts(cases: Iterable[tuple[np.ndarray, Sequence[np.ndarray]]], temperature: float, least_ml: float) -> str:
    """How well the Dice that probabilities expect tells bad outlines from good ones, as a table over its thresholds.

    Args:
        cases: probabilities and masks (R, T, H, W) of each case.
        temperature: of the probabilities, for the caption.
        least_ml: volume of a region below which it is not judged.
    """
    estimates = []
    for calibrated, truths in cases:
        for probability, truth in zip(calibrated, truths, strict=True):
            shown = believed(probability)
            found = shown > 0.5
            if max(shown.sum(), found.sum()) * FRAME.voxel_volume_ml >= least_ml:
                estimates.append((expected_dice(shown, found), dice(found, truth)))
    expected, true = np.array(estimates).T
    low, high = true < 0.7, true > 0.85
    rows = [[level, float((expected[low] < level).mean()), float((expected[high] < level).mean())] for level in LEVELS]
    return (
        f"\nTemperature {temperature:.2f}: {len(true)} outlines, expected Dice {expected.mean():.3f}, true "
        f"{true.mean():.3f}, correlation {np.corrcoef(expected, true)[0, 1]:.2f}\n\n"
        + markdown(["doubtful below", f"of {low.sum()} below 0.70", f"of {high.sum()} above 0.85"], rows, 2)
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("store", type=Path)
    parser.add_argument("split")
    parser.add_argument("run", type=Path)
    parser.add_argument(
        "--given", action="append", help="comma-separated modalities; may be repeated; default: every set"
    )
    parser.add_argument("--mirrored", action="store_true", help="the model will average the mirrored image (`tta`)")
    arguments = parser.parse_args()
    store = CaseStore.open(arguments.store)
    task = TASKS[store.dataset.task]
    keys = store.modalities
    network = trained(arguments.run)
    subsets = [s for n in range(len(keys), 0, -1) for s in itertools.combinations(range(len(keys)), n)]
    if arguments.given:
        subsets = [tuple(keys.index(key) for key in given.split(",")) for given in arguments.given]
    plain: dict[tuple[int, ...], list[list[float]]] = {s: [] for s in subsets}
    both: dict[tuple[int, ...], list[list[float]]] = {s: [] for s in subsets}
    samples = []
    generator = np.random.default_rng(0)
    kept = []
    for number in training_cases(arguments.split, 0, store, "validation"):
        image, labels = store.read(number)
        image, labels = image.astype(np.float32), np.asarray(labels)
        truths = [np.isin(labels, region.values) for region in task.regions]
        for subset in subsets:
            shown = image.copy()
            shown[[c for c in range(len(keys)) if c not in subset]] = 0
            if not shown.any():
                continue
            one = posterior(network, shown)
            two = 0.5 * (one + posterior(network, shown, mirrored=True))
            plain[subset].append([dice(p > 0.5, t) for p, t in zip(one, truths, strict=True)])
            both[subset].append([dice(p > 0.5, t) for p, t in zip(two, truths, strict=True)])
            used = two if arguments.mirrored else one
            for probability, truth in problems(used, labels, task, by_region=True):
                some = generator.choice(truth.size, min(SAMPLED // 4, truth.size), replace=False)
                samples.append((len(subset) == len(keys), probability[:, some], truth[some]))
            kept.append((used.astype(np.float16), truths))
    rows = [
        [
            " + ".join(keys[c] for c in s),
            *(fmean(case[r] for case in plain[s]) for r in range(len(task.regions))),
            *(fmean(case[r] for case in both[s]) for r in range(len(task.regions))),
        ]
        for s in subsets
        if plain[s]
    ]
    names = [region.name for region in task.regions]
    print(markdown(["given", *names, *(f"{name}, mirrored too" for name in names)], rows))
    pairs = [(p, t) for full, p, t in samples if full]
    print("temperature, all modalities:", round(fit_temperature(pairs), 3))
    temperature = fit_temperature([(p, t) for _, p, t in samples])
    print("temperature, every subset:", round(temperature, 3))
    for value in (1.0, temperature):
        calibrated = [(temper(half.astype(np.float32), value, by_region=True), truths) for half, truths in kept]
        print(doubts(calibrated, value, least_volume_ml(task)))


if __name__ == "__main__":
    main()
