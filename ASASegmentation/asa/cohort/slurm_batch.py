"""A batch on a SLURM cluster: an array of jobs, each with its share of the cases; the outcomes are as from here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from asa.cohort.batch import Outcome, run_cases
from asa.cohort.bids import Case
from asa.errors import Cancelled, InputError, ResourceError
from asa.jobs.segment import Finished
from asa.training.parallel.cluster import Cluster, submitit

LOGS = "slurm"
_POLL_S = 10.0
_SETTINGS = {"partition": str, "cpus": int, "gpus": int, "hours": float, "kind": str}


def read_settings(text: str) -> Cluster:
    """Read what a job asks of the cluster.

    Args:
        text: ``default``, or settings such as ``partition=long,cpus=4,gpus=1,hours=12``.

    Raises:
        InputError: a setting is unknown, or its value of the wrong kind.
    """
    values: dict[str, Any] = {"gpus": 0, "cpus": 4}
    for part in text.split(",") if text != "default" else ():
        name, _, value = part.strip().partition("=")
        if name not in _SETTINGS or not value:
            raise InputError(
                f"'{part}' is not a setting of --slurm; give some of {', '.join(_SETTINGS)}, as in cpus=4,hours=12."
            )
        try:
            values[name] = _SETTINGS[name](value)
        except ValueError:
            raise InputError(f"'{value}' is not a number for the setting {name} of --slurm.") from None
        if _SETTINGS[name] is not str and values[name] < (0 if name == "gpus" else 1e-9):
            raise InputError(f"The setting {name} of --slurm cannot be {value}.")
    return Cluster(**{one.name: values[one.name] for one in fields(Cluster) if one.name in values})


@dataclass(frozen=True)
class Share:
    """The cases of one job; a job that is preempted is queued again, and keeps what it has finished."""

    cases: tuple[Case, ...]
    run: Callable[..., Finished]

    def __call__(self) -> list[Outcome]:
        """Run the cases one after another."""
        return list(run_cases(self.cases, self.run))

    def checkpoint(self) -> Any:
        """Queue the same share again."""
        return submitit().helpers.DelayedSubmission(self)


def run_on_cluster(
    cases: Sequence[Case], run: Callable[..., Finished], cluster: Cluster, jobs: int, logs: Path
) -> Iterator[Outcome]:
    """Run cases as an array of jobs, wait for them, and yield the outcomes as jobs end.

    Of a job that was lost (a node failed, its time ran out) the cases that it had finished count as done; the
    others are failed, and are segmented when the same command is started again.

    Args:
        cases: the heads.
        run: segments one, as :func:`asa.cohort.batch.segment_case` with its settings bound; picklable.
        cluster: the resources of each job.
        jobs: number of jobs that share the cases.
        logs: folder for what the jobs write.

    Raises:
        DependencyError: submitit is not installed.
        Cancelled: on KeyboardInterrupt; the jobs are cancelled too.
    """
    executor = cluster.executor(logs, "asa")
    count = min(jobs, len(cases))
    shares = [Share(tuple(cases[number::count]), run) for number in range(count)]
    with executor.batch():
        submitted = [executor.submit(share) for share in shares]
    pending = dict(zip(submitted, shares, strict=True))
    try:
        for job in submitit().helpers.as_completed(submitted, poll_frequency=min(_POLL_S, 0.5 * len(cases))):
            yield from _outcomes(job, pending.pop(job))
    except KeyboardInterrupt:
        for job in pending:
            job.cancel()
        raise Cancelled("Cancelled, including the jobs on the cluster; finished cases are kept.") from None


def _outcomes(job: Any, share: Share) -> Iterator[Outcome]:
    try:
        outcomes: list[Outcome] = job.result()
    except Exception as error:  # what submitit makes of whatever happened to the job
        text = str(error).strip()  # where the job wrote no answer, with the end of its output
        state = re.search(r"state: (\w+)", text)
        reason = f"state {state[1]}" if state else text.splitlines()[-1] if text else type(error).__name__
        lost = ResourceError(
            f"The job {job.job_id} of this case ended early ({reason}); its logs are in {job.paths.folder}. "
            "Run the same command again to continue."
        )

        def give_up(*_: object) -> NoReturn:
            raise lost

        # An intact result is returned as it is; to make one would be what the lost job was for.
        yield from run_cases(share.cases, partial(share.run, overwrite=False, segment=give_up))
    else:
        yield from outcomes
