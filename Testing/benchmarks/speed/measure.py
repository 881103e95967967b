"""Wall time and peak memory of child processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from asa.devices import KEPT_BYTES

# What numerical libraries read to learn how many threads they may use.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)

# `asa` sets this by itself where it is unset: its matrices are small, and threads that wait cost more than they save.
OURS = {"OPENBLAS_NUM_THREADS": "1"}

# How `asa` lets glibc reuse large blocks (asa.devices.keep_freed_memory), for the processes that it is compared with.
KEPT_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(KEPT_BYTES), "MALLOC_TRIM_THRESHOLD_": str(2 * KEPT_BYTES - 1)}


@dataclass(frozen=True)
class Usage:
    """What one process took.

    Attributes:
        seconds: wall time from start to exit.
        peak_gib: largest resident memory in GiB of the process itself.
        output: its standard output.
        processor_s: processor time of all threads, and of the child processes that it waited for.
    """

    seconds: float
    peak_gib: float
    output: str
    processor_s: float = 0.0


def variables(threads: int, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a process with a number of threads, and with further variables."""
    return {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads)), **(environment or {})}


def run(
    command: Sequence[str],
    threads: int,
    environment: Mapping[str, str] | None = None,
    errors: IO[str] | None = None,
) -> Usage:
    """Run a command with a number of threads and measure it (POSIX only: the peak comes from ``wait4``).

    Args:
        command: program and arguments.
        threads: how many threads numerical libraries may use.
        environment: further variables.
        errors: takes its standard error; None: this program's own.

    Raises:
        subprocess.CalledProcessError: it failed; what it said is on standard error.
    """
    start = time.perf_counter()
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=errors,
        env=variables(threads, environment),
        encoding="utf-8",
        errors="replace",
    ) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    unit = 1 if sys.platform == "darwin" else 1024
    return Usage(seconds, usage.ru_maxrss * unit / 2**30, output, usage.ru_utime + usage.ru_stime)
