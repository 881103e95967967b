"""Twenty injected faults; `python -m Testing.robustness.faults` injects a thousand into every program."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from Testing.robustness.fault_programs import Program
from Testing.robustness.faults import log_of, run

resource = pytest.importorskip("resource")


@pytest.mark.skipif(sys.platform != "linux", reason="the library is preloaded as Linux does it")
@pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler: install gcc or clang")
def test_faults_leave_nothing_half_done() -> None:
    command = [sys.executable, "-m", "Testing.robustness.faults", "--number", "20", "--program", "segment"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "20 faults, 0 broke a rule." in done.stdout


def test_a_limit_on_the_size_of_files_leaves_the_messages_of_the_trial_whole(tmp_path: Path) -> None:
    place = tmp_path / "place"
    (place / "tmp").mkdir(parents=True)
    program = Program(lambda _given: None, lambda _given, _out: print("said " * 2000))
    assert run(program, place, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))) == 0
    assert log_of(place).read_text(encoding="utf-8").split() == ["said"] * 2000
