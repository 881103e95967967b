"""The resident engine from Slicer's side: one process for many requests, started again when it has ended."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ASASlicerLib import resident as resident_module
from ASASlicerLib.engine_job import EngineJob, JobState
from ASASlicerLib.process import PythonRunner
from ASASlicerLib.resident import Request, ResidentRunner
from ASASlicerLib.steps import Steps

# Does what a request's file says: answers, fails, waits, dies before or in the middle of the answer.
ENGINE = """
import json, os, sys, time
def say(**values):
    print(json.dumps(values), flush=True)
for line in iter(sys.stdin.readline, ""):
    asked = json.loads(line)
    what = open(asked["file"], encoding="utf-8").read()
    say(event="progress", stage=asked["request"], fraction=0.5)
    if what == "die":
        print("oops", file=sys.stderr, flush=True)
        os._exit(9)
    if what == "wait":
        time.sleep(600)
    code = 3 if what == "fail" else 0
    if code:
        say(event="error", message="A sentence.", exit_code=3)
    else:
        say(event="done", pid=os.getpid(), what=what)
    say(event="ended", exit_code=code)
    if what == "last":
        break
"""


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "The condition was not met in time."
        time.sleep(0.01)


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ResidentRunner]:
    (tmp_path / "engine.py").write_text(ENGINE, encoding="utf-8")
    monkeypatch.setattr(resident_module, "PROGRAM", (str(tmp_path / "engine.py"),))
    made = ResidentRunner(PythonRunner(tmp_path))
    yield made
    made.close()


@pytest.fixture
def ask(runner: ResidentRunner, tmp_path: Path) -> Callable[[str], Request]:
    def ask(what: str) -> Request:
        path = tmp_path / f"{what}.txt"
        path.write_text(what, encoding="utf-8")
        return runner.ask("refine", path)

    return ask


def answer(request: Request) -> list[dict[str, object]]:
    lines: list[tuple[str, str]] = []
    wait_for(lambda: lines.extend(request.lines()) or request.exit_code is not None)
    return [json.loads(line) for stream, line in lines if stream == "stdout"]


def test_one_process_answers_one_after_the_other(runner: ResidentRunner, ask: Callable[[str], Request]) -> None:
    requests = [ask("first"), ask("fail"), ask("third")]
    answers = [answer(request) for request in reversed(requests)][::-1]
    assert [request.exit_code for request in requests] == [0, 3, 0]
    assert [events[-1].get("what", events[-1].get("message")) for events in answers] == [
        "first", "A sentence.", "third"
    ]  # fmt: skip
    assert answers[0][-1]["pid"] == answers[2][-1]["pid"] and runner.starts == 1
    assert answers[0][0] == {"event": "progress", "stage": "refine", "fraction": 0.5}


def test_a_crash_fails_its_request_alone(runner: ResidentRunner, ask: Callable[[str], Request]) -> None:
    broken, after = ask("die"), ask("after")
    assert answer(after)[-1]["what"] == "after"
    assert broken.lines()[-1] == ("stderr", "oops") and broken.exit_code == 9
    assert runner.starts == 2


def test_an_engine_that_has_ended_by_itself_is_started_again(
    runner: ResidentRunner, ask: Callable[[str], Request]
) -> None:
    answer(ask("last"))
    time.sleep(0.3)
    assert answer(ask("again"))[-1]["what"] == "again"
    assert runner.starts == 2


def test_stopping_kills_only_what_works_on_it(runner: ResidentRunner, ask: Callable[[str], Request]) -> None:
    busy, second, third = ask("wait"), ask("second"), ask("third")
    wait_for(busy.lines)
    before = time.thread_time()
    second.stop()
    assert runner.starts == 1 and second.exit_code is not None
    busy.stop()
    assert time.thread_time() - before < 0.5
    assert answer(third)[-1]["what"] == "third" and runner.starts == 2
    assert busy.exit_code is not None and busy.lines() == []


def test_closing_leaves_nothing(runner: ResidentRunner, ask: Callable[[str], Request], monkeypatch) -> None:
    busy = ask("wait")
    wait_for(busy.lines)
    folder = runner._folder
    assert folder is not None and folder.is_dir() and runner.running
    runner.close()
    assert not folder.exists() and not runner.running and busy.exit_code is not None


def test_an_engine_that_cannot_be_started_is_said(
    runner: ResidentRunner, ask: Callable[[str], Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ASASlicerLib.process.python_executable", lambda: "no-such-python")
    with pytest.raises(OSError):
        ask("anything")
    assert runner._waiting == []


class SegmentJob(EngineJob[str]):
    """A job as that of the panel."""

    def prepare(self) -> Steps[list[str]]:
        (self.folder / "request.json").write_text("go", encoding="utf-8")
        yield True
        return ["-m", "asa.jobs.segment", "request.json"]

    def results(self) -> Steps[str]:
        yield True
        return "read"


def test_a_job_of_the_panel_is_a_request(runner: ResidentRunner) -> None:
    for count in (1, 2):
        job = SegmentJob(runner)
        wait_for(lambda job=job: job.poll() or job.ended)
        assert job.state is JobState.DONE and job.result == "read", job.error
        assert runner.starts == 1, count
        wait_for(job.clean_up)


def test_programs_of_other_kinds_run_by_themselves(runner: ResidentRunner, tmp_path: Path) -> None:
    process = runner.start(["-c", "print('alone')"], tmp_path)
    lines: list[tuple[str, str]] = []
    wait_for(lambda: lines.extend(process.lines()) or process.exit_code is not None)
    assert lines == [("stdout", "alone")] and runner.starts == 0
