"""Measure how far Dice falls on degraded heads, and whether a mirrored head gives the mirrored result.

    python -m Testing.robustness [--model FOLDER] [--head NAME ...]

Run at the root of the checkout, with asa installed. Writes robustness.md and .csv.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from Testing.benchmarks.heads import REFERENCE_REGIONS, RESULTS, Head, data_root, find_heads
from Testing.benchmarks.tables import Cell, markdown, provenance, write_csv
from Testing.robustness.degrade import DEGRADATIONS, Pair

from asa.inference import SegmentRequest, segment
from asa.metrics import dice
from asa.tasks import TASKS
from asa.volume import Volume, read_volume, write_volume

CLASSES = tuple(REFERENCE_REGIONS)
OUR_NAMES = {"CSF": "ventricles", "GM": "GM", "WM": "WM"}
ALLOWED_FALL = 0.04
MIRROR_BAR = 0.98
MIRROR = "mirrored"

NOTES = f"""
Dice over the whole volume of skull-stripped scans with manual labels (`ibsr`, `malf`; CSF: ventricles), as they
are and degraded. Heads are rotated by resampling (cubic; the reference nearest), not by another affine. For 2×2×4 mm
the reference is brought to the coarse grid, each voxel taking the class that occupies most of it. Bias field 0.8 to
1.2, Rician noise of 5 % of white matter. Target: the mean over all classes and heads decreases by at most
{ALLOWED_FALL}.
"""


class Segmenter:
    """Segments volumes through files, as a user's come."""

    def __init__(self, model: str | None, folder: Path) -> None:
        self.model = model
        self.path = folder / "image.nii.gz"

    def __call__(self, image: Volume) -> np.ndarray:
        """Labels 0 or 1 CSF, 2 GM, 3 WM, in the order (T, H, W) of the image."""
        write_volume(image, self.path)
        result = segment(SegmentRequest(images={"t1": self.path}, task="tissue", model=self.model)).labels.array
        regions = {region.name: region.values for region in TASKS["tissue"].regions}
        labels = np.zeros(result.shape, dtype=np.uint8)
        for name, values in REFERENCE_REGIONS.items():
            labels[np.isin(result, regions[OUR_NAMES[name]])] = values[0]
        return labels


def class_dices(prediction: np.ndarray, reference: np.ndarray) -> list[float]:
    """Dice of each class."""
    return [dice(prediction == value, reference == value) for (value,) in REFERENCE_REGIONS.values()]


def measure_head(head: Head, segmenter: Segmenter) -> tuple[dict[str, list[float]], list[float]]:
    """Dice per class of the head as it is ("") and under each degradation; and between mirrored and mirrored result."""
    pair: Pair = (read_volume(head.image), read_volume(head.reference, labels=True))
    plain = segmenter(pair[0])
    dices = {"": class_dices(plain, pair[1].array)}
    mirror: list[float] = []
    for name, degrade in DEGRADATIONS.items():
        image, reference = degrade(pair)
        labels = segmenter(image)
        dices[name] = class_dices(labels, reference.array)
        if name == MIRROR:
            mirror = class_dices(labels, plain[..., ::-1])
        print(f"{head.name}, {name}: {np.mean(dices[name]) - np.mean(dices['']):+.3f}", file=sys.stderr)
    return dices, mirror


def write(measured: dict[Head, tuple[dict[str, list[float]], list[float]]], folder: Path, stem: str) -> Path:
    """Write the tables; returns the Markdown file."""
    plain = np.array([dices[""] for dices, _ in measured.values()])
    falls: list[list[Cell]] = []
    for name in DEGRADATIONS:
        values = np.array([dices[name] for dices, _ in measured.values()])
        fall = plain - values
        verdict = "yes" if fall.mean() <= ALLOWED_FALL else "no"
        falls.append(
            [name, *map(float, fall.mean(axis=0)), float(fall.mean()), float(fall.mean(axis=1).max()), verdict]
        )
    fall_header = ["degradation", *(f"fall of Dice {n}" for n in CLASSES), "mean fall", "worst head", "within bar"]

    mirrors = [[head.dataset, head.name, *mirror, float(np.mean(mirror))] for head, (_, mirror) in measured.items()]
    agreement = float(np.mean([mirror for _, mirror in measured.values()]))
    header = ["data", "head", "degradation", *(f"Dice {n}" for n in CLASSES)]
    rows: list[list[Cell]] = [
        [head.dataset, head.name, name or "as it is", *values]
        for head, (dices, _) in measured.items()
        for name, values in dices.items()
    ]
    means = ", ".join(f"{name} {value:.3f}" for name, value in zip(CLASSES, plain.mean(axis=0), strict=True))
    text = [
        "# Tissue segmentation: robustness\n",
        NOTES,
        f"\n{markdown(fall_header, falls)}",
        f"\nMean Dice without degradation: {means}.\n",
        "\n## Mirror test\n\nDice between the result for the mirrored scan and the mirrored result for the scan.\n\n",
        markdown(["data", "head", *CLASSES, "mean"], mirrors, digits=4),
        f"\nMean {agreement:.4f}, bar {MIRROR_BAR}.\n",
        f"\n## Results per scan\n\n{markdown(header, rows)}",
        f"\nMade with {provenance('torch', 'numpy', 'scipy')}.\n",
    ]
    path = folder / f"{stem}.md"
    path.write_text("".join(text), encoding="utf-8")
    write_csv(folder / f"{stem}.csv", header, rows)
    return path


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m Testing.robustness", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="model folder or name; default: the installed tissue model")
    parser.add_argument("--head", action="append", help="only this head; may be repeated")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for the table")
    parser.add_argument("--name", default="robustness", help="stem of the files, for a model on trial")
    arguments = parser.parse_args()
    heads = find_heads(data_root(), arguments.head)
    arguments.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        segmenter = Segmenter(arguments.model, Path(folder))
        measured = {head: measure_head(head, segmenter) for head in heads}
    print(write(measured, arguments.output, arguments.name))


if __name__ == "__main__":
    main()
