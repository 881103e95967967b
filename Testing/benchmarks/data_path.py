"""Augmented crops per second of one core: our data path compared with MONAI's dictionary transforms.

    python -m Testing.benchmarks.data_path [--crops N] [--case FOLDER]

Both do the same to the same BraTS case: a random 128^3 crop of four modalities and their labels, rotation and scaling
(p 0.2 each), left-right mirroring, gamma (p 0.3). Ours reads float16 from memory-mapped files; MONAI is given float32
arrays that lie in memory, as its CacheDataset would. Crops that are turned cost many times what others do, so a mean
over few random crops says more about luck than about speed: every kind of crop is timed by itself (means of processor
time, systems in turns), and the recipe's probabilities weigh them. Ours lets the C library keep large blocks, as our
trainer does; MONAI is measured as it comes, and with the same setting.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from Testing.benchmarks.heads import RESULTS, data_root
from Testing.benchmarks.tables import Cell, markdown, provenance

from asa.data.augment import AugmentSettings
from asa.data.case_store import CaseStore, prepare_cases
from asa.data.datasets import DATASETS
from asa.devices import keep_freed_memory
from asa.training.finetuning.crops import LabelledCrops
from asa.training.finetuning.settings import FinetuneSettings

CROP = (128, 128, 128)
RECIPE = AugmentSettings()
# Kinds of crops: probabilities of rotation, scaling and gamma. All of them are mirrored half of the time.
KINDS = {"cut": (0, 0, 0), "rotation": (1, 0, 0), "scaling": (0, 1, 0), "both": (1, 1, 0), "gamma": (0, 0, 1)}
MONAI = ("rotation and zoom", "one affine transform", "one affine transform, lazy")
CHEAP = 6  # times as many crops that are only cut
OURS, KEPT = "ours", ", large blocks kept"
Draw = Callable[[int], Any]


def expected(seconds: dict[str, float]) -> float:
    """Seconds of a crop under the recipe's probabilities, from those of each kind."""
    turned, scaled = RECIPE.rotation_p, RECIPE.scale_p
    shares = {
        "cut": (1 - turned) * (1 - scaled),
        "rotation": turned * (1 - scaled),
        "scaling": (1 - turned) * scaled,
        "both": turned * scaled,
    }
    geometry = sum(share * seconds[kind] for kind, share in shares.items())
    return geometry + RECIPE.gamma_p * (seconds["gamma"] - seconds["cut"])


def ours(store: CaseStore, kind: str) -> Draw:
    """Our source with the settings of the published fine-tuning."""
    turned, scaled, gamma = KINDS[kind]
    augment = AugmentSettings(rotation_p=turned, scale_p=scaled, gamma_p=gamma)
    settings = FinetuneSettings(store=str(store.folder), crop=CROP, foreground=0.0, augment=augment)
    frame = (store.shape[0] // 8, store.shape[1] // 8, store.shape[2] // 8)
    return LabelledCrops(store, range(len(store.cases)), frame, settings.crops).sample


def monai(store: CaseStore, system: str, kind: str) -> Draw:
    """MONAI's transforms for the same, with rotation and scaling in one transform or in two."""
    from monai import transforms as m

    turned, scaled, gamma = KINDS[kind]
    keys, angle = ["image", "label"], math.radians(RECIPE.rotation_deg)
    modes = {"mode": ["bilinear", "nearest"], "padding_mode": "border"}
    low, high = RECIPE.scale
    geometry: list[Any] = []
    if system == MONAI[0]:
        turns = {f"range_{axis}": angle for axis in "xyz"}
        zoom = {"min_zoom": low, "max_zoom": high, "mode": ["trilinear", "nearest"]}
        geometry = [m.RandRotated(keys, prob=turned, **turns, **modes), m.RandZoomd(keys, prob=scaled, **zoom)]
    else:
        # scale ranges of RandAffine are added to 1 and pull
        scale = [(1 / high - 1, 1 / low - 1)] * 3 if scaled else None
        turn = (angle, angle, angle) if turned else None
        geometry = [m.RandAffined(keys, prob=max(turned, scaled), rotate_range=turn, scale_range=scale, **modes)]
    steps = [
        m.RandSpatialCropd(keys, CROP, random_size=False),
        *geometry,
        m.RandFlipd(keys, prob=0.5, spatial_axis=2),
        m.RandAdjustContrastd("image", prob=gamma, gamma=RECIPE.gamma, retain_stats=True),
    ]
    pipeline = m.Compose(steps, lazy=system.endswith("lazy")).set_random_state(0)
    image, labels = (torch.from_numpy(array.astype(np.float32)) for array in store.read(0))
    return lambda _index: pipeline({"image": image, "label": labels[None]})


def means(systems: dict[str, Draw], crops: int) -> dict[str, float]:
    """Mean processor time of each, one crop in turn; the first crop does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    for index in range(crops + 1):
        for name, draw in systems.items():
            started = time.process_time()
            draw(index)
            seconds[name].append(time.process_time() - started)
    return {name: statistics.fmean(values[1:]) for name, values in seconds.items()}


def measure(store: CaseStore, crops: int) -> dict[str, dict[str, float]]:
    """System -> kind of crop -> seconds."""
    found: dict[str, dict[str, float]] = {}
    for setting in ("", KEPT):
        if setting:
            keep_freed_memory()
        for kind in KINDS:
            systems = {f"MONAI, {name}{setting}": monai(store, name, kind) for name in MONAI}
            systems |= {OURS: ours(store, kind)} if setting else {}
            for name, seconds in means(systems, CHEAP * crops if kind == "cut" else crops).items():
                found.setdefault(name, {})[kind] = seconds
            print(f"{kind}{setting}: {[found[name][kind] for name in systems]}", file=sys.stderr)
    return dict(sorted(found.items(), key=lambda item: item[0] != OURS))


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crops", type=int, default=7, help="of each kind")
    parser.add_argument("--case", type=Path, default=None, help="folder of one BraTS 2021 case")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    case = arguments.case or data_root() / "brats" / "BraTS2021_01479"
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        source.mkdir()
        (source / case.name).symlink_to(case.resolve(), target_is_directory=True)
        store = prepare_cases(DATASETS["brats2021"], source, Path(folder) / "store")
        found = measure(store, arguments.crops)
    mean = {name: expected(kinds) for name, kinds in found.items()}
    rows: list[list[Cell]] = [
        [name, *(1e3 * seconds for seconds in kinds.values()), 1 / mean[name], mean[name] / mean[OURS]]
        for name, kinds in found.items()
    ]
    text = "# Augmented 128³ crops of four modalities on one core\n\n"
    text += markdown(["data path", *(f"{kind} (ms)" for kind in KINDS), "crops/s", "ours is faster by"], rows, 1)
    text += f"\nMeans of {arguments.crops} crops of each kind, in turns; crops/s: weighted with the recipe's "
    text += f"probabilities. Target: 3 times. {provenance('torch', 'monai')}.\n"
    (RESULTS / "data_path.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
