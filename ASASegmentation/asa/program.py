"""Shared by the command line and the programs that the panels run: JSON events, and what an exception means.

Standard library only.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from asa import events
from asa.errors import (
    DISTRIBUTION,
    AsaError,
    Cancelled,
    DependencyError,
    InputError,
    OutputError,
    ResourceError,
    install_command,
)
from asa.interrupts import interruptible, requested

Progress = Callable[[str, float], None]


def use_one_blas_thread() -> None:
    """Let NumPy multiply matrices on one thread; to be called before NumPy is imported.

    The matrices of an alignment are small, and threads that wait for one another cost more than they save: 12 s of
    processor time instead of 2.8, and 8.5 s instead of 2.8 on a busy computer. PyTorch has threads of its own.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


_OUT_OF_MEMORY = "The computer ran out of {}. Close other programs or use a scan of lower resolution."
# Package -> extra that installs it.
EXTRAS = {
    **dict.fromkeys(("einops", "monai", "pydantic", "pydantic_core", "skimage", "tensorboard", "yaml"), "train"),
    "slicer": "slicer-core",
    "submitit": "slurm",
    "nilearn": "sample",
}
CONTROL_GROUP = Path("/sys/fs/cgroup")
_NO_ROOM = {errno.ENOSPC, errno.EFBIG, errno.EROFS, getattr(errno, "EDQUOT", errno.ENOSPC)}


@contextlib.contextmanager
def memory_errors() -> Iterator[None]:
    """Turn the ways in which numpy and torch run out of memory into one ResourceError."""
    try:
        yield
    except Exception as error:
        if (sentence := _memory_error(error)) is None:
            raise
        raise ResourceError(sentence) from error


def _memory_error(error: Exception) -> str | None:
    """Return the sentence for an error that says that memory ran out, None for any other."""
    text = str(error)
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return _OUT_OF_MEMORY.format("memory")
    if isinstance(error, RuntimeError):  # torch.OutOfMemoryError is one; the CPU allocator raises a plain one
        if "CUDA" in text and "out of memory" in text:
            return _OUT_OF_MEMORY.format("GPU memory; --device cpu avoids the GPU")
        if "out of memory" in text or "can't allocate memory" in text:
            return _OUT_OF_MEMORY.format("memory")
    if isinstance(error, ImportError) and ("failed to map segment" in text or "cannot allocate memory" in text.lower()):
        return _OUT_OF_MEMORY.format("memory")
    return None


def explain(error: Exception) -> AsaError:
    """Return what an exception means, in a sentence for users.

    Args:
        error: from anywhere; of ours it is returned as it is.

    Returns:
        The error to show; "Unexpected error" for what only a fault in the program explains.
    """
    if isinstance(error, AsaError):
        return error
    if (sentence := _memory_error(error)) is not None:
        return ResourceError(sentence)
    if isinstance(error, ImportError):
        return DependencyError(_missing_package(error))
    if isinstance(error, OSError):
        reason = (error.strerror or str(error)).lower()
        if error.filename is None:
            return OutputError(f"The output cannot be written: {reason}.")
        kind = OutputError if error.errno in _NO_ROOM else InputError
        return kind(f"{os.fsdecode(error.filename)} cannot be used: {reason}.")
    return AsaError(f"{UNEXPECTED}{type(error).__name__}: {error}")


UNEXPECTED = "Unexpected error: "  # begins the message of a fault in the program


def _missing_package(error: ImportError) -> str:
    package = (error.name or "").partition(".")[0]
    if package in EXTRAS and isinstance(error, ModuleNotFoundError):
        command = install_command(EXTRAS[package])
        return f"This needs the package {package}, which is not installed. Install it with: {command}."
    what = f"package {package}" if package else "library"
    return f"A {what} cannot be loaded ({error}). Install ASA again with: pip install --force-reinstall {DISTRIBUTION}."


def check_current_folder() -> None:
    """Refuse to start where the current folder was deleted: some libraries end the program there.

    Raises:
        InputError: it was.
    """
    try:
        Path.cwd()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"The current folder cannot be used: {reason}. Change to another folder first.") from None


def end_output() -> OSError | None:
    """Write what is left of standard output; return the error where it cannot be written, and drop the rest.

    Otherwise Python tries again while it goes down, and says so in lines of its own.
    """
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return error
    return None


def processors() -> int:
    """How many processors this process may use; more threads or processes than that only slow it down.

    A container or a job of a cluster may be allowed fewer than its computer has, by its affinity or by the share of
    time in its control group.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):  # of version 2, and of version 1
        try:
            quota, period = " ".join((CONTROL_GROUP / name).read_text(encoding="ascii") for name in names).split()
            if int(quota) > 0:
                return max(1, min(count, int(quota) // int(period)))
        except (OSError, ValueError, ZeroDivisionError):  # no control group, or "max"
            continue
    return count


class Reporter:
    """Writes events as JSON lines; keeps standard output for them alone."""

    def __init__(self) -> None:
        self._stream = sys.stdout
        self._started = time.monotonic()
        sys.stdout = sys.stderr  # whatever a library prints must not land between the events

    def send(self, event: events.Event) -> None:
        print(events.to_line(event), file=self._stream, flush=True)

    def close(self) -> None:
        """Restore standard output."""
        sys.stdout = self._stream

    def progress(self, stage: str, fraction: float) -> None:
        elapsed = time.monotonic() - self._started
        remaining = round(elapsed * (1 - fraction) / fraction, 1) if fraction >= 0.05 else None
        self.send(events.Progress(stage, round(fraction, 4), remaining))


def reported(work: Callable[[Reporter], None]) -> int:
    """Run a program's work, report its end or error as an event, and return the exit code."""
    reporter = Reporter()
    interruptible()
    try:
        check_current_folder()
        work(reporter)
        return 0
    except KeyboardInterrupt:
        failed = events.Failed("Cancelled; nothing was written.", Cancelled.exit_code)
    except Exception as error:  # a crash must reach the panel as a message too
        said = Cancelled("Cancelled.") if requested() and not isinstance(error, AsaError) else explain(error)
        if str(said).startswith(UNEXPECTED):
            traceback.print_exc()
        failed = events.Failed(str(said), said.exit_code)
    finally:
        reporter.close()
    with contextlib.suppress(OSError):  # whoever started the program may have ended
        reporter.send(failed)
    end_output()
    return failed.exit_code


def run_request(module: str, work: Callable[[Reporter, Path], None], arguments: list[str] | None = None) -> int:
    """Run a program whose command line names one request file, and return its exit code.

    Args:
        module: its name, for the message.
        work: answers the request in a file, see :func:`reported`.
        arguments: the command line; None for that of the process.
    """
    use_one_blas_thread()
    words = sys.argv[1:] if arguments is None else arguments

    def answer(reporter: Reporter) -> None:
        if len(words) != 1:
            raise InputError(f"Name one request file: python -m {module} request.json.")
        work(reporter, Path(words[0]))

    return reported(answer)


def run_script(main: Callable[[], int]) -> None:
    """Run the main function of a script, and end the program with its exit code.

    Inside Slicer the application is ended, whatever goes wrong: it would be left open without a window.
    """
    use_one_blas_thread()
    try:
        code = main()
    except SystemExit as end:  # wrong options, or --help
        code = end.code if isinstance(end.code, int) else 0
    except Exception:
        traceback.print_exc()
        code = 1
    leave(code)


def leave(code: int) -> None:
    """End the program; inside Slicer, the application."""
    slicer = sys.modules.get("slicer")
    if slicer is not None and hasattr(slicer, "app"):
        slicer.util.exit(code)
    else:
        sys.exit(code)
