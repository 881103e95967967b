"""How long the GUI thread of Slicer is busy at a stretch while the modules work: `python -m Testing.benchmarks.gui`.

Runs the driven tests, which say it, over the stand-in of Slicer's widgets, and writes `results/gui.md`. Counted is the
processor time of the GUI thread, so that other programs count little.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from Testing.benchmarks.tables import markdown, provenance

REPOSITORY = Path(__file__).resolve().parents[2]
RESULT = Path(__file__).parent / "results" / "gui.md"
TESTS = (
    "Testing/modules/test_driven_module.py",
    "Testing/modules/test_driven_training.py",
    "Testing/modules/test_training_panel.py",
)
LIMIT_MS = 100
_SAID = re.compile(r"GUI thread busy for (\d+) ms at most: (.+)")


def measure() -> list[tuple[str, int]]:
    """What was done, and the longest that the GUI thread was busy at a stretch, in ms.

    Raises:
        SystemExit: a test failed; its output is printed.
    """
    options = ["-q", "--capture=no", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *TESTS],
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
    return list(longest.items())


def main() -> None:
    """Measure, write and print the table."""
    rows = [[what, took, "yes" if took <= LIMIT_MS else "NO"] for what, took in measure()]
    text = (
        "# Longest time that the GUI thread is busy\n\n"
        "Processor time of the GUI thread, longest round of Qt's loop, over the stand-in of Slicer's widgets (never in "
        f"a real Slicer); `python -m Testing.benchmarks.gui`; {provenance('PySide6-Essentials', 'slicer-core')}.\n\n"
        + markdown(["what", "ms at most", f"within {LIMIT_MS} ms"], rows)
    )
    RESULT.write_text(text, encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
