"""The panel's job through the resident engine: one process for two segmentations, each with a record."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from asa.refinement.record import Record
from asa.tasks import TASKS
from ASASegmentationLib.job import Job
from ASASegmentationLib.parameters import Settings
from ASASlicerLib import resident
from ASASlicerLib.engine_job import JobState
from ASASlicerLib.process import PythonRunner
from ASASlicerLib.resident import ResidentRunner
from ASASlicerLib.volumes import Snapshot

REPOSITORY = Path(__file__).resolve().parents[2]


def test_two_segmentations_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = REPOSITORY / "Testing" / "engine" / "fake_engine.py"
    monkeypatch.setattr(resident, "PROGRAM", (str(engine), "resident"))
    runner = ResidentRunner(PythonRunner(REPOSITORY / "ASASegmentation"))
    data = np.random.default_rng(0).uniform(1, 100, (28, 30, 26)).astype(np.float32)
    data[:3] = 0
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    for _ in range(2):
        snapshots = [Snapshot("t1", lambda: data, affine)]
        job = Job(snapshots, "t1", TASKS["tissue"], Settings(surfaces=False), runner, lambda: np.eye(4))
        deadline = time.monotonic() + 300
        while not job.ended:
            job.poll()
            time.sleep(0.01)
            assert time.monotonic() < deadline
        assert job.state is JobState.DONE and job.result is not None, job.error
        assert job.result.extra == ()  # probabilities as volumes are there only for who asks for them
        (tmp_path / "record.zip").write_bytes(job.result.record)
        record = Record.read(tmp_path / "record.zip")
        assert record.grid.shape == (28, 30, 26) and set(np.unique(record.labels)) == {0, 1, 2, 3, 4}
        assert job.clean_up() and not job.folder.exists()
    assert runner.starts == 1
    runner.close()
