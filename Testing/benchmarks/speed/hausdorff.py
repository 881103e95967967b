"""95 % Hausdorff distance of tumours: ours compared with MONAI's, in one process, in turns.

    python -m Testing.benchmarks.speed.hausdorff [--repeats N] [--calibrate]

The pair is a BraTS segmentation (240x240x155) and the same after a smooth random deformation. ``--calibrate`` measures
instead what distances cost by a tree and by a distance transform, for the constants in asa.metrics.surface.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from monai.metrics import compute_hausdorff_distance
from scipy import ndimage
from scipy.spatial import KDTree
from Testing.benchmarks.heads import data_root

from asa.metrics import dice, hausdorff95
from asa.metrics.surface import surface
from asa.volume import read_volume

CASES = ("BraTS2021_01478", "BraTS2021_01479", "BraTS2021_01480")
DEFORMATION_MM = (1.0, 3.0)  # standard deviation of the displacement


def deformed(mask: np.ndarray, sd_mm: float, seed: int = 0) -> np.ndarray:
    """The mask after a smooth random displacement, as a segmentation with errors along its border."""
    generator = np.random.default_rng(seed)
    places = np.indices(mask.shape, dtype=np.float32)
    for place in places:
        field = ndimage.gaussian_filter(generator.normal(size=mask.shape).astype(np.float32), 8.0)
        place += field * (sd_mm / field.std())
    moved: np.ndarray = ndimage.map_coordinates(mask.astype(np.uint8), places, order=0) > 0
    return moved


def timed(function: Callable[[], float]) -> tuple[float, float]:
    """Result and seconds."""
    start = time.perf_counter()
    value = function()
    return value, time.perf_counter() - start


def compare(path: Path, sd_mm: float, repeats: int) -> dict[str, float | str]:
    """Median seconds of both on one pair of whole tumours; each gets its input in the form it likes best."""
    volume = read_volume(path, labels=True)
    reference = volume.array > 0
    prediction = deformed(reference, sd_mm)
    tensors = [torch.from_numpy(mask[None, None]).float() for mask in (prediction, reference)]
    spacing = list(volume.spacing)

    def monai() -> float:
        return float(compute_hausdorff_distance(*tensors, include_background=True, percentile=95, spacing=spacing))

    def ours() -> float:
        return hausdorff95(prediction, reference, spacing)

    seconds: dict[str, list[float]] = {"ours": [], "monai": []}
    values = {}
    for _ in range(repeats):
        for name, function in (("ours", ours), ("monai", monai)):
            values[name], elapsed = timed(function)
            seconds[name].append(elapsed)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    return {
        "case": path.parent.name,
        "deformation_mm": sd_mm,
        "dice": dice(prediction, reference),
        "hd95_mm": values["ours"],
        "hd95_monai_mm": values["monai"],
        "seconds": medians["ours"],
        "monai_seconds": medians["monai"],
        "ratio": medians["monai"] / medians["ours"],
    }


def calibrate() -> dict[str, float]:
    """Seconds per tree node, per query from afar and per voxel of a distance transform, on balls of several sizes.

    Processor time, so that other work on the machine matters little.
    """
    costs: dict[str, list[float]] = {"node": [], "query": [], "voxel": []}
    for radius in (10, 25, 45):
        places = np.indices([2 * radius + 67] * 3) - (radius + 33)
        distance = np.sqrt((places**2).sum(axis=0))
        target = surface(distance < radius)
        nodes = np.argwhere(target).astype(float)
        for gap in (6, 12, 30):
            points = np.argwhere(surface(distance < radius + gap)).astype(float)
            start = time.process_time()
            tree = KDTree(nodes, leafsize=32, balanced_tree=False, compact_nodes=False)
            middle = time.process_time()
            tree.query(points)
            end = time.process_time()
            ndimage.distance_transform_edt(~target, sampling=(1.0, 1.0, 1.0))
            costs["node"].append((middle - start) / len(nodes))
            costs["query"].append((end - middle) / len(points))
            costs["voxel"].append((time.process_time() - end) / target.size)
    return {name: statistics.median(values) for name, values in costs.items()}


def main() -> None:
    """Command line; see the module's docstring. Prints JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--calibrate", action="store_true")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", FutureWarning)
    torch.set_num_threads(1)
    if arguments.calibrate:
        print(json.dumps(calibrate()))
        return
    rows = [
        compare(data_root() / "brats" / case / f"{case}_seg.nii.gz", sd_mm, arguments.repeats)
        for case in CASES
        for sd_mm in DEFORMATION_MM
    ]
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
