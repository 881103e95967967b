"""Run the units of a plan in parallel slots, on local devices or on a cluster."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from asa.devices import set_threads
from asa.errors import AsaError, Cancelled
from asa.program import processors
from asa.reproduce.plan import Plan, Unit
from asa.reproduce.work import do_unit
from asa.training.parallel.cluster import Cluster, NodeJob, torchrun
from asa.training.parallel.distributed import World

POLL_S = 0.2
LOGS = "logs"


class Job(Protocol):
    """A unit that is being done."""

    def over(self) -> bool:
        """Return whether it ended, well or not."""

    def failure(self) -> str:
        """Return why it failed, as text; empty if it did not."""

    def stop(self) -> None:
        """Let it write a checkpoint and end."""


class Launcher(Protocol):
    """Starts units."""

    slots: int

    def start(self, unit: str, slot: int) -> Job:
        """Start a unit in a slot that is free."""


class UnitFailed(AsaError):
    """Some units failed; the others were done."""


def run_units(plan: Plan, units: Sequence[Unit], launcher: Launcher, say: Callable[[str], None]) -> None:
    """Do all units that are not finished; a failed one stops only what needs it.

    Raises:
        UnitFailed: one error that lists all that failed and what could not be done for it.
        KeyboardInterrupt: passed on, after every running unit has been stopped.
    """
    waiting = [unit for unit in units if not plan.finished(unit.name)]
    done = {unit.name for unit in units} - {unit.name for unit in waiting}
    total = len(units)
    if done:
        say(f"{len(done)} of {total} units are finished already")
    running: dict[int, tuple[Unit, Job, float]] = {}
    failed: dict[str, str] = {}
    try:
        while waiting or running:
            for unit in [u for u in waiting if any(need in failed for need in u.needs)]:
                failed[unit.name] = f"needs {', '.join(need for need in unit.needs if need in failed)}"
                waiting.remove(unit)
            ready = [unit for unit in waiting if done.issuperset(unit.needs)]
            free = [slot for slot in range(launcher.slots) if slot not in running]
            for unit, slot in zip(ready, free, strict=False):
                waiting.remove(unit)
                started = time.monotonic()
                running[slot] = (unit, launcher.start(unit.name, slot), started)
            if not any(job.over() for _, job, _ in running.values()):
                time.sleep(POLL_S)
            for slot, (unit, job, started) in list(running.items()):
                if not job.over():
                    continue
                del running[slot]
                reason = job.failure() or ("" if plan.finished(unit.name) else "it ended before it finished")
                if reason:
                    failed[unit.name] = reason
                    say(f"{unit.name} failed: {reason}")
                else:
                    done.add(unit.name)
                    say(f"[{len(done)}/{total}] {unit.name}: {time.monotonic() - started:.0f} s")
    except BaseException:
        for _, job, _ in running.values():
            job.stop()
        while any(not job.over() for _, job, _ in running.values()):
            time.sleep(POLL_S)
        raise
    if failed:
        raise UnitFailed(
            f"{len(failed)} of {total} units failed; run the command again to retry them, the others are kept:",
            [f"{name}: {reason}" for name, reason in failed.items()],
        )


@dataclass
class LocalJob:
    """A unit in a separate process."""

    process: subprocess.Popen[bytes]
    log: Path

    def over(self) -> bool:
        return self.process.poll() is not None

    def failure(self) -> str:
        if self.process.returncode == 0:
            return ""
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if self.log.exists() else []
        return f"{lines[-1] if lines else f'exit code {self.process.returncode}'} (see {self.log})"

    def stop(self) -> None:
        self.process.terminate()


@dataclass
class DoneJob:
    """A unit that was done before its launcher returned."""

    reason: str

    def over(self) -> bool:
        return True

    def failure(self) -> str:
        return self.reason

    def stop(self) -> None:
        """It is over."""


class InlineLauncher:
    """One unit after the other in this process: where there is one slot, starting a process for each gains nothing."""

    slots = 1

    def __init__(self, plan: Plan, threads: int = 0) -> None:
        self.plan = plan
        if threads:
            set_threads(threads)

    def start(self, unit: str, slot: int) -> DoneJob:
        """Do a unit; what the training prints goes to standard output.

        Raises:
            KeyboardInterrupt: it was stopped, and wrote a checkpoint.
        """
        try:
            do_unit(self.plan, unit, World(slot, 1, torch.device("cpu")))
        except Cancelled:
            raise KeyboardInterrupt from None
        except Exception as error:  # the other units can still be done
            return DoneJob(str(error) or type(error).__name__)
        return DoneJob("")


class LocalLauncher:
    """Processes on this computer, one a slot.

    Args:
        folder: the reproduction.
        devices: of each slot: ``cpu``, or GPUs as in ``0`` or ``0,1`` (several share each step of one unit).
        threads: CPU threads of a process; 0 shares the cores out.
    """

    def __init__(self, folder: Path, devices: Sequence[str], threads: int = 0) -> None:
        self.folder, self.devices, self.slots = folder, list(devices), len(devices)
        self.threads = min(threads, processors()) or max(1, processors() // self.slots)

    def command(self, unit: str, device: str) -> tuple[list[str], dict[str, str]]:
        """Command line and further environment of a unit on a device."""
        environment = {"OMP_NUM_THREADS": str(self.threads), "PYTHONUNBUFFERED": "1"}
        arguments = unit_arguments(self.folder, unit)
        if device == "cpu":
            return [sys.executable, "-m", "asa", *arguments, "--device", "cpu"], environment
        environment["CUDA_VISIBLE_DEVICES"] = device
        count = len(device.split(","))
        if count == 1:
            return [sys.executable, "-m", "asa", *arguments], environment
        return torchrun(arguments, count), environment

    def start(self, unit: str, slot: int) -> LocalJob:
        """Start a unit; what it prints goes to logs/."""
        command, environment = self.command(unit, self.devices[slot])
        log = self.folder / LOGS / f"{unit.replace('/', '_')}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as stream:
            # a separate session: Ctrl-C reaches the scheduler, which stops the units in order
            process = subprocess.Popen(
                command,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return LocalJob(process, log)


@dataclass
class ClusterJob:
    """A unit as a job of the cluster."""

    job: Any

    def over(self) -> bool:
        return bool(self.job.done())

    def failure(self) -> str:
        error = self.job.exception()
        return "" if error is None else f"job {self.job.job_id}: {str(error).strip().splitlines()[-1]}"

    def stop(self) -> None:
        with contextlib.suppress(Exception):  # a job that ended meanwhile
            self.job.cancel(check=False)


class ClusterLauncher:
    """Jobs of a SLURM cluster; this process waits for them and submits what becomes possible."""

    def __init__(self, folder: Path, cluster: Cluster, slots: int) -> None:
        self.folder, self.cluster, self.slots = folder, cluster, slots
        self.executor = cluster.executor(folder / LOGS / "jobs", "asa-reproduce")

    def start(self, unit: str, slot: int) -> ClusterJob:
        """Submit a unit."""
        # two jobs may share a node, and then must not meet at one port
        arguments = [*unit_arguments(self.folder, unit), *([] if self.cluster.gpus else ["--device", "cpu"])]
        return ClusterJob(self.executor.submit(NodeJob(arguments, self.cluster.gpus, 29500 + slot)))


def unit_arguments(folder: Path, unit: str) -> list[str]:
    """Arguments of `asa` that do one unit."""
    return ["reproduce", "--unit", unit, "--output", str(folder.resolve())]
