"""The resident engine as a process: requests by lines, events, bad requests, and its end with whoever started it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import nibabel
import numpy as np
import pytest

from asa.refinement.record import Record

REPOSITORY = Path(__file__).resolve().parents[3]


class Engine:
    """The process, with a segmentation that needs no network."""

    def __init__(self, **environment: str) -> None:
        script = Path(__file__).parents[1] / "fake_engine.py"
        path = os.pathsep.join((str(REPOSITORY / "ASASegmentation"), os.environ.get("PYTHONPATH", "")))
        self.process = subprocess.Popen(
            [sys.executable, str(script), "resident"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            env={**os.environ, "PYTHONPATH": path, **environment},
        )
        assert self.process.stdin and self.process.stdout
        self.input, self.output = self.process.stdin, self.process.stdout

    def send(self, line: str) -> None:
        self.input.write(line + "\n")
        self.input.flush()

    def ask(self, line: object) -> list[dict[str, Any]]:
        """Send a request and return its events, without the last, which is in ``code``."""
        self.send(line if isinstance(line, str) else json.dumps(line))
        found: list[dict[str, Any]] = []
        while True:
            event = json.loads(self.output.readline())
            if event["event"] == "ended":
                self.code = event["exit_code"]
                return found
            found.append(event)


@pytest.fixture
def engine() -> Iterator[Engine]:
    started = Engine()
    yield started
    started.process.kill()
    started.process.wait()
    started.output.close()


@pytest.fixture
def request_file(tmp_path: Path) -> Path:
    data = np.random.default_rng(0).uniform(1, 100, (24, 28, 16)).astype(np.float32)
    data[:3] = 0
    nibabel.save(nibabel.Nifti1Image(data, np.diag([4.0, 4.0, 6.0, 1.0])), tmp_path / "t1.nii.gz")
    values = {"task": "tissue", "images": {"t1": str(tmp_path / "t1.nii.gz")}, "segmentation_file": False}
    path = tmp_path / "request.json"
    path.write_text(json.dumps({**values, "output": str(tmp_path / "result")}), encoding="utf-8")
    return path


def test_segmenting_leaves_a_record_and_bad_requests_leave_the_engine(
    engine: Engine, request_file: Path, tmp_path: Path
) -> None:
    for wrong, words in (
        ("nonsense", "not a request"),
        ({"request": "dance", "file": "a"}, "Unknown request 'dance'; the engine knows segment, refine"),
        ({"request": "segment", "file": str(tmp_path / "missing.json")}, "cannot be read"),
        ({"request": "refine", "file": str(tmp_path / "missing.json")}, "cannot be read"),
        ({"request": "refine", "file": str(request_file)}, "'opened' is missing"),
    ):
        events = engine.ask(wrong)
        assert engine.code == 3 and events[-1]["event"] == "error", wrong
        assert words in events[-1]["message"] and "\n" not in events[-1]["message"]
    events = engine.ask({"request": "segment", "file": str(request_file)})
    assert engine.code == 0 and events[-1]["event"] == "done"
    record = Record.read(tmp_path / "result" / "record.zip")
    labels = np.asarray(nibabel.load(tmp_path / "result" / "segmentation.nii.gz").dataobj)
    assert (labels == record.labels.T).all()
    assert not list((tmp_path / "result").glob("posterior_*"))
    engine.input.close()
    assert engine.process.wait(60) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process without asking it")
def test_the_end_of_whoever_asked_ends_a_request(request_file: Path, tmp_path: Path) -> None:
    engine = Engine(FAKE_DELAY="600")
    engine.send(json.dumps({"request": "segment", "file": str(request_file)}))
    while json.loads(engine.output.readline()).get("stage") != "segmenting":
        pass
    engine.input.close()
    assert engine.process.wait(60) is not None
    assert not (tmp_path / "result").exists()


def test_the_head_of_the_last_request_is_used_again(
    fake: ModuleType, request_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from asa.jobs.resident import Resident

    heads: list[object] = []
    plain = fake.segment

    def segment(request: Any, progress: Any, head: object) -> Any:
        heads.append(head)
        return SimpleNamespace(**{**vars(plain(request, progress)), "head": f"head {len(heads)}"})

    monkeypatch.setattr(sys.modules["asa.inference"], "segment", segment)
    resident = Resident()
    line = json.dumps({"request": "segment", "file": str(request_file)}).encode()
    other = request_file.with_name("other.json")
    other.write_text(json.dumps({**json.loads(request_file.read_text()), "align": "none"}))
    for _ in range(2):
        assert resident.answer(line) == 0
    assert resident.answer(json.dumps({"request": "segment", "file": str(other)}).encode()) == 0
    path = request_file.with_name("t1.nii.gz")
    image = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj) + 1, image.affine), path)
    assert resident.answer(line) == 0
    assert heads == [None, "head 1", None, None], "neither another alignment nor another image"
    capsys.readouterr()


def test_nobody_asks_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    from asa.jobs import resident

    monkeypatch.setattr(resident, "IDLE_S", 0.01)
    monkeypatch.setattr(resident, "read_lines", lambda lines: None)
    assert resident.main() == 0
