"""Several cases in parallel: in processes, and as an array of jobs of a cluster."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import nibabel
import numpy as np
import pytest

from asa.cohort import batch, slurm_batch, workers
from asa.cohort.bids import Case
from asa.errors import InputError
from asa.request import SegmentRequest

FAKE = Path(__file__).parents[1] / "fake_engine.py"
ENGINE = Path(batch.__file__).parents[2]


def make_images(folder: Path, count: int) -> list[Path]:
    folder.mkdir()
    paths = [folder / f"head{number}.nii.gz" for number in range(count)]
    for path in paths:
        data = np.random.default_rng(0).uniform(1, 100, (24, 28, 16)).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(data, np.diag([6.0, 6.0, 9.0, 1.0])), path)
    return paths


def start(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(FAKE), "cli", "segment", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ENGINE), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
    )


def statuses(out: Path) -> list[str]:
    return [case["status"] for case in json.loads((out / "summary.json").read_text())["cases"]]


def test_a_process_that_dies_costs_its_head_alone(tmp_path: Path) -> None:
    images, out = make_images(tmp_path / "in", 4), tmp_path / "out"
    images[1].write_bytes(b"not an image")
    _, err = (process := start(tmp_path / "in", "-o", out, "--jobs", 2, FAKE_CRASH="head2")).communicate(timeout=300)
    assert process.returncode == 1, err
    assert statuses(out) == ["done", "failed", "failed", "done"]
    cases = json.loads((out / "summary.json").read_text())["cases"]
    assert "is damaged" in cases[1]["error"] and "ended by signal SIGKILL" in cases[2]["error"]
    assert "2 cases in parallel" in err and "Traceback" not in err
    table, err = (process := start(tmp_path / "in", "-o", out, "--jobs", 2)).communicate(timeout=300)
    assert process.returncode == 1 and statuses(out) == ["reused", "failed", "done", "reused"]
    said = " ".join(table.split())
    assert said.count("A warning of the engine.") == 1
    assert "3 of 4 (head0, head2, head3): A warning of the engine." in said


@pytest.mark.skipif(os.name == "nt", reason="signals are sent otherwise there")
def test_ctrl_c_ends_every_process_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    make_images(tmp_path / "in", 3)
    process = start(tmp_path / "in", "-o", tmp_path / "out", "--jobs", 2, FAKE_DELAY="600")
    deadline = time.monotonic() + 240
    while len(list((tmp_path / "out").glob("*/.asa-lock"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=240)
    assert process.returncode == 130, err
    assert "Cancelled" in err and "Traceback" not in err
    assert not list((tmp_path / "out").rglob("*"))


def test_processes_are_as_many_as_the_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "processors", lambda: 8)
    monkeypatch.setattr(workers, "available_memory", lambda: 100.0 * workers.HEAD_BYTES)
    assert workers.plan(4, None, 100) == workers.Plan(4, 2)
    assert workers.plan(4, 3, 2) == workers.Plan(2, 3)
    monkeypatch.setattr(workers, "available_memory", lambda: 2.5 * workers.HEAD_BYTES)
    short = workers.plan(4, None, 100)
    assert (short.jobs, short.threads) == (2, 4) and "2 instead of 4 cases" in short.note
    monkeypatch.setattr(workers, "available_memory", lambda: 0.0)
    assert workers.plan(4, None, 100).jobs == 1


class Job:
    """A job of submitit that has run at once; number 1 is lost after its first head."""

    def __init__(self, number: int, share: slurm_batch.Share, folder: Path) -> None:
        self.job_id, self.paths, self.cancelled = f"7_{number}", SimpleNamespace(folder=folder), False
        lost = number == 1
        done = slurm_batch.Share(share.cases[:1], share.run)() if lost else share()
        self.outcomes = RuntimeError("Job not requeued because: timed-out.") if lost else done

    def result(self) -> Any:
        if isinstance(self.outcomes, Exception):
            raise self.outcomes
        return self.outcomes

    def cancel(self) -> None:
        self.cancelled = True


class Executor:
    def __init__(self, logs: Path, cluster: str) -> None:
        self.logs, self.jobs, self.batches = logs, [], 0

    def update_parameters(self, **asked: Any) -> None:
        self.asked = asked

    def batch(self) -> Any:
        self.batches += 1
        from contextlib import nullcontext

        return nullcontext()

    def submit(self, share: slurm_batch.Share) -> Job:
        self.jobs.append(Job(len(self.jobs), share, self.logs))
        return self.jobs[-1]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("submitit")
    module.AutoExecutor = Executor  # type: ignore[attr-defined]
    module.helpers = SimpleNamespace(as_completed=lambda jobs, poll_frequency: iter(jobs))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "submitit", module)
    return module


def test_a_cluster_gives_the_same_outcomes_and_a_lost_job_keeps_what_it_finished(
    fake: ModuleType, cluster: ModuleType, tmp_path: Path
) -> None:
    images = make_images(tmp_path / "in", 5)
    cases = [Case(path.name.partition(".")[0], {"t1": path}) for path in images]
    run = partial(batch.segment_case, request=SegmentRequest({}), output=tmp_path / "out")
    settings = slurm_batch.read_settings("partition=long,cpus=2,hours=1")
    assert (settings.partition, settings.cpus, settings.gpus, settings.hours) == ("long", 2, 0, 1.0)
    ended = batch.in_order(slurm_batch.run_on_cluster(cases, run, settings, 2, tmp_path / "logs"), cases)
    assert [outcome.case.name for outcome in ended] == [case.name for case in cases]
    assert [outcome.status for outcome in ended] == ["done", "reused", "done", "failed", "done"]
    assert "timed-out" in str(ended[3].error) and "Run the same command again" in str(ended[3].error)
    assert not (tmp_path / "out" / cases[3].name).exists()


def test_ctrl_c_cancels_the_jobs_that_wait(fake: ModuleType, cluster: ModuleType, tmp_path: Path) -> None:
    cases = [Case(path.name.partition(".")[0], {"t1": path}) for path in make_images(tmp_path / "in", 2)]
    run = partial(batch.segment_case, request=SegmentRequest({}), output=tmp_path / "out")
    seen: list[Job] = []

    def interrupted(jobs: list[Job], poll_frequency: float) -> Any:
        seen.extend(jobs)
        yield jobs[0]
        raise KeyboardInterrupt

    cluster.helpers.as_completed = interrupted  # type: ignore[attr-defined]
    from asa.errors import Cancelled

    with pytest.raises(Cancelled, match="including the jobs on the cluster"):
        list(slurm_batch.run_on_cluster(cases, run, slurm_batch.read_settings("default"), 2, tmp_path / "logs"))
    assert [job.cancelled for job in seen] == [False, True]


def test_the_state_of_a_lost_job_is_said_and_not_the_end_of_its_output(fake: ModuleType, tmp_path: Path) -> None:
    text = "Job 7 (task: 0) with path /x.pkl\nhas not produced any output (state: OUT_OF_MEMORY)\nJob stdout: a library"
    job = Job(0, slurm_batch.Share((), lambda case: None), tmp_path)
    job.outcomes = RuntimeError(text)  # type: ignore[assignment]
    case = Case("head", {"t1": tmp_path / "head.nii.gz"})
    run = partial(batch.segment_case, request=SegmentRequest({}), output=tmp_path / "out")
    (tmp_path / "head.nii.gz").write_bytes(make_images(tmp_path / "in", 1)[0].read_bytes())
    (outcome,) = slurm_batch._outcomes(job, slurm_batch.Share((case,), run))
    assert "ended early (state OUT_OF_MEMORY); its logs" in str(outcome.error)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("walltime=3", "'walltime=3' is not a setting of --slurm"),
        ("cpus", "'cpus' is not a setting"),
        ("cpus=many", "'many' is not a number"),
        ("hours=-1", "hours of --slurm cannot be -1"),
        ("", "'' is not a setting"),
    ],
)
def test_wrong_settings_of_a_cluster(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        slurm_batch.read_settings(text)
