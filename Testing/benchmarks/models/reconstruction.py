"""How well a pre-trained auto-encoder fills in hidden brain, next to answers that need no learning.

``python -m Testing.benchmarks.models.reconstruction STORE SPLIT RUN [RUN ...] [--part held_out|test]``

Of each scan 75 % of the patches that hold brain are hidden, the same for everyone. Scans are z-scored within the brain;
the error is the mean square over hidden brain voxels, averaged over scans.

mean head: voxelwise mean of the training scans, where at least a tenth of them have brain.
blur: hidden voxels are a normalised Gaussian convolution of the visible ones; sigma is the best of the training scans.
both: the mean head and the blur of what is visible of the difference to it; the hardest of the three to beat.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from asa.data.scan_store import ScanStore
from asa.nn import MaskedAutoencoder, unpatchify
from asa.preprocessing.normalise import foreground_scale, scaled_by
from asa.pretext import brain_patches, random_mask
from asa.seeds import generator
from asa.training.pretraining.pretrained import Pretrained

Map = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
RATIO = 0.75
SIGMAS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)  # mm


def brain_scores(stored: npt.NDArray[np.uint8]) -> tuple[Map, Mask]:
    """Stored scan -> z-scores within the brain, 0 outside, and the brain."""
    brain = stored > 0
    inside = stored[brain].astype(np.float32)
    image = np.zeros(stored.shape, np.float32)
    image[brain] = (inside - inside.mean()) / inside.std()
    return image, brain


def hidden_voxels(brain: Mask, seed: int, patch: int = 8) -> tuple[torch.Tensor, Mask]:
    """Which patches (1, N) are hidden, and which brain voxels lie in them."""
    shown = torch.from_numpy(brain.astype(np.float32))[None, None]
    allowed = brain_patches(shown, patch)[0]
    mask = random_mask(allowed.numel(), RATIO, generator(seed), allowed)[None]
    grid = tuple(n // patch for n in brain.shape)
    voxels = unpatchify(mask[:, :, None].float().expand(-1, -1, patch**3), (grid[0], grid[1], grid[2]), patch)[0, 0]
    return mask, (voxels.numpy() > 0) & brain


def blurred(image: Map, seen: Mask, sigma: float) -> Map:
    """Normalised convolution of the voxels that are seen."""
    weight = ndimage.gaussian_filter(seen.astype(np.float32), sigma, truncate=4)
    total = ndimage.gaussian_filter(image * seen, sigma, truncate=4)
    filled: Map = total / np.maximum(weight, 1e-6)
    return filled


def mean_head(store: ScanStore, numbers: list[int]) -> Map:
    """Voxelwise mean over the training scans that have brain there."""
    total, count = np.zeros(store.shape, np.float64), np.zeros(store.shape, np.int32)
    for number in numbers:
        image, brain = brain_scores(np.asarray(store.read(number)))
        total += image
        count += brain
    mean: Map = np.where(count >= 0.1 * len(numbers), total / np.maximum(count, 1), 0).astype(np.float32)
    return mean


@torch.inference_mode()
def reconstructed(
    network: MaskedAutoencoder, stored: npt.NDArray[np.uint8], mask: torch.Tensor, *, tokens: bool
) -> Map:
    """What the network makes of a scan, as brain z-scores."""
    mean, spread = foreground_scale(stored.astype(np.float32))
    image = torch.from_numpy(scaled_by(stored.astype(np.float32), mean, spread))[None, None]
    patch = network.config.encoder.patch
    absent = ~brain_patches(image, patch) & ~mask if tokens else None
    made = network(image, mask, (0, 0, 0), absent)
    grid = tuple(n // patch for n in stored.shape)
    values = unpatchify(made.float(), (grid[0], grid[1], grid[2]), patch)[0, 0].numpy() * spread + mean
    inside = stored[stored > 0].astype(np.float32)
    found: Map = (values - inside.mean()) / inside.std()
    return found


def main() -> None:
    """See the top of the file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("store", type=Path)
    parser.add_argument("split", type=Path)
    parser.add_argument("runs", type=Path, nargs="*")
    parser.add_argument("--part", default="held_out", choices=("held_out", "test"))
    arguments = parser.parse_args()
    store = ScanStore.open(arguments.store)
    split = json.loads(arguments.split.read_text(encoding="utf-8"))
    number = {scan.name: place for place, scan in enumerate(store.scans)}
    train = [number[name] for name in split["train"]]
    prior = mean_head(store, train)
    tuning = [(brain_scores(np.asarray(store.read(n))), n) for n in train[:8]]

    def mean_error(sigma: float) -> float:
        errors = []
        for (image, brain), seed in tuning:
            _, hidden = hidden_voxels(brain, seed)
            errors.append(np.square(blurred(image, brain & ~hidden, sigma) - image)[hidden].mean())
        return float(np.mean(errors))

    sigma = min(SIGMAS, key=mean_error)
    networks = []
    for run in arguments.runs:
        known = Pretrained.open(run)
        network = MaskedAutoencoder(known.config).eval()
        network.load_state_dict(known.weights)
        networks.append((run.name, network, known.options.brain_tokens))
    rows: dict[str, list[float]] = {}
    for name in split[arguments.part]:
        stored = np.asarray(store.read(number[name]))
        image, brain = brain_scores(stored)
        mask, hidden = hidden_voxels(brain, 1000 + number[name])
        seen = brain & ~hidden
        answers = {
            "mean head": prior,
            f"blur, {sigma:g} mm": blurred(image, seen, sigma),
            "both": prior + blurred(image - prior, seen, sigma),
        }
        answers |= {label: reconstructed(net, stored, mask, tokens=tokens) for label, net, tokens in networks}
        for label, answer in answers.items():
            rows.setdefault(label, []).append(float(np.square(answer - image)[hidden].mean()))
    print(f"| {arguments.part} | " + " | ".join(split[arguments.part]) + " | mean |")
    print("|---|" + "---:|" * (len(split[arguments.part]) + 1))
    for label, errors in rows.items():
        print(f"| {label} | " + " | ".join(f"{e:.3f}" for e in [*errors, float(np.mean(errors))]) + " |")


if __name__ == "__main__":
    main()
