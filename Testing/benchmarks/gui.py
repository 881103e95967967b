"""How long the GUI thread of Slicer is busy at a stretch while the modules work: `python -m Testing.benchmarks.gui`.

Runs the driven tests, which say it, over the stand-in of Slicer's widgets, and writes `results/gui.md`. Counted is the
processor time of the GUI thread, so that other programs count little. With `--only FILE` one of the tests is run, and
the other rows of the table are kept.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from Testing.benchmarks.tables import commit, markdown, provenance

from asa.program import processors

REPOSITORY = Path(__file__).resolve().parents[2]
RESULT = Path(__file__).parent / "results" / "gui.md"
TESTS = (
    "Testing/modules/test_driven_steps.py",
    "Testing/modules/test_driven_module.py",
    "Testing/modules/test_driven_training.py",
    "Testing/modules/test_training_panel.py",
)
LIMIT_MS = 50
_ROW = re.compile(r"^\| (.+?) \| (\d+) \| (?:yes|NO) \|$", re.MULTILINE)
_SAID = re.compile(r"GUI thread busy for (\d+) ms at most: (.+)")


def measure(tests: Sequence[str]) -> dict[str, int]:
    """What was done, and the longest that the GUI thread was busy at a stretch, in ms.

    Args:
        tests: files of driven tests.

    Raises:
        SystemExit: a test failed; its output is printed.
    """
    options = ["-q", "--capture=no", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *tests],
        cwd=REPOSITORY,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )
    if done.returncode != 0:
        sys.exit(done.stdout + done.stderr)
    longest: dict[str, int] = {}
    for milliseconds, what in _SAID.findall(done.stdout + done.stderr):
        longest[what] = max(longest.get(what, 0), int(milliseconds))
    return longest


def main() -> None:
    """Measure, write and print the table."""
    parser = argparse.ArgumentParser(description="Measure how long the modules keep the GUI thread busy.")
    parser.add_argument("--only", choices=TESTS, help="run one test; the other rows are kept")
    only = parser.parse_args().only
    kept = {what: int(took) for what, took in _ROW.findall(RESULT.read_text(encoding="utf-8"))} if only else {}
    longest = {**kept, **measure([only] if only else TESTS)}
    rows = [[what, took, "yes" if took <= LIMIT_MS else "NO"] for what, took in longest.items()]
    text = (
        "# Longest blocking of the GUI thread\n\n"
        "Processor time of the GUI thread, longest round of Qt's loop, with the stand-in for Slicer's widgets (never "
        "in a real Slicer). In rows that state how often views were drawn, views follow the scene and count, except "
        "for the rendering itself, which is done in software here. "
        f"`python -m Testing.benchmarks.gui` at {commit()}, on {processors()} threads of a processor; "
        f"{provenance('PySide6-Essentials', 'slicer-core')}.\n\n"
        + markdown(["what", "ms at most", f"within {LIMIT_MS} ms"], rows)
    )
    RESULT.write_text(text, encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
