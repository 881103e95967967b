"""The panels on screens with scaling: the tests of their widths once more, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("scale", ["1.25", "2"])
def test_nothing_is_clipped_at(scale: str) -> None:
    files = [str(REPOSITORY / "Testing" / "modules" / name) for name in ("test_panel.py", "test_training_panel.py")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "TestWidths", *files],
        cwd=REPOSITORY,
        env={**os.environ, "QT_SCALE_FACTOR": scale, "QT_QPA_PLATFORM": "offscreen"},
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )
    assert done.returncode == 0, done.stdout + done.stderr
