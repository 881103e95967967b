"""Pre-training on a SLURM cluster, through submitit: several nodes, one process a GPU, the same global batch.

    pip install submitit
    python Resources/Scripts/pretrain_slurm.py Resources/Configs/pretrain_paper.yaml -o runs/paper --store store \
        --nodes 2 --gpus 8 --partition gpu

One task a node starts torchrun, which joins the nodes, restarts a process that fails (with the nodes that are there)
and hands out the devices. When the time limit or a preemption ends the job, the run writes a checkpoint and the job
queues itself again; it goes on from there. `--cluster local` runs the same on this computer.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import submitit

# Between SLURM's signal and the end of the job: time to finish a step and write a checkpoint.
GRACE_S = 120


@dataclass
class Pretraining:
    """What runs on each node; submitit calls it, and asks it for a successor when the job must end."""

    arguments: list[str]
    gpus: int
    port: int
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def __call__(self) -> None:
        """Run torchrun to the end of the training.

        Raises:
            subprocess.CalledProcessError: it failed.
        """
        job = submitit.JobEnvironment()
        processes = max(1, self.gpus)
        threads = max(1, len(os.sched_getaffinity(0)) // processes)
        command = [
            *(sys.executable, "-m", "torch.distributed.run", "--max-restarts", "3"),
            *("--nnodes", f"1:{job.num_nodes}", "--nproc-per-node", str(processes)),
            *("--rdzv-backend", "c10d", "--rdzv-id", job.job_id),
            *("--rdzv-endpoint", f"{job.hostnames[0]}:{self.port}"),
            *("-m", "asa", "pretrain", *self.arguments),
        ]
        self.process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": str(threads)})
        if code := self.process.wait():
            raise subprocess.CalledProcessError(code, command)

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """Let the run write its checkpoint, and queue the same job again."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(GRACE_S * 0.8)
        return submitit.helpers.DelayedSubmission(Pretraining(self.arguments, self.gpus, self.port))


def main() -> None:
    """Submit the job and say where its logs are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", type=Path, help="YAML, as for asa pretrain")
    parser.add_argument("-o", "--output", type=Path, required=True, help="run folder, on a disk all nodes share")
    parser.add_argument("--store", type=Path, help="store of scans; replaces the one the settings name")
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--gpus", type=int, default=8, help="per node; 0 computes on processors")
    parser.add_argument("--cpus", type=int, default=32, help="per node")
    parser.add_argument("--hours", type=float, default=24)
    parser.add_argument("--partition")
    parser.add_argument("--port", type=int, default=29500)
    parser.add_argument("--cluster", choices=("slurm", "local"), default="slurm")
    parser.add_argument("--wait", action="store_true", help="return when the job is over")
    options = parser.parse_args()

    arguments = [str(options.settings.resolve()), "--output", str(options.output.resolve())]
    if options.store:
        arguments += ["--store", str(options.store.resolve())]
    executor = submitit.AutoExecutor(options.output / "jobs", cluster=options.cluster)
    executor.update_parameters(
        name="asa-pretrain",
        nodes=options.nodes,
        tasks_per_node=1,
        gpus_per_node=options.gpus,
        cpus_per_task=options.cpus,
        timeout_min=round(60 * options.hours),
        slurm_signal_delay_s=GRACE_S,
    )
    if options.cluster == "slurm" and options.partition:
        executor.update_parameters(slurm_partition=options.partition)
    job = executor.submit(Pretraining(arguments, options.gpus, options.port))
    print(f"job {job.job_id}; logs in {options.output / 'jobs'}, progress in {options.output / 'events.jsonl'}")
    if options.wait:
        job.result()


if __name__ == "__main__":
    main()
