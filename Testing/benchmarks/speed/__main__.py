"""Time and memory of ours, the peers and other networks, side by side in one run.

    python -m Testing.benchmarks.speed [--peers PYTHON] [--model FOLDER] [--threads N] [--rounds N]

Run at the root of the checkout, with asa installed, on a machine that does nothing else. Everything is measured in
turns: round after round, each once; the table gives medians of time and the largest peak of memory.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from asa.geometry import resample
from asa.volume import Grid, read_volume, write_volume

from ..heads import RESULTS, data_root, find_heads
from ..tables import Cell, markdown, provenance
from .forward import NETWORKS
from .measure import Usage, run

HEAD = "1000"
PEERS = {"atropos": "ANTs Atropos", "n4-atropos": "ANTs N4 + Atropos", "hmrf": "dipy HMRF"}
PEERS_SCRIPT = Path(__file__).resolve().parents[1] / "peers.py"
WHOLE, PART = "ASA, whole process", "ASA, network and resampling alone"
STAGES_ALONE = ("network", "labelling")


def cube_of_256(path: Path) -> None:
    """Write a real head on a grid of 256x256x256 voxels of 1 mm, centred, as scanners and FreeSurfer give it."""
    (head,) = find_heads(data_root(), [HEAD])
    volume = read_volume(head.image)
    affine = np.zeros((4, 4))
    affine[[2, 1, 0], [0, 1, 2]] = 1.0
    affine[:3, 3] = volume.grid.centre - 127.5
    affine[3, 3] = 1.0
    write_volume(resample(volume, Grid((256, 256, 256), affine), 1), path, dtype=np.int16)


def segment_command(image: Path, output: Path, model: str | None, threads: int) -> list[str]:
    """`asa segment` as a user runs it."""
    command = [sys.executable, "-c", "from asa.cli import main; main()", "segment", str(image), "-o", str(output)]
    command += ["--threads", str(threads), "--device", "cpu", "--overwrite"]
    return command + (["--model", model] if model else [])


def measure_heads(
    folder: Path, *, peers: Path | None, model: str | None, threads: int, rounds: int
) -> dict[str, list[Usage]]:
    """Whole processes on one head: ours, and each peer if there is an interpreter for them."""
    image = folder / "head.nii.gz"
    cube_of_256(image)
    usages: dict[str, list[Usage]] = {}
    for _ in range(rounds):
        whole = run(segment_command(image, folder / "result", model, threads), threads)
        timings = json.loads((folder / "result" / "report.json").read_text(encoding="utf-8"))["timings_s"]
        usages.setdefault(WHOLE, []).append(whole)
        alone = Usage(sum(timings[stage] for stage in STAGES_ALONE), whole.peak_gib, "")
        usages.setdefault(PART, []).append(alone)
        for system, title in PEERS.items() if peers else ():
            output = folder / f"{system}.nii.gz"
            command = [str(peers), str(PEERS_SCRIPT), system, str(image), str(output), "--threads", str(threads)]
            usages.setdefault(title, []).append(run(command, threads))
            print(f"{title}: {usages[title][-1].seconds:.1f} s", file=sys.stderr)
    return usages


def measure_networks(names: list[str], threads: int, rounds: int) -> dict[str, list[dict[str, Any]]]:
    """Forward passes, each network in a process of its own, round after round."""
    records: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            command = [sys.executable, "-m", "Testing.benchmarks.speed.forward", name, "--threads", str(threads)]
            records[name].append(json.loads(run([*command, "--passes", "2"], threads).output))
            print(f"{name}: {records[name][-1]['seconds']:.2f} s", file=sys.stderr)
    return records


def head_table(usages: dict[str, list[Usage]]) -> str:
    """Medians of whole processes, and how many times longer than ours each took."""
    medians = {name: statistics.median(usage.seconds for usage in runs) for name, runs in usages.items()}
    rows: list[list[Cell]] = [
        [name, medians[name], max(usage.peak_gib for usage in usages[name]), medians[name] / medians[WHOLE]]
        for name in medians
    ]
    return markdown(["system", "seconds", "peak memory (GiB)", "time / ours"], rows, digits=2)


def network_table(records: dict[str, list[dict[str, Any]]]) -> str:
    """Medians of forward passes, and the ratio of the float32 ones to UNETR's."""
    medians = {name: statistics.median(run["seconds"] for run in runs) for name, runs in records.items()}
    rows: list[list[Cell]] = []
    for name, runs in records.items():
        half = [run["bf16_seconds"] for run in runs if "bf16_seconds" in run]
        rows.append(
            [
                name,
                "×".join(str(size) for size in runs[0]["shape"]),
                runs[0]["parameters"] / 1e6,
                medians[name],
                statistics.median(half) if half else "–",
                max(float(run["peak_gib"]) for run in runs),
                medians[name] / medians["UNETR"],
            ]
        )
    header = [
        "network",
        "input",
        "parameters (M)",
        "float32 (s)",
        "bfloat16 (s)",
        "peak memory (GiB)",
        "float32 / UNETR",
    ]
    return markdown(header, rows, digits=2)


def hausdorff_table(rows: list[dict[str, Any]]) -> str:
    """Ours and MONAI's HD95 on tumour pairs."""
    header = ["case", "border error (mm)", "Dice", "HD95 (mm)", "HD95, MONAI (mm)", "ours (ms)", "MONAI (ms)", "ratio"]
    cells: list[list[Cell]] = [
        [
            row["case"],
            row["deformation_mm"],
            row["dice"],
            row["hd95_mm"],
            row["hd95_monai_mm"],
            1e3 * row["seconds"],
            1e3 * row["monai_seconds"],
            row["ratio"],
        ]
        for row in rows
    ]
    median = statistics.median(row["ratio"] for row in rows)
    return markdown(header, cells, digits=2) + f"\nMedian ratio {median:.1f}; asked for: 2.\n"


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m Testing.benchmarks.speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--peers", type=Path, metavar="PYTHON", help="interpreter of the peers' environment")
    parser.add_argument("--model", help="model folder or name; default: the installed tissue model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("heads", "networks", "hausdorff"), help="one part; printed, not written")
    arguments = parser.parse_args()
    threads, rounds = arguments.threads, arguments.rounds

    sections: list[str] = []
    if arguments.only in (None, "heads"):
        with tempfile.TemporaryDirectory() as folder:
            usages = measure_heads(
                Path(folder), peers=arguments.peers, model=arguments.model, threads=threads, rounds=rounds
            )
        sections.append(
            "## One head of 256×256×256 voxels of 1 mm\n\nWhole processes: start, reading, alignment, segmentation, "
            "writing. Bar: 20 s and 3 GiB whole, 10 s for network and resampling alone.\n\n" + head_table(usages)
        )
    if arguments.only in (None, "networks"):
        records = measure_networks(list(NETWORKS), threads, rounds)
        sections.append(
            "## One forward pass\n\nEvaluation mode; one window of 128³ with 4 channels, except where the whole brain "
            "is said. bfloat16: autocast, which ours use where the processor has the instructions. Bar: `paper` 4.1 s "
            "on the machine where UNETR takes 4.3 s; `starter` on the whole brain no slower than a UNETR window.\n\n"
            + network_table(records)
        )
    if arguments.only in (None, "hausdorff"):
        command = [sys.executable, "-m", "Testing.benchmarks.speed.hausdorff"]
        sections.append(
            "## 95 % Hausdorff distance of 240×240×155 tumours\n\nOne process, one thread, in turns.\n\n"
            + hausdorff_table(json.loads(run(command, 1).output))
        )
    made = f"{threads} threads, {rounds} rounds; {provenance('torch', 'monai', 'numpy', 'scipy')}."
    text = "\n".join(["# Speed and memory\n", *sections, made + "\n"])
    if arguments.only is None:
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / "speed.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
