"""Cost of reading DICOM instead of NIfTI, and what differs: `python -m Testing.benchmarks.dicom`.

Reads the series dicom/T1w_sagittal of the real data (384×274 voxels a slice), and the same voxels from a NIfTI, and
writes `results/dicom.md`. Counted is processor time, so that other programs count little. Each run is a process of its
own, since libraries are imported once and headers are kept.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from Testing.benchmarks.heads import RESULTS, data_root
from Testing.benchmarks.tables import markdown, provenance

from asa.cohort.dicom_heads import find_head
from asa.geometry import align_to_frame, template_brain
from asa.geometry.frame import FRAME
from asa.inference import segment
from asa.request import SegmentRequest
from asa.tasks import TASKS
from asa.volume import read_scan

LIMIT_S = 2.0
_REPEATS = 5
_PROGRAM = """
import sys, time
from pathlib import Path
from asa.jobs.segment import image_sha256
from asa.volume import read_scan
path, before = Path(sys.argv[1]), time.process_time()
if path.is_dir():
    from asa.cohort.dicom_heads import find_head
    from asa.tasks import TASKS
    path = find_head(path, TASKS["tissue"].modalities[:1], {}).images["t1"]
found = time.process_time()
image_sha256(path)
hashed = time.process_time()
read_scan(path)
print(found - before, hashed - found, time.process_time() - hashed)
"""
PARTS = ("find and sort the series", "checksum", "read")


def measure(path: Path) -> list[float]:
    """Seconds of each part, in a new process."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(path)], capture_output=True, encoding="utf-8", check=True
    )
    return [float(text) for text in done.stdout.split()]


def convert(series: Path, target: Path) -> None:
    """Convert a series by ITK."""
    import SimpleITK as sitk

    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(series))
    sitk.WriteImage(sitk.ReadImage(files), str(target))


def differences(series: Path, copies: list[Path]) -> str:
    """Return how the same series differs after conversion: voxels, their places, the alignment and the labels."""
    first = find_head(series, TASKS["tissue"].modalities[:1], {}).images["t1"]
    brain = np.argwhere(template_brain())[::997]
    seen = []
    for path in (first, *copies):
        scan = read_scan(path)
        result = segment(SegmentRequest({"t1": path}, device="cpu"))
        matrix = align_to_frame(scan).matrix
        seen.append((scan, FRAME.to_world(brain) @ matrix[:3, :3].T + matrix[:3, 3], result.labels.array))
    scan, places, labels = seen[0]
    rows = [
        [
            "".join(path.suffixes),
            f"{np.abs(other.array - scan.array).max():g}",
            f"{np.abs(other.grid.corners - scan.grid.corners).max():.1e}",
            f"{np.linalg.norm(elsewhere - places, axis=1).max():.1e}",
            f"{int((answer != labels).sum()):,} of {labels.size:,}",
        ]
        for path, (other, elsewhere, answer) in zip(copies, seen[1:], strict=True)
    ]
    head = ["converted to", "values", "places of voxels (mm)", "alignment in the brain (mm)", "labels"]
    return (
        "\n## What differs\n\nLargest differences between the series and the same voxels in another format. A NIfTI "
        "header stores places in single precision, in which 160 mm have a step of 1.5e-5 mm; DICOM and NRRD store "
        "decimal numbers. The label maps differ about as much for both, so the number of digits does not decide: the "
        "network computes in bfloat16 where the processor has it, as here, in which the smallest difference of its "
        "input can change how a number is rounded (probable; not repeated in float32).\n\n" + markdown(head, rows)
    )


def main() -> None:
    """Measure, write and print the tables."""
    series = data_root() / "dicom" / "T1w_sagittal"
    with tempfile.TemporaryDirectory() as folder:
        copies = [Path(folder) / f"head{suffix}" for suffix in (".nii.gz", ".nrrd")]
        for copy in copies:
            convert(series, copy)
        runs = [(measure(series), measure(copies[0])) for _ in range(_REPEATS)]
        unlike = differences(series, copies)
    rows = []
    for number, part in enumerate(PARTS):
        dicom, other = (statistics.median(run[kind][number] for run in runs) for kind in (0, 1))
        rows.append([part, dicom, other, dicom - other])
    total = [sum(float(row[column]) for row in rows) for column in (1, 2, 3)]
    within = "yes" if total[2] <= LIMIT_S else "NO"
    text = (
        "# Cost of reading DICOM instead of NIfTI\n\n"
        f"Seconds of processor time, medians of {_REPEATS} processes each, alternating; the import of pydicom counts "
        f"for DICOM. {len([*series.iterdir()])} slices of 384 × 274 voxels against the same as .nii.gz; "
        f"`python -m Testing.benchmarks.dicom`; {provenance('pydicom', 'SimpleITK', 'numpy')}.\n\n"
        + markdown(["part", "DICOM", "NIfTI", "more"], [*rows, ["all", *total]], digits=2)
        + f"\nWithin {LIMIT_S:g} s more: {within}.\n"
        + unlike
    )
    (RESULTS / "dicom.md").write_text(text, encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
