"""Records of the interaction benchmark -> Markdown."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from Testing.benchmarks.tables import Cell, markdown, provenance

AFTER = (0, 1, 2, 3, 5, 10)  # clicks
GOALS = (0.85, 0.90)
GROUP = ("task", "segment", "start", "marks")


class Record(TypedDict):
    """One system on one segment of one case.

    Attributes:
        start: ``model`` or ``nothing``.
        marks: ``own`` or ``same``, see the page.
        dice: after 0, 1, 2 … clicks.
        seconds: of each click, elapsed.
        processor_s: of each click, processor time of the process.
        peak_gib: largest resident memory of the process so far.
        commit: of the code that was measured.
    """

    task: str
    case: str
    segment: str
    start: str
    marks: str
    system: str
    dice: list[float]
    seconds: list[float]
    processor_s: list[float]
    peak_gib: float
    commit: str


def clicks_to(record: Record, goal: float) -> int:
    """Clicks until a Dice is reached; one more than were made where it never was."""
    reached = [number for number, value in enumerate(record["dice"]) if value >= goal]
    return reached[0] if reached else len(record["dice"])


def page(records: Sequence[Record], command: str) -> str:
    """The whole page."""
    clicks = max(len(record["dice"]) for record in records) - 1
    after = [number for number in AFTER if number <= clicks]
    text = f"""# Interactive correction

`{command}`

A simulated user clicks at the deepest point of the largest error, up to {clicks} times. Marks "own": each system gets
its own clicks by this rule; "same": the other tools get the clicks that ASA got. Images and start are the same. The
other tools' clicks are balls of 2 mm; voxels at least 3 mm inside or outside the start are also seeds. Grow from
seeds uses one image (FLAIR; for the core T1Gd), the others use all. The random walker works on voxels of 2 mm.

The smallest gain is that of the case that gained least from all clicks. In "clicks to a Dice", a case that never
reaches it counts as one click more than were made. Times are processor time of a whole click, and elapsed time in
parentheses (the machine was shared). Peak memory is that of the whole process, including images and the benchmark.
"""
    lines = [text]
    groups = sorted({(r["task"], r["segment"], r["start"], r["marks"]) for r in records})
    for task, segment, start, marks in groups:
        chosen = [r for r in records if [r[n] for n in GROUP] == [task, segment, start, marks]]  # type: ignore[literal-required]
        cases = sorted({r["case"] for r in chosen})
        begin = "the model’s result" if start == "model" else "nothing"
        lines.append(f"## {task}, {segment}, from {begin}, {marks} marks\n")
        header = ["system", "cases", *(f"Dice, {n} clicks" for n in after)]
        header += ["smallest gain", *(f"clicks to {goal:.2f}" for goal in GOALS), "median s", "worst s", "peak GiB"]
        rows: list[list[Cell]] = []
        for system in dict.fromkeys(r["system"] for r in chosen):
            own = [r for r in chosen if r["system"] == system]
            dice = [np.mean([r["dice"][min(n, len(r["dice"]) - 1)] for r in own]) for n in after]
            work = np.concatenate([r["processor_s"] for r in own]) if own else np.zeros(0)
            wall = np.concatenate([r["seconds"] for r in own])
            times = [f"{kind(work):.2f} ({kind(wall):.2f})" if len(work) else "–" for kind in (np.median, np.max)]
            goals = [float(np.mean([clicks_to(r, goal) for r in own])) for goal in GOALS]
            least = f"{min(r['dice'][-1] - r['dice'][0] for r in own):+.3f}"
            peak = f"{max(r['peak_gib'] for r in own):.2f}"
            rows.append([system, len(own), *map(float, dice), least, *(f"{goal:.1f}" for goal in goals), *times, peak])
        lines.append(markdown(header, rows))
        lines.append(f"Cases: {', '.join(cases)}.\n")
    commits = ", ".join(sorted({record["commit"] for record in records}))
    lines.append(f"Measured at {commits}, on {os.cpu_count()} logical processors.\n")
    lines.append(provenance("numpy", "scipy", "scikit-image", "slicer-core") + ".\n")
    return "\n".join(lines)
