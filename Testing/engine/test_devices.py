"""Large blocks are reused instead of being asked of the system again and again."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from asa.devices import to_array, to_tensor

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


def test_arrays_and_tensors_share_values_and_can_be_written() -> None:
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    tensor = to_tensor(array)
    array[0, 0, 0] = 7
    assert tensor[0, 0, 0] == 7, "no copy is made"
    frozen = array[:, ::2].copy()
    frozen.flags.writeable = False
    assert torch.equal(to_tensor(frozen), torch.tensor(frozen.tolist()))
    back = to_array(tensor.transpose(0, 2))
    back += 1
    assert back.shape == (4, 3, 2) and back[0, 0, 0] == 8
    assert to_array(torch.ones(2, requires_grad=True)).tolist() == [1, 1]
