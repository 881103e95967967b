"""Which images are taken for heads: every real head at hand, and drawn images that show none.

    python -m Testing.robustness.recognition [--each N] [--not-heads] [--heads]

Run at the root of the checkout, with asa installed. Reading, registration and the checks on the images are run, and
the tissue model only where these have no doubts about what shows no head. Appends to recognition.csv after each image,
so that a run that was interrupted is continued, and writes recognition.md.
"""

from __future__ import annotations

import argparse
import csv
import re
import tempfile
from collections import Counter
from pathlib import Path

import nibabel as nib
from Testing.benchmarks.heads import data_root
from Testing.benchmarks.tables import markdown, provenance
from Testing.robustness.not_heads import NOT_HEADS

from asa.errors import AsaError
from asa.inference import SegmentRequest, segment
from asa.inference.placement import place_series
from asa.inference.plausibility import hole_findings
from asa.inference.quality import input_reasons, turn_reasons
from asa.volume import read_scan

HEADER = ("group", "image", "modality", "outcome", "reason")
RESULTS = Path(__file__).parent / "results"
ACCEPTED, DOUBTFUL, REFUSED = "accepted", "doubtful", "refused"
# Ends of file names -> modality. What ends otherwise is a label map or a mask.
MODALITIES = {"_t1": "t1", "_T1w": "t1", "_ana_strip": "t1", "_SS": "t1", "_t1w": "t1", "_t1ce": "t1gd", "_t2": "t2"}
MODALITIES |= {"_t2w": "t2", "_flair": "flair"}

NOTES = """
Each image is given alone. *refused*: no result, with one sentence; *doubtful*: a result whose `trust` is doubtful,
with the reason; *accepted*: a result without a doubt. The target is that no head is refused and that no image of
something else is accepted.

Images that show no head are drawn by `Testing/robustness/not_heads.py` and given as T1. Of the real heads, the
outcome is that of registration and of the checks on the image; doubts that only the network raises are not counted.
"""


def real_heads(root: Path, each: int) -> list[tuple[str, Path, str]]:
    """Group, file and modality of the images of heads; ``each``: at most so many people of a folder, 0 for all."""
    found = []
    people: dict[str, set[Path]] = {}
    for path in sorted(root.rglob("*.nii.gz")):
        stem = path.name.removesuffix(".nii.gz")
        ending = next((end for end in sorted(MODALITIES, key=len, reverse=True) if stem.endswith(end)), None)
        group = path.relative_to(root).parts[0]
        if ending is None or group == "label_maps":
            continue
        seen = people.setdefault(group, set())
        if each and path.parent not in seen and len(seen) >= each:
            continue
        seen.add(path.parent)
        found.append((group, path, MODALITIES[ending]))
    return found


def outcome(path: Path, modality: str, *, whole: bool) -> tuple[str, str]:
    """What becomes of an image, and why.

    Args:
        path: the image.
        modality: its modality key.
        whole: whether to run the tissue model where the image itself raises no doubt.
    """
    try:
        placement = place_series({modality: read_scan(path)}, align=True)
        doubts = [*placement.warnings, *input_reasons(placement), *turn_reasons(placement)]
        doubts += hole_findings(placement.series)[0]
        if whole and not doubts:
            doubts = list(segment(SegmentRequest({modality: path}, tta=False)).trust.reasons)
    except AsaError as error:
        return REFUSED, str(error).replace(str(path), path.name)
    return (DOUBTFUL, doubts[0]) if doubts else (ACCEPTED, "")


def known(file: Path) -> list[list[str]]:
    """Rows of an earlier run."""
    if not file.exists():
        return []
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.reader(stream))[1:]


def write(rows: list[list[str]], folder: Path) -> None:
    """Write both tables."""
    with (folder / "recognition.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerows([HEADER, *rows])
    counts: dict[tuple[str, str], Counter[str]] = {}
    for group, _, modality, what, _ in rows:
        counts.setdefault((group, modality), Counter())[what] += 1
    table = [
        [group, modality or "drawn", found.total(), found[ACCEPTED], found[DOUBTFUL], found[REFUSED]]
        for (group, modality), found in counts.items()
    ]
    others = [[group, image, what, reason] for group, image, _, what, reason in rows if what != ACCEPTED]
    drawn = sum(not modality for _, _, modality, _, _ in rows)
    text = [
        "# Which images are taken for heads\n",
        NOTES,
        f"\nSo far: {drawn} of the {len(NOT_HEADS)} drawn images, and {len(rows) - drawn} images of real heads.\n\n",
        markdown(["images", "modality", "number", ACCEPTED, DOUBTFUL, REFUSED], table),
        "\n## What was not accepted\n\n",
        markdown(["images", "image", "outcome", "first reason"], others),
        f"\nMade with {provenance('torch', 'numpy', 'scipy', 'SimpleITK')}. Every image is in recognition.csv.\n",
    ]
    (folder / "recognition.md").write_text("".join(text), encoding="utf-8")


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m Testing.robustness.recognition",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--each", type=int, default=0, help="at most so many people of each folder; 0: all")
    parser.add_argument("--not-heads", action="store_true", help="only what shows no head")
    parser.add_argument("--heads", action="store_true", help="only real heads")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for the tables")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    rows = known(arguments.output / "recognition.csv")
    done = {(row[0], row[1]) for row in rows}
    root = data_root()
    with tempfile.TemporaryDirectory() as folder:
        if not arguments.heads:
            for name, (kind, draw) in NOT_HEADS.items():
                if (kind, name) not in done:
                    path = Path(folder) / f"{name}.nii.gz"
                    nib.save(draw(), path)
                    rows.append([kind, name, "", *outcome(path, "t1", whole=True)])
                    write(rows, arguments.output)
        if not arguments.not_heads:
            for group, path, modality in real_heads(root, arguments.each):
                name = re.sub(r"\.nii\.gz$", "", str(path.relative_to(root / group)))
                if (group, name) not in done:
                    rows.append([group, name, modality, *outcome(path, modality, whole=False)])
                    write(rows, arguments.output)


if __name__ == "__main__":
    main()
