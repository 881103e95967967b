"""Temporary files and folders whose names tell which process made them: the next run removes what a killed one left.

The standard library only. A process that is killed cannot tidy up. Whoever writes into the same folder next, once it
looks there, removes the temporary files of processes of this machine that no longer run, and of any machine those that
nothing has touched for a day.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from asa.interrupts import cleanup
from asa.liveness import process_alive

ABANDONED_AFTER_S = 86400
_NAME_END = 40  # characters of a name that its temporary name keeps
_OWNED = re.compile(r"\.?asa-([0-9a-f]{8})-(\d{1,10})-[0-9a-f]{8}[.-]")
_looked_through: set[tuple[int, str]] = set()


def temporary_path(final: Path) -> Path:
    """Return a hidden path next to ``final`` that ends as its name does; of a long name it has the end only."""
    return final.with_name(f".{_owned()}.{final.name[-_NAME_END:]}")


def private_folder(purpose: str) -> Path:
    """Make a temporary folder that only this user can read; what killed processes left among them is removed."""
    remove_abandoned(Path(tempfile.gettempdir()))
    return Path(tempfile.mkdtemp(prefix=f"{_owned()}-{purpose}-"))


@contextlib.contextmanager
def temporary_folder(purpose: str) -> Iterator[Path]:
    """Yield a private folder that is removed at the end of the block."""
    with cleanup() as stack:
        folder = private_folder(purpose)
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        yield folder


def remove_abandoned(folder: Path) -> None:
    """Remove the temporary files and folders of processes that no longer run; a process looks once into each folder."""
    key = (os.getpid(), os.fspath(folder))
    if key in _looked_through:
        return
    _looked_through.add(key)
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if (owner := _OWNED.match(entry.name)) is not None:
                with contextlib.suppress(OSError):
                    _remove_if_abandoned(entry, owner[1], int(owner[2]))


def _remove_if_abandoned(entry: os.DirEntry[str], machine: str, pid: int) -> None:
    if machine == _machine():
        if process_alive(pid):
            return
    elif time.time() - entry.stat(follow_symlinks=False).st_mtime < ABANDONED_AFTER_S:
        return
    if entry.is_dir(follow_symlinks=False):
        shutil.rmtree(entry.path, ignore_errors=True)
    else:
        Path(entry.path).unlink()


def _owned() -> str:
    return f"asa-{_machine()}-{os.getpid()}-{secrets.token_hex(4)}"


@functools.cache
def _machine() -> str:
    """Where a number means a process: a machine, or a container with processes of its own."""
    try:
        processes = os.fspath(Path("/proc/self/ns/pid").readlink())
    except OSError:
        processes = ""
    return hashlib.sha256(f"{socket.gethostname()} {processes}".encode()).hexdigest()[:8]
