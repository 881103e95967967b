"""Context of every training command: exclusive access to its folder, queueing, and device."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

from asa.devices import choose_device, set_threads
from asa.errors import InputError, OutputError
from asa.runs.folder import Run
from asa.runs.layout import DESCRIPTION, EARLY
from asa.runs.queue import device_queue, exclusive_run
from asa.training.parallel.distributed import World, join, leave

BEAT_S = 5.0


@contextmanager
def session(folder: Path, device: str = "auto", *, threads: int = 0, queue: bool = False) -> Iterator[World]:
    """Yield this process as one rank of the run, for as long as the run lasts.

    Errors before the trainer starts are recorded in an existing run folder, where the panel that created it reads them.

    Args:
        folder: the run folder.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        threads: CPU threads; 0 for PyTorch's default.
        queue: wait until all runs queued earlier on this device have ended.

    Raises:
        InputError: another process is training in this folder, or a run on several devices is to be queued.
        OutputError: the folder is a file, or contains something other than a run.
        ResourceError: the device does not exist.
        KeyboardInterrupt: the run was stopped while it waited.
    """
    if threads:
        set_threads(threads)
    single, first = int(os.environ.get("WORLD_SIZE", 1)) == 1, int(os.environ.get("RANK", 0)) == 0
    if queue and not single:
        raise InputError("A run on several devices cannot be queued.")
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir():
        raise OutputError(f"{there} is a file; choose a folder for the run.")
    if first:
        refuse_other_folder(folder)
    choose_device(device)
    run = Run(folder)
    with ExitStack() as stack:
        if first:
            stack.enter_context(exclusive_run(folder))
            stack.enter_context(_recorded_end(run))
            run.stop_path.unlink(missing_ok=True)
        if single:
            chosen = _device_name(device)
            stack.enter_context(device_queue(chosen, folder.resolve(), _patience(run, chosen) if queue else None))
            if run.folder.is_dir():
                run.heartbeat("starting", 0, device=chosen)
        try:
            yield join(device)
        finally:
            leave()


def refuse_other_folder(folder: Path) -> None:
    """Refuse a folder that contains something other than a run, such as a store or a model.

    Raises:
        OutputError: it does; up to three of its files are named.
    """
    if (folder / DESCRIPTION).exists() or not folder.is_dir():
        return
    foreign = sorted(path.name for path in folder.iterdir() if path.name not in EARLY and not path.name.startswith("."))
    if foreign:
        listed = ", ".join(foreign[:3]) + (", …" if len(foreign) > 3 else "")
        raise OutputError(f"{folder} is not a run folder (it contains {listed}); choose a new or an empty folder.")


def _patience(run: Run, device: str) -> Callable[[Path], None]:
    """Report that the run is waiting, and give up when it is stopped."""
    reported = 0.0

    def waiting(first: Path) -> None:
        nonlocal reported
        if run.stop_path.exists():
            run.stop_path.unlink(missing_ok=True)
            raise KeyboardInterrupt
        if time.monotonic() - reported > BEAT_S:
            if not reported:
                run.folder.mkdir(parents=True, exist_ok=True)
                run.log(f"Waiting for {device}, which is in use by {first.name}.")
            reported = time.monotonic()
            run.heartbeat("queued", 0, device=device, behind=first.name)

    return waiting


def _device_name(device: str) -> str:
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return "cuda:0" if device == "cuda" else device


@contextmanager
def _recorded_end(run: Run) -> Iterator[None]:
    """Record the end of a run if no trainer has recorded it."""
    try:
        yield
    except BaseException as error:
        if run.folder.is_dir() and not run.ended_here():
            stopped = isinstance(error, KeyboardInterrupt)
            run.log("stopped before the first step" if stopped else f"failed: {error}")
            run.heartbeat("stopped" if stopped else "failed", 0)
        raise
