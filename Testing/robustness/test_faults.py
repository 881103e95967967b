"""Twenty injected faults; `python -m Testing.robustness.faults` injects a thousand into every program."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="the library is preloaded as Linux does it")
@pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler: install gcc or clang")
def test_faults_leave_nothing_half_done() -> None:
    command = [sys.executable, "-m", "Testing.robustness.faults", "--number", "20", "--program", "segment"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "20 faults, 0 broke a rule." in done.stdout
