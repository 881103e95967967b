"""A store and a killed run that version 0.1.0 of 2026-11-29 wrote (commit cefcbd0) are read and resumed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from Testing.engine import tiny_pretraining

from asa.data.scan_store import ScanStore
from asa.runs.folder import Run, read_events

EARLIER = Path(__file__).resolve().parents[2] / "earlier" / "pretraining"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(EARLIER, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")  # the run names its store by a relative path
    return tmp_path / "work"


def test_a_store_of_an_earlier_version_is_read(folder: Path) -> None:
    store = ScanStore.open(folder / "store")
    assert len(store.scans) == 5 and store.read(0).shape == store.shape


def test_a_run_of_an_earlier_version_is_described_and_resumed(folder: Path) -> None:
    described = Run(folder / "run").describe()
    assert described["kind"] == "pretraining"
    values = tiny_pretraining.settings(Path("store"))
    before = tiny_pretraining.losses(folder / "run")
    assert tiny_pretraining.run(values, folder / "run") == "finished"
    resumed = [event["step"] for event in read_events(folder / "run" / "events.jsonl") if event["event"] == "resume"]
    assert resumed == [4], "its last checkpoint"
    after = tiny_pretraining.losses(folder / "run")
    assert max(after) == 10 and after[5] == pytest.approx(before[5], rel=1e-5), "the same samples and weights"
