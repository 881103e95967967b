"""`asa reproduce`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asa.errors import InputError

_WHERE = "Computing resources"


def command(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            help="table2, table3, table4, figure4, yardstick (residual-encoder U-Net), or several.", show_default=False
        ),
    ] = None,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the reproduction; finished rows are kept.")],
    data: Annotated[
        list[str] | None,
        typer.Option(help="A data set, such as brats2021=FOLDER; one per benchmark.", metavar="NAME=FOLDER"),
    ] = None,
    budget: Annotated[
        str, typer.Option(help="paper: as published; small: a dry run with reduced networks in less than an hour.")
    ] = "paper",
    scans: Annotated[Path | None, typer.Option(help="Tree of T1 scans for pre-training (BIDS, ADNI, OASIS).")] = None,
    stripped: Annotated[bool, typer.Option("--stripped", help="The scans are already skull-stripped.")] = False,
    pretrained: Annotated[
        list[str] | None,
        typer.Option(help="An existing pre-training run, such as asa=runs/paper; repeatable.", metavar="METHOD=RUN"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of splits, weights and samples.")] = 0,
    seeds: Annotated[int, typer.Option(min=1, help="Fine-tunings of each row, with further seeds on one split.")] = 1,
    mirror: Annotated[
        str | None,
        typer.Option(help="Axes mirrored at test: none, w, or thw (eight-fold); default: the budget's (paper: thw)."),
    ] = None,
    jobs: Annotated[
        int, typer.Option(min=1, help="Rows run in parallel on CPUs, or jobs on a cluster.", rich_help_panel=_WHERE)
    ] = 1,
    gpus: Annotated[
        list[str] | None,
        typer.Option(help="GPUs of one row: 0, or 0,1 to distribute it; repeatable.", rich_help_panel=_WHERE),
    ] = None,
    threads: Annotated[
        int, typer.Option(min=0, help="CPU threads per row; 0 divides the cores evenly.", rich_help_panel=_WHERE)
    ] = 0,
    slurm: Annotated[
        bool, typer.Option("--slurm", help="Submit each row as a SLURM job, through submitit.", rich_help_panel=_WHERE)
    ] = False,
    partition: Annotated[str, typer.Option(help="SLURM partition.", rich_help_panel=_WHERE)] = "",
    hours: Annotated[
        float,
        typer.Option(
            min=0.1, help="Time limit of a SLURM job; an unfinished job is queued again.", rich_help_panel=_WHERE
        ),
    ] = 24,
    gpus_per_job: Annotated[
        int, typer.Option(min=0, help="GPUs of a SLURM job; 0: CPU only.", rich_help_panel=_WHERE)
    ] = 1,
    render: Annotated[bool, typer.Option("--render", help="Only write the pages of the finished rows.")] = False,
    unit: Annotated[str, typer.Option(help="Run this single unit of the plan and exit.", hidden=True)] = "",
    device: Annotated[str, typer.Option(help="Device of --unit.", hidden=True)] = "auto",
) -> None:
    """Train, test and tabulate every system in the paper's tables, next to the published values.

    When called again, it resumes: finished rows are not repeated, interrupted ones continue. Tables are written
    with the finished rows. The rows of Table 4 share data, encoders and the last row with those of Table 2.

    Examples:

        asa reproduce table2 table4 figure4 --data brats2021=BraTS2021 --scans ADNI_BIDS -o paper --gpus 0 --gpus 1

        asa reproduce table3 --data ibsr-tri=IBSR --data wmh2017=WMH --scans ADNI_BIDS -o paper --slurm --jobs 16

        asa reproduce table2 --budget small --data brats2021=cases --scans t1 --stripped -o rehearsal
    """
    from asa.reproduce.page import write_pages
    from asa.reproduce.plan import Plan
    from asa.reproduce.published import TARGETS
    from asa.reproduce.schedule import ClusterLauncher, InlineLauncher, Launcher, LocalLauncher, run_units
    from asa.training.finetuning.prediction import mirror_axes

    if unit:
        _do_unit(output, unit, device)
        return
    if not targets:
        raise typer.BadParameter(f"name what to reproduce: {', '.join(TARGETS)}.")
    plan = Plan(
        output.resolve(),
        budget,
        {name: str(Path(folder).resolve()) for name, folder in _pairs("--data", "NAME=FOLDER", data)},
        str(scans.resolve()) if scans else "",
        stripped,
        {method: str(Path(run).resolve()) for method, run in _pairs("--pretrained", "METHOD=RUN", pretrained)},
        seed,
        seeds,
        None if mirror is None else mirror_axes(mirror),
    ).checked()
    units = plan.units(targets)  # errors are reported before anything is written
    plan.save()
    failure: Exception | None = None
    if not render:
        launcher: Launcher
        if slurm:
            from asa.training.parallel.cluster import Cluster

            launcher = ClusterLauncher(plan.folder, Cluster(gpus=gpus_per_job, hours=hours, partition=partition), jobs)
        elif (devices := gpus or _devices(jobs)) == ["cpu"]:
            launcher = InlineLauncher(plan, threads)
        else:
            launcher = LocalLauncher(plan.folder, devices, threads)
        try:
            run_units(plan, units, launcher, lambda said: typer.echo(said, err=True))
        except Exception as error:  # tables are written from what exists, then the error is reported
            failure = error
    for path in write_pages(plan, targets):
        typer.echo(str(path))
    if failure is not None:
        raise failure


def _pairs(option: str, form: str, given: list[str] | None) -> list[tuple[str, str]]:
    pairs: dict[str, str] = {}
    for item in given or []:
        name, equals, value = item.partition("=")
        if not (name and equals and value):
            raise InputError(f"{option} takes {form}, not '{item}'.")
        if name in pairs:
            raise InputError(f"{option} names '{name}' twice.")
        pairs[name] = value
    return list(pairs.items())


def _devices(jobs: int) -> list[str]:
    """Return one slot per GPU; without GPUs, the given number of CPU slots."""
    import torch

    from asa.program import processors

    return [str(n) for n in range(torch.cuda.device_count())] or ["cpu"] * min(jobs, processors())


def _do_unit(folder: Path, unit: str, device: str) -> None:
    from asa.reproduce.plan import Plan
    from asa.reproduce.work import do_unit
    from asa.training.parallel.distributed import join, leave

    try:
        do_unit(Plan.open(folder), unit, join(device), lambda said: typer.echo(said, err=True))
    finally:
        leave()
