"""A hundred damaged files for each reader; `python -m Testing.robustness.fuzz` draws a million."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.skipif(sys.platform == "win32", reason="needs a process that is forked")
def test_damaged_files_are_understood_or_refused() -> None:
    command = [sys.executable, "-m", "Testing.robustness.fuzz", "--random", "--number", "3000"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split("\t") for line in done.stdout.splitlines() if line.count("\t") >= 4]  # readers print, too
    assert len(rows) >= 28 and all(int(row[1]) >= 100 and int(row[4]) == 0 for row in rows)
