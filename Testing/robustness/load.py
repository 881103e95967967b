"""Load: a batch of many heads, two runs on one folder, and the log of a month of training.

    python -m Testing.robustness.load [--heads 100] [--output FOLDER]

Run at the root of the checkout, with asa installed, on Linux. The network is replaced by thresholds; reading, checks,
measurements, pictures and files are those of `asa segment`. Writes load.md with --output.
"""

from __future__ import annotations

import argparse
import gc
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from Testing.benchmarks.tables import markdown, provenance
from Testing.robustness.fault_programs import head, without_a_network

from asa.cohort import batch
from asa.jobs import segment as job
from asa.request import SegmentRequest
from asa.runs.folder import Run, read_events
from asa.tasks import TASKS

ENGINE = Path(__file__).parents[1] / "engine" / "fake_engine.py"
MONTH_S, STEP_S = 30 * 86400, 10.0


def resident_mb() -> float:
    """Memory of this process in MB."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def many_heads(folder: Path, number: int) -> tuple[Counter[str], list[float]]:
    """Segment heads of which every tenth is damaged; status -> how many, and the memory after each."""
    without_a_network()
    given = folder / "given"
    for place in range(number):
        head(given / f"head{place:03d}.nii.gz", place)
        if place % 10 == 9:
            path = given / f"head{place:03d}.nii.gz"
            path.write_bytes(path.read_bytes()[:900])
    cases = batch.find_cases([given], TASKS["tissue"].modalities[:1])
    statuses: Counter[str] = Counter()
    memory = []
    for outcome in batch.run_cases(
        cases,
        lambda case: job.run(SegmentRequest(case.images), folder / "results" / case.name, segmentation_file=False),
    ):
        statuses[outcome.status] += 1
        memory.append(resident_mb())
    return statuses, memory


def two_at_once(folder: Path) -> list[int]:
    """Exit codes of two runs that begin together and write into one folder."""
    head(folder / "t1.nii.gz")
    command = [sys.executable, str(ENGINE), "cli", "segment", str(folder / "t1.nii.gz"), "-o", str(folder / "out")]
    environment = {**os.environ, "FAKE_DELAY": "20"}
    runs = [subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) for _ in range(2)]
    return sorted(run.wait() for run in runs)


def month_of_training(folder: Path) -> tuple[int, float, float]:
    """Events of a month, the seconds that reading them takes, and the MB that it takes."""
    run = Run.create(folder / "run", "pretraining", {"seed": 0}, {})
    count = int(MONTH_S / STEP_S)
    line = '{{"time": {:.1f}, "event": "step", "step": {}, "loss": 0.123456, "lr": 0.0001, "images_per_s": 3.2}}\n'
    with (run.folder / "events.jsonl").open("a", encoding="utf-8") as stream:
        stream.writelines(line.format(1e9 + step * STEP_S, step) for step in range(count))
    before, started = resident_mb(), time.monotonic()
    last, most = 0, before
    for event in read_events(run.folder / "events.jsonl"):
        last = event.get("step", last)
        if last % 50000 == 0:
            most = max(most, resident_mb())
    assert last == count - 1
    return count, time.monotonic() - started, most - before


def main() -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m Testing.robustness.load",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--heads", type=int, default=100, help="heads of the batch; every tenth is damaged")
    parser.add_argument("--output", type=Path, help="folder for the table")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="load-") as name:
        folder = Path(name)
        statuses, memory = many_heads(folder / "batch", arguments.heads)
        codes = two_at_once(folder)
        events, seconds, grown = month_of_training(folder)
    half = memory[len(memory) // 2 :]
    rows = [
        [
            f"batch of {arguments.heads} scans, every tenth damaged",
            f"{statuses['done']} done, {statuses['failed']} failed",
        ],
        ["memory after the first scan and the last", f"{memory[0]:.0f} MB, {memory[-1]:.0f} MB"],
        ["lowest and highest memory in the second half", f"{min(half):.0f} MB, {max(half):.0f} MB"],
        ["two runs that begin together on one folder", f"exit codes {codes[0]} and {codes[1]}"],
        [f"log of a month of training, {events:,} steps", f"read in {seconds:.1f} s with {grown:.0f} MB more memory"],
    ]
    print(markdown(["what", "result"], rows))
    if arguments.output:
        text = f"# Load\n\n{markdown(['what', 'result'], rows)}\nMade with {provenance('numpy', 'nibabel')}.\n"
        (arguments.output / "load.md").write_text(text, encoding="utf-8")
    right = statuses == {"done": arguments.heads - arguments.heads // 10, "failed": arguments.heads // 10}
    return int(not right or max(half) - min(half) > 20 or codes != [0, 4])


if __name__ == "__main__":
    sys.exit(main())
