"""Ctrl-C while several processes prepare scans: the others are not begun, nothing half-written stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from asa import cli

ENGINE = Path(cli.__file__).parents[2]
PROGRAM = """
import sys, time
from pathlib import Path
from asa.data import prepare
from asa.files import atomic_path
from asa.interrupts import interruptible

class Slow:
    def prepare_scan(self, scan):
        with atomic_path(Path(scan)) as temporary:
            temporary.write_text("half")
            time.sleep(60)

if __name__ == "__main__":
    prepare.processors = lambda: 2
    interruptible()
    try:
        list(prepare._results(Slow(), [f"{n}.txt" for n in range(9)], 2))
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process without asking it")
@pytest.mark.parametrize("to", ["program", "terminal"])
def test_all_processes_end_and_leave_nothing(tmp_path: Path, to: str) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "work").mkdir()
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "program.py")],
        cwd=tmp_path / "work",
        env={**os.environ, "PYTHONPATH": str(ENGINE)},
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    while len([*(tmp_path / "work").iterdir()]) < 2:
        assert process.poll() is None
        time.sleep(0.02)
    (os.killpg if to == "terminal" else os.kill)(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=50)
    assert process.returncode == 130 and "Traceback" not in err, err
    assert [*(tmp_path / "work").iterdir()] == []
