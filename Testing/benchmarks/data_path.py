"""Augmented crops per second of one core: our data path beside MONAI's dictionary transforms.

    python -m Testing.benchmarks.data_path [--crops 40] [--case FOLDER]

Both do the same to the same BraTS case: a random 128^3 crop of four modalities and their labels, rotation and scaling
(p 0.2 each), left-right mirroring, gamma (p 0.3). Ours reads float16 from memory-mapped files; MONAI is given float32
arrays that lie in memory. In turns, medians of processor time, so that other work on the machine disturbs less. Ours
lets the C library keep large blocks, as our trainer does; MONAI is measured as it comes, and with the same setting.
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

from asa.data.case_store import CaseStore, prepare_cases
from asa.data.datasets import DATASETS
from asa.inference.normalise import zscore
from asa.nn.allocation import keep_freed_memory
from asa.training.finetune import FinetuneSettings, LabelledCrops

from .heads import RESULTS, data_root
from .tables import Cell, markdown, provenance

CROP = (128, 128, 128)


def per_second(draw: Callable[[int], Any], count: int) -> float:
    """Calls of ``draw`` per second of processor time, after two that do not count."""
    for index in range(2):
        draw(index)
    started = time.process_time()
    for index in range(2, count + 2):
        draw(index)
    return count / (time.process_time() - started)


def ours(store: CaseStore) -> Callable[[int], Any]:
    """Our source with the settings of the published fine-tuning."""
    settings = FinetuneSettings(store=str(store.folder), crop=CROP, foreground=0.0)
    frame = (store.shape[0] // 8, store.shape[1] // 8, store.shape[2] // 8)
    return LabelledCrops(store, range(len(store.cases)), frame, settings).sample


def monai(store: CaseStore, *, one_affine: bool) -> Callable[[int], Any]:
    """MONAI's transforms for the same; ``one_affine`` joins rotation and scaling in one transform."""
    from monai import transforms as m

    keys, angle = ["image", "label"], math.radians(30)
    modes = {"mode": ["bilinear", "nearest"], "padding_mode": "border"}
    if one_affine:
        # scale ranges of RandAffine are added to 1 and pull, so 1/1.4 ... 1/0.7
        scale, turn = (1 / 1.4 - 1, 1 / 0.7 - 1), (angle, angle, angle)
        geometry = [m.RandAffined(keys, prob=0.36, rotate_range=turn, scale_range=[scale] * 3, **modes)]
    else:
        turns = {f"range_{axis}": angle for axis in "xyz"}
        zoom = {"min_zoom": 0.7, "max_zoom": 1.4, "mode": ["trilinear", "nearest"]}
        geometry = [m.RandRotated(keys, prob=0.2, **turns, **modes), m.RandZoomd(keys, prob=0.2, **zoom)]
    pipeline = m.Compose(
        [
            m.RandSpatialCropd(keys, CROP, random_size=False),
            *geometry,
            m.RandFlipd(keys, prob=0.5, spatial_axis=2),
            m.RandAdjustContrastd("image", prob=0.3, gamma=(0.7, 1.5), retain_stats=True),
        ]
    ).set_random_state(0)
    image, labels = (torch.from_numpy(array.astype(np.float32)) for array in store.read(0))
    return lambda _index: pipeline({"image": image, "label": labels[None]})


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crops", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--case", type=Path, default=None, help="folder of one BraTS 2021 case")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    case = arguments.case or data_root() / "brats" / "BraTS2021_01479"
    found: dict[str, list[float]] = {"ours": []}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        source.mkdir()
        (source / case.name).symlink_to(case.resolve(), target_is_directory=True)
        store = prepare_cases(DATASETS["brats2021"], source, Path(folder) / "store", zscore)
        theirs = {
            "MONAI, one affine transform": monai(store, one_affine=True),
            "MONAI, rotation and zoom": monai(store, one_affine=False),
        }
        for setting in ("", ", large blocks kept"):
            if setting:
                keep_freed_memory()
            systems = {name + setting: draw for name, draw in theirs.items()}
            systems |= {"ours": ours(store)} if setting else {}
            for _ in range(arguments.rounds):
                for name, draw in systems.items():
                    found.setdefault(name, []).append(per_second(draw, arguments.crops))
                    print(f"{name}: {found[name][-1]:.2f}", file=sys.stderr)
    medians = {name: statistics.median(values) for name, values in found.items()}
    rows: list[list[Cell]] = [[name, value, medians["ours"] / value] for name, value in medians.items()]
    text = "# Augmented 128³ crops of four modalities per second of one core\n\n"
    text += markdown(["data path", "crops/s", "ours is faster by"], rows, 2)
    text += f"\nMedians of {arguments.rounds} rounds of {arguments.crops} crops; asked for: 3 times. "
    text += f"{provenance('torch', 'monai')}.\n"
    (RESULTS / "data_path.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
