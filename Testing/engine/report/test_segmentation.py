"""segmentation.seg.nrrd from the engine's side: a missing or failing writer is a warning and leaves no file."""

from __future__ import annotations

import errno
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from asa.report import build_report, segmentation, write_segmentation_file
from asa.tasks import TISSUE, TUMOUR


@pytest.fixture
def label_map(tmp_path: Path) -> Path:
    labels = np.zeros((12, 14, 10), np.uint8)
    labels[2:6, 3:9, 2:8] = 3
    nibabel.save(nibabel.Nifti1Image(labels, np.diag([-1.0, 1, 2, 1])), tmp_path / "segmentation.nii.gz")
    return tmp_path / "segmentation.nii.gz"


@pytest.mark.parametrize("task", [TISSUE, TUMOUR], ids=lambda task: task.name)
def test_segments_are_those_a_user_is_shown(label_map: Path, task: Any) -> None:
    pytest.importorskip("slicer", reason="slicer-core is not installed (extra 'slicer-core')")
    output = label_map.with_name("segmentation.seg.nrrd")
    assert write_segmentation_file(label_map, task, output) is None
    header = output.read_bytes().split(b"\n\n")[0].decode()
    for item in task.regions if task.nested else task.labels:
        assert item.title in header
        assert item.terminology.slicer_entry in header


def test_without_slicer_core_the_extra_is_named(label_map: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    output = label_map.with_name("out.seg.nrrd")
    warning = write_segmentation_file(label_map, TISSUE, output)
    assert warning and "slicer-asa[slicer-core]" in warning
    assert not output.exists()


@pytest.mark.parametrize("end", ["fails", "hangs", "cannot start"])
def test_a_failing_writer_is_a_warning(label_map: Path, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    fails = "import sys; sys.exit('noise\\nlibGL.so.1: cannot open shared object file')"
    program = {"fails": [sys.executable, "-c", fails], "hangs": [sys.executable, "-c", "import time; time.sleep(600)"]}
    started = subprocess.Popen

    def start(command: list[str], **options: Any) -> subprocess.Popen[str]:
        if end == "cannot start":
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
        return started(program[end], **options)

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(subprocess, "Popen", start)
    monkeypatch.setattr(segmentation, "_TIMEOUT_S", 0.1 if end == "hangs" else 60)
    before = set(label_map.parent.iterdir())
    warning = write_segmentation_file(label_map, TISSUE, label_map.with_name("out.seg.nrrd"))
    said = {"fails": "libGL.so.1", "hangs": "longer than", "cannot start": "temporarily unavailable"}
    assert warning and said[end] in warning
    assert set(label_map.parent.iterdir()) == before


def test_the_writer_ends_with_a_segmentation_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[str]] = []
    plain = subprocess.Popen

    def start(_command: list[str], **options: Any) -> subprocess.Popen[str]:
        started.append(plain([sys.executable, "-c", "import time; time.sleep(600)"], **options))
        return started[0]

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(subprocess, "Popen", start)
    with pytest.raises(KeyboardInterrupt), segmentation.SegmentationWriter():
        raise KeyboardInterrupt
    assert started[0].returncode is not None


def test_report_is_complete_and_plain(label_map: Path) -> None:
    from asa.geometry import Alignment
    from asa.volume import read_volume

    volume = read_volume(label_map, labels=True)
    report = build_report(
        series={"t1": {"registration": "anchor"}},
        reference="t1",
        trust={"verdict": "ok", "reasons": []},
        task=TISSUE,
        model={"name": "m", "version": "2"},
        settings={"task": "tissue"},
        inputs={"t1": "0" * 64},
        device="cpu",
        grid=volume.grid,
        alignment=Alignment(np.eye(4), "affine", 0.87654321, ()),
        measurements=[],
        brain_ml=1234.56789,
        timings={"network": 1.23456},
        warnings=["w"],
        outputs={"b": "2" * 64, "a": "1" * 64},
    )
    assert report["label_values"] == {"CSF": [1, 4], "ventricles": [1], "GM": [2], "WM": [3]}
    assert report["alignment"] == {"method": "affine", "quality": 0.8765}
    assert report["grid"] == {"shape_thw": [10, 14, 12], "spacing_thw_mm": [2.0, 1.0, 1.0]}
    assert report["brain_ml"] == 1234.568
    assert report["timings_s"] == {"network": 1.235}
    assert report["files"] == ["a", "b"]
    assert {"asa", "python", "torch", "numpy"} <= set(report["versions"])
