"""Shared by the programs that the panels run: JSON events, interrupts, memory errors.

Standard library only.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator

from asa import events
from asa.errors import AsaError, Cancelled, ResourceError

Progress = Callable[[str, float], None]

_OUT_OF_MEMORY = "The computer ran out of {}. Close other programs or use a scan of lower resolution."


@contextlib.contextmanager
def memory_errors() -> Iterator[None]:
    """Turn the ways in which numpy and torch run out of memory into one ResourceError."""
    try:
        yield
    except MemoryError as error:
        raise ResourceError(_OUT_OF_MEMORY.format("memory")) from error
    except RuntimeError as error:  # torch.OutOfMemoryError is one; the CPU allocator raises a plain one
        text = str(error)
        if "CUDA" in text and "out of memory" in text:
            raise ResourceError(_OUT_OF_MEMORY.format("GPU memory; --device cpu avoids the GPU")) from error
        if "out of memory" in text or "can't allocate memory" in text:
            raise ResourceError(_OUT_OF_MEMORY.format("memory")) from error
        raise


def interruptible() -> None:
    """Make SIGTERM end a run as Ctrl-C does: with nothing half-written left behind."""

    def interrupt(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


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
        with memory_errors():
            work(reporter)
        return 0
    except KeyboardInterrupt:
        reporter.send(events.Failed("Cancelled; nothing was written.", Cancelled.exit_code))
        return Cancelled.exit_code
    except AsaError as error:
        reporter.send(events.Failed(str(error), error.exit_code))
        return error.exit_code
    except Exception as error:  # a crash must reach the panel as a message too
        traceback.print_exc()
        reporter.send(events.Failed(f"Unexpected error: {error}", AsaError.exit_code))
        return AsaError.exit_code
    finally:
        reporter.close()
