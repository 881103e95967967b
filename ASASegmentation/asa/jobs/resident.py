"""The engine as 3D Slicer keeps it running for a while: requests on standard input, events on standard output.

    python -m asa.jobs.resident

Each line of standard input is a JSON object: ``request``, segment or refine, and ``file``, the request itself. They are
answered one after the other, each by the events of :mod:`asa.events`, of which ``ended`` with the exit code is the
last. What is loaded stays loaded: the network, and the head that was segmented last, for other settings or another
task. The program ends after ``IDLE_S`` without a request, and when standard input is closed, which happens at the
latest when the program ends that started it.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from asa import events
from asa.errors import InputError
from asa.program import Progress, Reporter, end_output, reported, use_one_blas_thread

if TYPE_CHECKING:
    from asa.inference import SegmentResult
    from asa.inference.head import Head
    from asa.jobs.correction import Corrections
    from asa.request import SegmentRequest

IDLE_S = 300.0  # an open correction of four images keeps about a GiB of memory
_LAST_WAIT_S = 5.0  # for a request to end by itself once nobody waits for it
RECORD = "record.zip"
_CLOSED = b""


def read_lines(lines: queue.Queue[bytes]) -> None:
    """Put the lines of standard input into a queue; at its end, end the program, also in the middle of a request."""
    for line in sys.stdin.buffer:
        lines.put(line)
    lines.put(_CLOSED)
    timer = threading.Timer(_LAST_WAIT_S, lambda: os._exit(1))  # NumPy may not return for long
    timer.daemon = True
    timer.start()
    signal.raise_signal(signal.SIGTERM)


class Resident:
    """Answers requests."""

    def __init__(self) -> None:
        self._corrections: Corrections | None = None
        self._head: Head | None = None  # of the last segmentation, with what identifies it
        self._head_key: tuple[object, ...] = ()
        self._requests = {"segment": self._segment, "refine": self._refine}

    def answer(self, line: bytes) -> int:
        """Answer the request of a line, and return its exit code."""

        def work(reporter: Reporter) -> None:
            name, file = self._parse(line)
            self._requests[name](reporter, file)

        code = reported(work)
        reporter = Reporter()
        reporter.send(events.Reported("ended", {"exit_code": code}))
        reporter.close()
        return code

    def _parse(self, line: bytes) -> tuple[str, Path]:
        try:
            values = json.loads(line)
            name, file = values["request"], Path(values["file"])
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise InputError(f"The engine was sent a line that is not a request: {error}.") from error
        if name not in self._requests:
            raise InputError(f"Unknown request '{name}'; the engine knows {', '.join(self._requests)}.")
        return name, file

    def _segment(self, reporter: Reporter, file: Path) -> None:
        """Segment as :mod:`asa.jobs.segment` does, and write the record next to the result."""
        from asa.jobs import segment as job
        from asa.refinement.record import Record

        made: list[SegmentResult] = []

        def with_posterior(request: SegmentRequest, progress: Progress | None) -> SegmentResult:
            from asa.inference import segment

            key = (request.align, *((name, job.image_sha256(Path(path))) for name, path in request.images.items()))
            head = self._head if key == self._head_key else None
            self._head = None  # not beside that of the next
            made.append(segment(replace(request, posterior=True), progress, head=head))
            self._head, self._head_key = made[0].head, key
            return made[0]

        finished = job.perform(reporter, file, with_posterior)
        result = made[0]
        assert result.posterior is not None
        record = Record(finished.report, result.labels.grid, result.labels.array, result.posterior)
        record.write(finished.folder / RECORD)
        job.report_done(reporter, finished)

    def _refine(self, reporter: Reporter, file: Path) -> None:
        from asa.jobs.correction import Corrections

        self._corrections = self._corrections or Corrections()
        values = self._corrections.answer(file, reporter.progress)
        reporter.send(events.Reported("refined", values))


def main() -> int:
    """Answer requests until none comes for a while; return the exit code."""
    use_one_blas_thread()
    lines: queue.Queue[bytes] = queue.Queue()
    threading.Thread(target=read_lines, args=(lines,), daemon=True).start()
    resident = Resident()
    while True:
        try:
            line = lines.get(timeout=IDLE_S)
        except queue.Empty:
            break
        except KeyboardInterrupt:  # standard input was closed between requests
            break
        if line == _CLOSED:
            break
        if line.strip():
            resident.answer(line)
    end_output()
    return 0


if __name__ == "__main__":
    sys.exit(main())
