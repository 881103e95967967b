"""Seconds from a click in 3D Slicer to its result: in a new process, and in the engine that Slicer keeps running.

    python -m Testing.benchmarks.speed.clicks [--rounds N] [--threads N] [--model FOLDER]

A cold click starts ``asa.jobs.segment``, as the panel does for the first segmentation, and ends when the process has
ended. Then one ``asa.jobs.resident`` answers three requests: the head (its own first click), the same head with another
setting, and another head. Round after round; the table gives medians, and the ratio to the cold click.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from Testing.benchmarks.heads import cube_of_256, data_root
from Testing.benchmarks.speed.measure import OURS, variables
from Testing.benchmarks.tables import Cell, markdown, origin, provenance

COLD, FIRST, AGAIN, OTHER = "cold click", "first click in the engine", "the same head again", "another head"
STRIPPED = "malf/1003/1003_SS.nii.gz"
HEADS = {"stripped 1 mm head": STRIPPED, "head of 256×256×256": None}  # made from a real head
OTHER_HEAD = "malf/1006/1006_SS.nii.gz"


def write_request(file: Path, image: Path, model: str | None, threads: int, **settings: Any) -> Path:
    """Write a request as the panel does, with its result folder beside it."""
    request = {"images": {"t1": str(image)}, "device": "cpu", "threads": threads, "output": str(file.with_suffix(""))}
    file.write_text(json.dumps({**request, **({"model": model} if model else {}), **settings}), encoding="utf-8")
    return file


def cold_click(request: Path, threads: int) -> float:
    """Seconds of a process of its own.

    Raises:
        subprocess.CalledProcessError: it failed; what it said is on standard error.
    """
    command = [sys.executable, "-m", "asa.jobs.segment", str(request)]
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=variables(threads, OURS))
    return time.perf_counter() - start


def resident_clicks(requests: list[Path], threads: int) -> list[float]:
    """Seconds of each request to one engine; those of the first hold its start.

    Raises:
        SystemExit: a request failed.
    """
    seconds = []
    start = time.perf_counter()
    command = [sys.executable, "-m", "asa.jobs.resident"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, encoding="utf-8", env=variables(threads, OURS), **pipes) as engine:
        assert engine.stdin is not None and engine.stdout is not None
        for request in requests:
            print(json.dumps({"request": "segment", "file": str(request)}), file=engine.stdin, flush=True)
            for line in engine.stdout:
                event = json.loads(line)
                if event["event"] == "ended":
                    break
            if event.get("exit_code") != 0:
                raise SystemExit(f"the engine could not answer {request}: {event}")
            seconds.append(time.perf_counter() - start)
            start = time.perf_counter()
        engine.stdin.close()
    return seconds


def measured_table(threads: int, rounds: int, model: str | None = None) -> str:
    """Click each head round after round; the medians as Markdown."""
    seconds: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cube_of_256(folder / "head.nii.gz")
        other = write_request(folder / "other.json", data_root() / OTHER_HEAD, model, threads)
        for _ in range(rounds):
            for title, path in HEADS.items():
                image = data_root() / path if path else folder / "head.nii.gz"
                first = write_request(folder / "first.json", image, model, threads)
                again = write_request(folder / "again.json", image, model, threads, threshold=0.4)
                clicks = [cold_click(first, threads), *resident_clicks([first, again, other], threads)]
                for kind, took in zip((COLD, FIRST, AGAIN, OTHER), clicks, strict=True):
                    seconds.setdefault(title, {}).setdefault(kind, []).append(took)
    rows: list[list[Cell]] = []
    for title, kinds in seconds.items():
        cold = statistics.median(kinds[COLD])
        rows += [[title, kind, (took := statistics.median(all_)), took / cold] for kind, all_ in kinds.items()]
    return markdown(["head", "click", "seconds", "to the cold click"], rows, digits=2)


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m Testing.benchmarks.speed.clicks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--model", help="model folder or name; default: the installed tissue model")
    options = parser.parse_args()
    print(measured_table(options.threads, options.rounds, options.model))
    print(f"{options.threads} threads, {options.rounds} rounds; {origin()}; {provenance('torch', 'numpy')}.")


if __name__ == "__main__":
    main()
