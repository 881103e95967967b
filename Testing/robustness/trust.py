"""Does the verdict predict the quality of a result? Scans with manual labels, and degraded copies of them.

    python -m Testing.robustness.trust [--number N]

Run at the root of the checkout, with asa installed. Twins and heads are drawn in a fixed order, so that each further
result widens the sample. Appends to trust.csv after each, so that a run that was interrupted is continued, and writes
trust.md.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import ndimage
from Testing.benchmarks.heads import REFERENCE_REGIONS, Head, data_root, find_heads
from Testing.benchmarks.tables import markdown, provenance
from Testing.robustness.degrade import Pair, coarse, rotated, shaded

from asa.errors import InputError
from asa.geometry.orientation import about, turned
from asa.inference import SegmentRequest, segment
from asa.metrics import dice
from asa.tasks import TASKS
from asa.volume import Grid, Volume, read_volume, write_volume

HEADER = ("data", "head", "twin", "dice", "verdict", "reason")
RESULTS = Path(__file__).parent / "results"
BAD, GOOD = 0.70, 0.85
OUR_NAMES = {"CSF": "ventricles", "GM": "GM", "WM": "WM"}
SEED = 7

NOTES = f"""
Mean Dice of ventricles, grey and white matter against the manual labels of the whole brain, and the verdict of `trust`
in report.json (or a refusal, which counts as doubtful). Target: at least 90 % of the results below {BAD} and at most
10 % of those above {GOOD} are doubtful. No constant of a check was chosen on these scans, except that noise was seen
to trigger the check for motion on two of them, after which its limit was chosen again on training scans. If part of
the brain is cut off or wrapped around, the result must be doubtful however good the labels of the rest are, because
its volumes are wrong; such copies are also counted separately.
"""


def header_turned(*signs: float) -> Callable[[Pair], Pair]:
    """A header that turns the head by half a turn; the voxels stay."""

    def twin(pair: Pair) -> Pair:
        image, reference = pair
        matrix = about(image.grid.centre, np.diag(signs))
        return turned(image, matrix), turned(reference, matrix)

    return twin


def squeezed(pair: Pair, world: int, factor: float) -> Pair:
    """A header with a wrong voxel size along a world axis (0 right, 1 anterior, 2 superior)."""
    scale = np.eye(4)
    scale[world, world] = factor
    return turned(pair[0], scale), turned(pair[1], scale)


def noisy(pair: Pair, share: float) -> Pair:
    """Rician noise whose standard deviation is a share of the brightness of the brain."""
    image, reference = pair
    rng = np.random.default_rng(SEED)
    sigma = share * float(np.median(image.array[image.array > 0]))
    real, imaginary = rng.normal(0, sigma, (2, *image.array.shape))
    return image.with_array(np.hypot(image.array + real, imaginary).astype(np.float32)), reference


def in_motion(pair: Pair) -> Pair:
    """Two fifths of the lines of k-space come from the head nodded by 8 and -6 degrees."""
    image, reference = pair
    rng = np.random.default_rng(SEED)
    spectra = [np.fft.fft(image.array, axis=1)]
    for degrees in (8, -6):
        nodded = ndimage.rotate(image.array, degrees, (0, 1), reshape=False, order=1)
        spectra.append(np.fft.fft(nodded, axis=1))
    lines = image.array.shape[1]
    pose = np.repeat(rng.choice(3, lines // 6 + 1, p=[0.6, 0.2, 0.2]), 6)[:lines]
    mixed = np.choose(pose[None, :, None], spectra)
    return image.with_array(np.abs(np.fft.ifft(mixed, axis=1)).astype(np.float32)), reference


def cut(pair: Pair, part: float) -> Pair:
    """The upper part of the field of view is missing; the reference is of the whole brain."""
    image, reference = pair
    kept = int(image.array.shape[0] * (1 - part))
    return Volume(image.array[:kept], Grid((kept, *image.array.shape[1:]), image.grid.affine)), reference


def wrapped(pair: Pair) -> Pair:
    """The head is folded around the field of view from front to back."""
    inside = np.flatnonzero((pair[0].array > 0).any(axis=(0, 2)))
    shift = -int(inside[0]) - 25
    image, reference = (one.with_array(np.roll(one.array, shift, axis=1)) for one in pair)
    return image, reference


def changed(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Pair], Pair]:
    """Other grey levels."""
    return lambda pair: (pair[0].with_array(change(pair[0].array).astype(np.float32)), pair[1])


def inverted(array: np.ndarray) -> np.ndarray:
    """Bright where it was dark, as a T2 is; the background stays."""
    return np.where(array > 0, np.clip(np.percentile(array, 99.9) - array, 1, None), 0)


TWINS: dict[str, Callable[[Pair], Pair]] = {
    "as it is": lambda pair: pair,
    "upside down by the header": header_turned(1, -1, -1),
    "motion": in_motion,
    "noise of 8 %": lambda pair: noisy(pair, 0.08),
    "contrast inverted": changed(inverted),
    "upper 40 % missing": lambda pair: cut(pair, 0.4),
    "bias field and noise": shaded,
    "voxel size two thirds from bottom to top": lambda pair: squeezed(pair, 2, 0.667),
    "wrapped around": wrapped,
    "nodding by 20°": lambda pair: rotated(pair, 0),
    "noise of 30 %": lambda pair: noisy(pair, 0.3),
    "blurred by 4 mm": changed(lambda array: ndimage.gaussian_filter(array, 4.0)),
    "2×2×4 mm voxels": coarse,
}
# Twins in which a part of the brain is outside the image or in another place.
INCOMPLETE = ("upper 40 % missing", "wrapped around")


def ordered(heads: list[Head]) -> list[tuple[Head, str]]:
    """Heads and twins: of each round every twin once, on heads that follow one another."""
    return [
        (heads[(number + turn) % len(heads)], twin)
        for turn, (number, twin) in itertools.product(range(len(heads)), enumerate(TWINS))
    ]


def measure(head: Head, twin: str, folder: Path) -> list[str]:
    """A row of the table."""
    image, reference = TWINS[twin]((read_volume(head.image), read_volume(head.reference, labels=True)))
    path = folder / "t1.nii.gz"
    write_volume(image, path)
    try:
        result = segment(SegmentRequest({"t1": path}, tta=False))
    except InputError as error:
        return [head.dataset, head.name, twin, "", "refused", str(error).replace(str(folder), "")]
    regions = {region.name: region.values for region in TASKS["tissue"].regions}
    labels = np.zeros(reference.array.shape, np.uint8)  # of the whole brain, where the image was cut
    labels[tuple(slice(size) for size in result.labels.array.shape)] = result.labels.array
    values = [
        dice(np.isin(labels, regions[OUR_NAMES[name]]), np.isin(reference.array, wanted))
        for name, wanted in REFERENCE_REGIONS.items()
    ]
    first = next(iter(result.trust.reasons), "")
    return [head.dataset, head.name, twin, f"{np.mean(values):.3f}", result.trust.verdict, first]


def write(rows: list[list[str]], folder: Path) -> None:
    """Write both tables."""
    with (folder / "trust.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, lineterminator="\n").writerows([HEADER, *rows])
    whole = [row for row in rows if row[2] not in INCOMPLETE]
    bands = (
        (f"below {BAD:.2f}", rows, 0.0, BAD),
        (f"{BAD:.2f} to {GOOD:.2f}", rows, BAD, GOOD),
        (f"above {GOOD:.2f}", rows, GOOD, 2.0),
        (f"above {GOOD:.2f}, complete brain in place", whole, GOOD, 2.0),
    )
    table = []
    for title, among, low, high in bands:
        inside = [row for row in among if row[3] and low <= float(row[3]) < high]
        doubted = sum(row[4] != "ok" for row in inside)
        table.append([title, len(inside), doubted, f"{doubted / len(inside):.0%}" if inside else "–"])
    table.append(["refused", sum(not row[3] for row in rows), "", ""])
    text = [
        "# How well the verdict predicts the quality of a result\n",
        NOTES,
        f"\n{markdown(['mean Dice', 'results', 'doubtful', 'share'], table)}",
        f"\n## Every result\n\n{markdown(HEADER, rows)}",
        f"\nWithout test-time augmentation. Made with {provenance('torch', 'numpy', 'scipy')}.\n",
    ]
    (folder / "trust.md").write_text("".join(text), encoding="utf-8")


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m Testing.robustness.trust",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--number", type=int, default=0, help="so many results in all; 0: every twin of every head")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for the tables")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    file = arguments.output / "trust.csv"
    rows = []
    if file.exists():
        with file.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.reader(stream))[1:]
    done = {(row[1], row[2]) for row in rows}
    wanted = ordered(find_heads(data_root()))
    with tempfile.TemporaryDirectory() as folder:
        for head, twin in wanted[: arguments.number or None]:
            if (head.name, twin) not in done:
                rows.append(measure(head, twin, Path(folder)))
                write(rows, arguments.output)


if __name__ == "__main__":
    main()
