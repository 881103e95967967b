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

from Testing.benchmarks import heads
from Testing.benchmarks.heads import RESULTS
from Testing.benchmarks.speed import clicks, shares
from Testing.benchmarks.speed.forward import NETWORKS
from Testing.benchmarks.speed.measure import KEPT_MEMORY, OURS, Usage, run
from Testing.benchmarks.tables import Cell, markdown, origin, provenance

PEERS = {"atropos": "ANTs Atropos", "n4-atropos": "ANTs N4 + Atropos", "hmrf": "dipy HMRF"}
PEERS_SCRIPT = Path(__file__).resolve().parents[1] / "peers.py"
WHOLE, PART = "ASA, whole process", "ASA, network and resampling alone"
STAGES_ALONE = ("network", "labelling")


def segment_command(image: Path, output: Path, model: str | None, threads: int) -> list[str]:
    """`asa segment` as a user runs it."""
    command = [sys.executable, "-c", "from asa.cli import main; main()", "segment", str(image), "-o", str(output)]
    command += ["--threads", str(threads), "--device", "cpu", "--overwrite"]
    return command + (["--model", model] if model else [])


def measure_head(
    image: Path, folder: Path, *, peers: Path | None, model: str | None, threads: int, rounds: int
) -> dict[str, list[Usage]]:
    """Whole processes on one head: ours, and each peer if there is an interpreter for them.

    All of them keep freed memory, which ours does by itself.
    """
    usages: dict[str, list[Usage]] = {}
    for _ in range(rounds):
        whole = run(segment_command(image, folder / "result", model, threads), threads, OURS)
        timings = json.loads((folder / "result" / "report.json").read_text(encoding="utf-8"))["timings_s"]
        usages.setdefault(WHOLE, []).append(whole)
        alone = Usage(sum(timings[stage] for stage in STAGES_ALONE), whole.peak_gib, "")
        usages.setdefault(PART, []).append(alone)
        for system, title in PEERS.items() if peers else ():
            output = folder / f"{system}.nii.gz"
            command = [str(peers), str(PEERS_SCRIPT), system, str(image), str(output), "--threads", str(threads)]
            usages.setdefault(title, []).append(run(command, threads, KEPT_MEMORY))
            print(f"{title}: {usages[title][-1].seconds:.1f} s", file=sys.stderr)
    return usages


def measure_networks(names: list[str], threads: int, rounds: int) -> dict[str, list[dict[str, Any]]]:
    """Forward passes, each network in a process of its own, round after round."""
    records: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            command = [sys.executable, "-m", "Testing.benchmarks.speed.forward", name, "--threads", str(threads)]
            command += ["--passes", "1" if name == "SwinUNETR" else "2"]
            records[name].append(json.loads(run(command, threads).output))
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


TIMES = {
    "seconds": "float32 (s)",
    "bf16_seconds": "bfloat16 (s)",
    "seconds_kept": "float32, memory kept (s)",
    "bf16_seconds_kept": "bfloat16, memory kept (s)",
}


def network_table(records: dict[str, list[dict[str, Any]]]) -> str:
    """Medians of forward passes, and the peak of memory."""
    rows: list[list[Cell]] = []
    for name, runs in records.items():
        times: list[Cell] = []
        for key in TIMES:
            measured = [run[key] for run in runs if key in run]
            times.append(statistics.median(measured) if measured else "–")
        size = "×".join(str(n) for n in runs[0]["shape"])
        peak = max(float(run["peak_gib"]) for run in runs)
        rows.append([name, size, runs[0]["parameters"] / 1e6, *times, peak])
    header = ["network", "input", "parameters (M)", *TIMES.values(), "peak memory (GiB)"]
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
    return markdown(header, cells, digits=2) + f"\nMedian ratio {median:.1f}; target: 2.\n"


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
    parser.add_argument(
        "--only", choices=("heads", "clicks", "shares", "networks", "hausdorff"), help="this part; the others stay"
    )
    arguments = parser.parse_args()
    threads, rounds = arguments.threads, arguments.rounds

    versions = provenance("torch", "monai", "numpy", "scipy")
    made = f"\n{threads} threads, {rounds} rounds; {origin()}; {versions}.\n"
    sections: dict[str, str] = {}
    if arguments.only in (None, "heads"):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            heads.cube_of_256(folder / "head.nii.gz")
            for title, image in (
                ("One head of 256×256×256 voxels of 1 mm", folder / "head.nii.gz"),
                ("One stripped head of 1 mm", heads.data_root() / clicks.STRIPPED),
            ):
                usages = measure_head(
                    image, folder, peers=arguments.peers, model=arguments.model, threads=threads, rounds=rounds
                )
                sections[title] = (
                    "Whole processes: start, reading, alignment, segmentation, writing; freed memory is kept in all of "
                    "them.\n\n" + head_table(usages) + made
                )
    if arguments.only in (None, "clicks"):
        sections["Clicks"] = (
            "From the click to the result, in a process of its own and in the engine that 3D Slicer keeps running.\n\n"
            + clicks.measured_table(threads, rounds, arguments.model)
            + made
        )
    if arguments.only in (None, "shares"):
        tables = shares.measured_tables(shares.CASES, threads=threads, rounds=rounds, model=arguments.model)
        sections.update({f"Shares of time: {case}": table + made for case, table in tables.items()})
    if arguments.only in (None, "networks"):
        records = measure_networks(list(NETWORKS), threads, rounds)
        sections["One forward pass"] = (
            "Evaluation mode; one window of 128³ with 4 channels, unless the whole brain is stated. bfloat16: "
            "autocast, which ours use where the processor has the instructions. Memory kept: freed blocks stay with "
            "the process, which is how ours run on Linux; PyTorch returns them by default. Target: `paper` "
            "4.1 s on the "
            "machine where unmodified UNETR takes 4.3 s; `starter` on the whole brain no slower than a UNETR "
            "window.\n\n" + network_table(records) + made
        )
    if arguments.only in (None, "hausdorff"):
        command = [sys.executable, "-m", "Testing.benchmarks.speed.hausdorff"]
        sections["95 % Hausdorff distance of 240×240×155 tumours"] = (
            "One process, one thread, alternating.\n\n" + hausdorff_table(json.loads(run(command, 1).output)) + made
        )
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / "speed.md"
    kept = path.read_text(encoding="utf-8") if arguments.only and path.is_file() else ""
    text = join_sections({**split_sections(kept), **sections})
    path.write_text(text, encoding="utf-8")
    print(text)


def split_sections(text: str) -> dict[str, str]:
    """Title -> body of each part of an earlier table."""
    parts = (part.partition("\n") for part in text.split("\n## ")[1:])
    return {title: body.strip("\n") for title, _, body in parts}


def join_sections(sections: dict[str, str]) -> str:
    """Inverse of :func:`split_sections`."""
    parts = (f"\n## {title}\n\n{body.strip()}\n" for title, body in sections.items())
    return "# Speed and memory\n" + "".join(parts)


if __name__ == "__main__":
    main()
