"""Run a command on one or several nodes of a SLURM cluster, through submitit and torchrun."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asa.errors import DependencyError, install_command

# Between SLURM's signal and the end of the job: time to finish a step and write a checkpoint.
GRACE_S = 120


def submitit() -> Any:
    """Return the package that speaks to SLURM.

    Raises:
        DependencyError: it is not installed.
    """
    try:
        return importlib.import_module("submitit")
    except ImportError:
        raise DependencyError(f"SLURM needs submitit. Install it with: {install_command('slurm')}") from None


def torchrun(arguments: list[str], processes: int, *, rendezvous: tuple[str, ...] = ("--standalone",)) -> list[str]:
    """Command line of `asa` on several devices of one node."""
    launcher = (sys.executable, "-m", "torch.distributed.run", "--max-restarts", "3")
    return [*launcher, *rendezvous, "--nproc-per-node", str(processes), "-m", "asa", *arguments]


@dataclass
class NodeJob:
    """What runs on each node; submitit calls it, and asks it for a successor when the job must end.

    Attributes:
        arguments: of `asa`.
        gpus: on each node; 0 computes on processors.
        port: at which the nodes meet, on the first of them.
    """

    arguments: list[str]
    gpus: int
    port: int = 29500
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def __call__(self) -> None:
        """Run torchrun to the end of the command.

        Raises:
            subprocess.CalledProcessError: it failed.
        """
        job = submitit().JobEnvironment()
        processes = max(1, self.gpus)
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        meeting = ("--nnodes", f"1:{job.num_nodes}", "--rdzv-backend", "c10d", "--rdzv-id", job.job_id)
        endpoint = ("--rdzv-endpoint", f"{job.hostnames[0]}:{self.port}")
        command = torchrun(self.arguments, processes, rendezvous=(*meeting, *endpoint))
        environment = {**os.environ, "OMP_NUM_THREADS": str(max(1, cores // processes))}
        self.process = subprocess.Popen(command, env=environment)
        if code := self.process.wait():
            raise subprocess.CalledProcessError(code, command)

    def checkpoint(self) -> Any:
        """Let the run write its checkpoint, and queue the same job again."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(GRACE_S * 0.8)
        return submitit().helpers.DelayedSubmission(NodeJob(self.arguments, self.gpus, self.port))


@dataclass(frozen=True)
class Cluster:
    """What a job asks of the cluster.

    Attributes:
        kind: ``slurm``, or ``local`` for submitit's stand-in on this computer.
        gpus, cpus: on each node; 0 GPUs computes on processors.
    """

    kind: str = "slurm"
    nodes: int = 1
    gpus: int = 1
    cpus: int = 8
    hours: float = 24.0
    partition: str = ""

    def executor(self, logs: Path, name: str) -> Any:
        """Where jobs are submitted.

        Raises:
            DependencyError: submitit is not installed.
        """
        executor = submitit().AutoExecutor(logs, cluster=self.kind)
        executor.update_parameters(
            name=name,
            nodes=self.nodes,
            tasks_per_node=1,
            gpus_per_node=self.gpus,
            cpus_per_task=self.cpus,
            timeout_min=round(60 * self.hours),
            slurm_signal_delay_s=GRACE_S,
        )
        if self.kind == "slurm" and self.partition:
            executor.update_parameters(slurm_partition=self.partition)
        return executor
