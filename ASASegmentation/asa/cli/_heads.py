"""Batches on the command line: cases in parallel, announced as they finish, with each warning once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asa.errors import one_line

if TYPE_CHECKING:
    from rich.console import Console

    from asa.cohort.batch import Case, Outcome
    from asa.jobs.segment import Finished
    from asa.request import SegmentRequest

_MANY = "Batch"
Jobs = Annotated[
    int,
    typer.Option(
        min=1,
        help="Cases in parallel, in processes that share the threads; fewer if memory is short. "
        "With --slurm: jobs of the array.",
        rich_help_panel=_MANY,
    ),
]
Slurm = Annotated[
    str | None,
    typer.Option(
        metavar="SETTINGS",
        help="Segment on a SLURM cluster; SETTINGS as in 'partition=long,cpus=4,gpus=0,hours=12', or 'default'.",
        show_default=False,
        rich_help_panel=_MANY,
    ),
]
_NAMED = 3  # most cases that a remark names; for more it states the number


def run_at_once(
    cases: Sequence[Case],
    request: SegmentRequest,
    run: Callable[..., Finished],
    jobs: int,
    slurm: str | None,
    output: Path,
    console: Console,
) -> Iterator[Outcome]:
    """Run cases in several processes here, or as an array of jobs of a cluster.

    Args:
        cases: the heads.
        request: how to segment; its threads are those of each process, None shares the processors.
        run: segments a case, given ``request``; it is sent to the processes.
        jobs: how many processes, or jobs of the array.
        slurm: settings of the cluster; None runs here.
        output: folder of the batch, in which a cluster keeps its logs.
        console: where the distribution of the cases is printed.

    Raises:
        InputError: the settings of the cluster are wrong.
        DependencyError: submitit is not installed.
    """
    from asa.cohort import batch, slurm_batch, workers

    def say(sentence: str) -> None:
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)

    if slurm is not None:
        cluster = slurm_batch.read_settings(slurm)
        each = partial(run, request=replace(request, threads=request.threads or cluster.cpus))
        say(f"{len(cases)} cases in {min(jobs, len(cases))} jobs of {cluster.cpus} CPUs.")
        return slurm_batch.run_on_cluster(cases, each, cluster, jobs, output / slurm_batch.LOGS)
    plan = workers.plan(jobs, request.threads, len(cases))
    say(f"{plan.jobs} cases in parallel, {plan.threads} threads each.{plan.note and ' ' + plan.note}")
    return batch.run_cases_in_processes(cases, partial(run, request=replace(request, threads=plan.threads)), plan.jobs)


def announced(console: Console, outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
    """Yield the outcomes and print a line for each, so that a log shows the progress of a long batch."""
    for outcome in outcomes:
        status = {"done": "done", "reused": "existing result kept"}.get(outcome.status, f"failed: {outcome.error}")
        line = f"{outcome.case.name}: {status} ({outcome.seconds:.1f} s)"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
        for note in outcome.finished.notes if outcome.finished else ():
            console.print(f"Warning: {one_line(note)}", markup=False, highlight=False, soft_wrap=True)
        yield outcome


def remarks(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Each warning and each error once, with the number of cases that have it and, if few, their names."""
    heads: dict[str, list[str]] = {}
    for outcome in outcomes:
        for said in outcome.finished.report["warnings"] if outcome.finished else [f"Failed: {outcome.error}"]:
            heads.setdefault(one_line(said), []).append(outcome.case.name)
    for said, names in heads.items():
        few = f" ({', '.join(names)})" if len(names) <= _NAMED and len(names) < len(outcomes) else ""
        yield f"{len(names)} of {len(outcomes)}{few}: {said}"
