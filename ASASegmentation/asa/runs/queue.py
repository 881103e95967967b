"""Queue of runs: one run at a time per device, one process at a time per run folder.

Each process draws a ticket for a device, a file that stays locked as long as the process lives; the oldest ticket has
the device. The system releases a lock however the process ends, so no process waits for a dead one, and no server has
to manage the queue. Tickets are local to this machine and user, like the devices.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from asa.errors import InputError
from asa.files import read_json, try_lock
from asa.models import user_models

LOOK_S = 0.5  # polling interval of the queue
LEAVING_S = 5.0  # maximum time from the recorded end of a run to the end of its process


def turns_folder() -> Path:
    """Where the tickets of this user on this machine lie; made if missing.

    Not among temporary files, whose folder differs from program to program.
    """
    if (models := user_models()) is not None:
        folder = models.parent / "turns" / socket.gethostname()
        with contextlib.suppress(OSError):  # no home that can be written to
            folder.mkdir(parents=True, exist_ok=True)
            return folder
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")  # not every user has a name
    folder = Path(tempfile.gettempdir()) / f"asa-{user}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def holders(device: str) -> list[Path]:
    """Run folders that have a device or wait for it, first come first."""
    with _gate():
        return [run for _, run in _living(device)]


@contextmanager
def device_queue(device: str, run: Path, waiting: Callable[[Path], None] | None = None) -> Iterator[None]:
    """Have a device, once every run that came before has ended.

    Args:
        device: ``cpu`` or ``cuda:N``.
        run: the folder reported to other processes.
        waiting: called from time to time with the run that has the device; what it raises ends the wait. Without it
            nothing is waited for, but those who come later wait.
    """
    folder = turns_folder() / device.replace(":", "-")
    folder.mkdir(exist_ok=True)
    ticket = folder / f"{time.time_ns():020d}-{os.getpid()}.json"
    with _gate():  # the ticket must not be visible before it is locked
        stream = try_lock(ticket)
        assert stream is not None
        ticket.with_suffix(".run").write_text(json.dumps(str(run)), encoding="utf-8")
    try:
        while waiting is not None:
            with _gate():
                first, holder = next(_living(device, own=ticket))
            if first == ticket:
                break
            waiting(holder)
            time.sleep(LOOK_S)
        yield
    finally:
        with _gate():
            stream.close()
            _remove(ticket)


@contextmanager
def exclusive_run(run: Path) -> Iterator[None]:
    """Be the only process of this machine that trains in a run folder.

    A process that has recorded its end gets a moment to exit, so that a stopped run can be resumed immediately.

    Raises:
        InputError: another one does.
    """
    name = hashlib.sha256(str(run.resolve()).encode()).hexdigest()[:24]
    path = turns_folder() / f"{name}.lock"
    deadline = time.monotonic() + LEAVING_S
    while (stream := try_lock(path)) is None and time.monotonic() < deadline:
        time.sleep(0.1)
    if stream is None:
        raise InputError(f"Another process is already training in {run}. Stop it first, or choose another folder.")
    try:
        yield
    finally:
        stream.close()


@contextmanager
def _gate() -> Iterator[None]:
    """Only one process at a time looks at the tickets or changes them."""
    path = turns_folder() / "gate.lock"
    while (stream := try_lock(path)) is None:
        time.sleep(0.01)
    try:
        yield
    finally:
        stream.close()


def _living(device: str, own: Path | None = None) -> Iterator[tuple[Path, Path]]:
    """Tickets of a device and their runs, oldest first; those whose process has ended are removed.

    ``own``: the ticket of this process, which its own lock does not keep from.
    """
    for ticket in sorted((turns_folder() / device.replace(":", "-")).glob("*.json")):
        stream = try_lock(ticket) if ticket != own else None
        if stream is not None:
            stream.close()
            _remove(ticket)
            continue
        try:
            yield ticket, Path(read_json(ticket.with_suffix(".run")))
        except (OSError, ValueError, TypeError):  # cut short; its holder lives nevertheless
            yield ticket, Path("unknown")


def _remove(ticket: Path) -> None:
    for path in (ticket, ticket.with_suffix(".run")):
        path.unlink(missing_ok=True)
