"""Pre-training or fine-tuning on a SLURM cluster, through submitit: several nodes, one process a GPU, the same batch.

    pip install 'slicer-asa[slurm]'
    python Resources/Scripts/train_slurm.py pretrain Resources/Configs/pretrain_paper.yaml -o runs/paper \
        --store store --nodes 2 --gpus 8 --partition gpu
    python Resources/Scripts/train_slurm.py finetune Resources/Configs/finetune_paper.yaml -o runs/brats \
        --store cases --gpus 2 --partition gpu

One task a node starts torchrun, which joins the nodes, restarts a process that fails (with the nodes that are there)
and hands out the devices. When the time limit or a preemption ends the job, the run writes a checkpoint and the job
queues itself again and resumes. `--cluster local` runs the same on this computer.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from asa.runs.layout import EVENTS, JOBS
from asa.training.parallel.cluster import Cluster, NodeJob


def main() -> None:
    """Submit the job and say where its logs are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("pretrain", "finetune"))
    parser.add_argument("settings", type=Path, help="YAML, as for asa pretrain and asa finetune")
    parser.add_argument("-o", "--output", type=Path, required=True, help="run folder, on a disk that all nodes share")
    parser.add_argument("--store", type=Path, help="store of scans or cases; overrides the settings")
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--gpus", type=int, default=8, help="per node; 0: CPU only")
    parser.add_argument("--cpus", type=int, default=32, help="per node")
    parser.add_argument("--hours", type=float, default=24)
    parser.add_argument("--partition", default="")
    parser.add_argument("--port", type=int, default=29500)
    parser.add_argument("--cluster", choices=("slurm", "local"), default="slurm")
    parser.add_argument("--wait", action="store_true", help="wait until the job has ended")
    options = parser.parse_args()

    arguments = [options.what, str(options.settings.resolve()), "--output", str(options.output.resolve())]
    if options.store:
        arguments += ["--store", str(options.store.resolve())]
    cluster = Cluster(options.cluster, options.nodes, options.gpus, options.cpus, options.hours, options.partition)
    job = cluster.executor(options.output / JOBS, f"asa-{options.what}").submit(
        NodeJob(arguments, options.gpus, options.port)
    )
    print(f"job {job.job_id}; logs in {options.output / JOBS}, progress in {options.output / EVENTS}")
    if options.wait:
        job.result()


if __name__ == "__main__":
    main()
