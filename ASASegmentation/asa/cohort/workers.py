"""Cases in several processes: each works on one case at a time, and one that dies costs its case alone.

Processes and not threads, because reading, resampling and post-processing of one head then overlap with the network of
another. The memory that is used grows with the number of processes, not with that of cases.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Generic, TypeVar

from asa.errors import AsaError, Cancelled, ResourceError
from asa.interrupts import cleanup, interruptible
from asa.memory import available_memory
from asa.program import explain, processors

# Of a process that segments on the CPU, with its libraries. Measured at its peak: 1.45 GiB for a head of 1 mm, and
# for four images of a tumour, and 0.3 GiB of the process that writes the segments; the rest is for larger scans.
HEAD_BYTES = 2 << 30
_ENDING_S = 20.0  # for what a process must clean up once it is asked to end

Case = TypeVar("Case")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Reply(Generic[Case, Result]):
    """What became of a case: a result or an error, and the seconds it took."""

    case: Case
    seconds: float
    result: Result | None = None
    error: AsaError | None = None


@dataclass(frozen=True)
class Plan:
    """How many processes work at once, and with how many threads each; ``note`` says why there are fewer."""

    jobs: int
    threads: int
    note: str = ""


def plan(jobs: int, threads: int | None, cases: int) -> Plan:
    """Share processors and memory among processes.

    Args:
        jobs: number of processes requested.
        threads: of each; None shares the processors evenly.
        cases: how many there are to do.
    """
    wanted = max(1, min(jobs, cases))
    free = available_memory()
    fitting = max(1, int(free // HEAD_BYTES))
    note = ""
    if fitting < wanted:
        note = (
            f"{fitting} instead of {wanted} cases are segmented in parallel, because only "
            f"{free / (1 << 30):.1f} GiB are free and each needs about {HEAD_BYTES >> 30} GiB."
        )
    used = min(wanted, fitting)
    return Plan(used, threads or max(1, processors() // used), note)


def run_in_processes(cases: Iterable[Case], work: Callable[[Case], Result], jobs: int) -> Iterator[Reply[Case, Result]]:
    """Do ``work`` on each case in ``jobs`` processes, and yield the outcome of each as soon as it is known.

    Args:
        cases: what to work on; they are sent to the processes.
        work: a function at the top level of a module, or a ``functools.partial`` of one.
        jobs: how many processes.

    Raises:
        Cancelled: on KeyboardInterrupt; the processes have ended and left nothing half-written.
    """
    waiting = iter(cases)
    with cleanup() as stack:
        running: list[_Worker[Case, Result]] = []
        stack.callback(_end_all, running)
        try:
            for case in waiting:
                running.append(_Worker.start(work))
                running[-1].give(case)
                if len(running) == jobs:
                    break
            while running:
                ready = wait([worker.connection for worker in running])
                for worker in [one for one in running if one.connection in ready]:
                    answer = worker.take()
                    alive = answer is not None
                    yield answer if answer is not None else worker.lost()
                    if not alive:
                        running.remove(worker)
                        worker.end()
                    following = next(waiting, None)
                    if following is not None:
                        if not alive:
                            worker = _Worker.start(work)
                            running.append(worker)
                        worker.give(following)
                    elif alive:
                        running.remove(worker)
                        worker.end()
        except KeyboardInterrupt:
            raise Cancelled("Cancelled; finished cases are complete.") from None


@dataclass
class _Worker(Generic[Case, Result]):
    """A process, the connection to it, and the case it works on."""

    process: SpawnProcess
    connection: Connection
    case: Case | None = None

    @staticmethod
    def start(work: Callable[[Case], Result]) -> _Worker[Case, Result]:
        context = multiprocessing.get_context("spawn")  # a forked PyTorch hangs
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, work), daemon=True)
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def give(self, case: Case) -> None:
        self.case = case
        self.connection.send(case)

    def take(self) -> Reply[Case, Result] | None:
        """What the process answers; None if it died."""
        try:
            seconds, result, error = self.connection.recv()
        except (EOFError, OSError):
            return None
        if isinstance(error, Cancelled):
            raise error
        assert self.case is not None
        return Reply(self.case, seconds, result, error)

    def lost(self) -> Reply[Case, Result]:
        self.process.join(_ENDING_S)
        code = self.process.exitcode or 0
        how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        advice = (
            "Memory may have run out: use fewer --jobs." if code == -9 else "Segment this case by itself to see why."
        )
        assert self.case is not None
        return Reply(self.case, 0.0, error=ResourceError(f"The process of this case ended {how}. {advice}"))

    def end(self) -> None:
        self.connection.close()
        self.process.join(_ENDING_S)


def _end_all(running: list[_Worker[Case, Result]]) -> None:
    """Ask processes to end, as Ctrl-C does, and kill what does not."""
    for worker in running:
        worker.process.terminate()
    for worker in running:
        worker.process.join(_ENDING_S)
        if worker.process.is_alive():
            worker.process.kill()


def _serve(connection: Connection, work: Callable[[Case], Result]) -> None:
    """Reply cases until the other end closes; the main function of a process."""
    interruptible()
    try:
        while True:
            case = connection.recv()
            started = time.monotonic()
            result, error = None, None
            try:
                result = work(case)
            except KeyboardInterrupt:
                return
            except Exception as failure:  # one bad case must not end a long batch
                error = explain(failure)
            connection.send((time.monotonic() - started, result, error))
    except (EOFError, OSError, KeyboardInterrupt):
        return
