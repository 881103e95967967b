"""Memory that this process may use: of the computer, of its control groups, and by its own limits.

Standard library only.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from asa.errors import ResourceError
from asa.program import CONTROL_GROUP

PROCESS = Path("/proc/self")
LIBRARIES = 500 << 20  # of addresses, hardly of memory, that PyTorch and the stacks of its threads take once loaded
# Folder below that of control groups, limit, use, and the line for files that were read before, which make room:
# of version 2, and of version 1.
_GROUPS = {
    "": (".", "memory.max", "memory.current", "inactive_file"),
    "memory": ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def main_memory(line: str) -> int:
    """Bytes that Linux says in a line of ``/proc/meminfo``: ``MemAvailable``, ``MemTotal``; 0 on other systems."""
    return _said(Path("/proc/meminfo"), line)


def held_memory() -> int:
    """Return the bytes of memory that this process holds, without files that it shares; 0 where it is not known."""
    return _said(PROCESS / "status", "RssAnon")


def available_memory() -> float:
    """Return the bytes of memory that this process may still use; infinite where the system does not say.

    The least of what the computer has free, of what the control groups leave (those of a container, or of a job of a
    cluster), and of what the limits of the process leave (``ulimit -v`` and ``-d``).
    """
    free = float(main_memory("MemAvailable")) or float("inf")
    return min([free, *_left_by_groups(), *_left_by_limits()])


def require_memory(needed: int) -> None:
    """Refuse, before any work, what needs more memory than this process may use.

    What the process holds counts as usable: it is used again by the next scan of a process that stays.

    Args:
        needed: bytes.

    Raises:
        ResourceError: with both figures.
    """
    usable = available_memory() + held_memory()
    if usable < needed:
        raise ResourceError(
            f"A segmentation needs about {needed / 1e9:.1f} GB of memory, and {usable / 1e9:.1f} GB can be used here. "
            "Close other programs, or raise the memory limit of the container, job or shell."
        )


def _said(path: Path, line: str) -> int:
    """Return the bytes that a line of a file of Linux says in kB; 0 where there is none."""
    try:
        with path.open(encoding="ascii", errors="replace") as stream:
            return next(1024 * int(said.split()[1]) for said in stream if said.startswith(f"{line}:"))
    except (OSError, StopIteration):
        return 0


def _left_by_groups() -> Iterator[float]:
    """Yield what each control group leaves that this process is in, from its own up to that of the container."""
    paths = {"": "/", "memory": "/"}
    try:
        for line in (PROCESS / "cgroup").read_text(encoding="utf-8").splitlines():
            _, names, path = line.split(":", 2)
            paths.update(dict.fromkeys({*names.split(",")} & paths.keys(), path))
    except (OSError, ValueError):  # another system
        return
    for name, path in paths.items():
        folder, *files, reclaimed = _GROUPS[name]
        root = CONTROL_GROUP / folder
        own = root / path.strip("/")
        for group in (own, *own.parents):
            if not group.is_relative_to(root):
                break
            try:
                limit, used = (int((group / file).read_text(encoding="ascii")) for file in files)
                said = dict(row.split() for row in (group / "memory.stat").read_text(encoding="ascii").splitlines())
            except (OSError, ValueError):  # no limit, or a group that is not seen from inside a container
                continue
            yield float(limit - used + int(said.get(reclaimed, 0)))


def _left_by_limits() -> Iterator[float]:
    """Yield what each limit of this process leaves that was set."""
    if os.name != "posix":
        return
    import resource  # not on Windows

    to_come = 0 if "torch" in sys.modules else LIBRARIES
    for limit, line, reserved in ((resource.RLIMIT_AS, "VmSize", to_come), (resource.RLIMIT_DATA, "VmData", 0)):
        allowed = resource.getrlimit(limit)[0]
        if allowed != resource.RLIM_INFINITY:
            yield float(allowed - _said(PROCESS / "status", line) - reserved)
