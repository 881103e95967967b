"""Large blocks are reused instead of being asked of the system again and again."""

from __future__ import annotations

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import numpy as np
from asa.devices import keep_freed_memory

if "keep" in sys.argv and not keep_freed_memory():
    sys.exit("not glibc")
for _ in range(3):
    np.ones(16_000_000, np.float32)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    np.ones(16_000_000, np.float32)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*words: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, *words], capture_output=True, encoding="utf-8", errors="replace", check=False
    )
    if "not glibc" in done.stderr:
        pytest.skip("this C library has no mallopt")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc can be told")
def test_freed_blocks_are_reused() -> None:
    assert faults("keep") < 0.1 * faults()
