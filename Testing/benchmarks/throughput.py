"""Scans per hour: one process with all threads, and several processes with fewer threads each.

    python -m Testing.benchmarks.throughput --heads 4 --jobs 1 2 --work FOLDER

Every row segments the same scans again with ``asa segment``, so that starting Python and loading the model count;
the lines take turns. The page says how busy the machine was; a comparison holds for an otherwise idle one.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

from Testing.benchmarks.heads import RESULTS, data_root
from Testing.benchmarks.tables import commit

from asa.files import write_text
from asa.program import processors

PAGE = RESULTS / "throughput.md"
COHORT = 100_000


def segment(images: list[Path], out: Path, jobs: int, threads: int) -> tuple[float, float]:
    """Segment heads and return the seconds, and the peak memory of the largest process in GiB."""
    command = [sys.executable, "-m", "asa", "segment", *map(str, images), "-o", str(out)]
    command += ["--jobs", str(jobs), "--threads", str(threads), "--device", "cpu"]
    shutil.rmtree(out, ignore_errors=True)
    started = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (1 << 20)
    return time.monotonic() - started, peak


def page(rows: list[tuple[int, int, list[float]]], heads: int, peak: float, load: float) -> str:
    """The page, with what a cohort would cost at the best rate."""
    rates = {(jobs, threads): 3600 * heads / min(seconds) for jobs, threads, seconds in rows}
    best = max(rates.values())
    cores = processors()
    lines = [
        "# Scans per hour",
        "",
        f"`python -m Testing.benchmarks.throughput`; commit {commit()}, {platform.machine()},",
        f"{cores} processors, load average before it {load:.1f}. {heads} skull-stripped T1s of 1 mm, `tissue`, CPU.",
        "",
        "| processes | threads each | seconds, fastest | scans per hour | compared with the first |",
        "|---|---|---|---|---|",
    ]
    first = next(iter(rates.values()))
    for jobs, threads, seconds in rows:
        rate = rates[jobs, threads]
        lines.append(f"| {jobs} | {threads} | {min(seconds):.1f} | {rate:.0f} | {rate / first:.2f} |")
    hours = COHORT / best * cores
    lines += [
        "",
        f"Peak memory of the largest process: {peak:.1f} GiB at its peak.",
        "",
        f"{COHORT:,} scans at the best rate: {hours:,.0f} processor hours; an array of 100 jobs of 4 processors",
        f"would take {hours / 400:,.1f} hours. This is arithmetic, not a measurement: it leaves out queues, slow disks",
        "and scans that are larger than these.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--work", type=Path, required=True)
    chosen = parser.parse_args()
    images = sorted((data_root() / "t1").glob("sub-*/anat/*_T1w.nii.gz"))[: chosen.heads]
    load = os.getloadavg()[0]
    rows: list[tuple[int, int, list[float]]] = [(jobs, max(1, processors() // jobs), []) for jobs in chosen.jobs]
    peak = 0.0
    for _ in range(chosen.repeats):
        for jobs, threads, seconds in rows:
            took, used = segment(images, chosen.work / f"{jobs}_{threads}", jobs, threads)
            seconds.append(took)
            peak = max(peak, used)
            print(f"{jobs} x {threads}: {took:.1f} s", flush=True)
    write_text(PAGE, page(rows, len(images), peak, load))


if __name__ == "__main__":
    main()
