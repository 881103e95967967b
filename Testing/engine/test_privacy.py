"""What identifies a patient in an input, or in the names of its folders, is in no file and no event of a result."""

from __future__ import annotations

import gzip
import json
import socket
from pathlib import Path
from types import ModuleType
from typing import Any

import nibabel
import numpy as np
import pytest

from asa import cli
from asa.inference import placement  # noqa: F401  the real one, before `asa.inference` is replaced
from asa.jobs import segment as job
from asa.refinement import Mark, MarkSet
from asa.request import SegmentRequest

MARKS = ("Mueller", "19700101", "MRN-4711", "Clinic7")


@pytest.fixture
def marked(tmp_path: Path) -> Path:
    """A scan with marks in every text of its header, in an extension, and in the name of its folder."""
    data = np.random.default_rng(0).uniform(1, 100, (24, 28, 16)).astype(np.float32)
    image = nibabel.Nifti1Image(data, np.diag([6.0, 6.0, 9.0, 1.0]))
    for field, mark in zip(("descrip", "aux_file", "db_name", "intent_name"), MARKS, strict=True):
        image.header[field] = mark.encode()
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", " ".join(MARKS).encode()))
    path = tmp_path / "Mueller^Anna 19700101" / "scan.nii.gz"
    path.parent.mkdir()
    nibabel.save(image, path)
    return path


@pytest.fixture(autouse=True)
def offline(no_segmentation_file: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without connections, and without the segmentation file, which has its own tests."""

    def forbidden(*_: object, **__: object) -> Any:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket, "socket", forbidden)


def marks_in(said: dict[str, bytes]) -> dict[str, str]:
    """What holds a mark of the patient -> the mark."""
    return {name: mark for name, content in said.items() for mark in MARKS if mark.encode() in content}


def contents(folder: Path) -> dict[str, bytes]:
    """Name -> content of every file, unpacked."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            found[path.name] = gzip.decompress(content) if path.suffix == ".gz" else content
    return found


def test_a_result_names_no_patient_and_opens_no_connection(
    fake: ModuleType, marked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    request = tmp_path / "request.json"
    fields = {"output": str(tmp_path / "out"), "images": {"t1": str(marked)}, "posterior": True}
    request.write_text(json.dumps(fields), encoding="utf-8")
    assert job.main([str(request)]) == 0
    files = contents(tmp_path / "out")
    assert {"report.json", "segmentation.nii.gz", "volumes.csv", "overlay.png", "uncertainty.nii.gz"} <= set(files)
    said = capsys.readouterr()
    told = {**files, "events": said.out.encode(), "log": said.err.encode()}
    assert marks_in(told) == {}


def test_a_correction_names_no_patient_and_opens_no_connection(
    fake: ModuleType, marked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = job.run(SegmentRequest(images={"t1": marked}, posterior=True), tmp_path / "start").folder
    marks = tmp_path / "marks of Mueller.json"
    marks.write_text(json.dumps(MarkSet((Mark("point", "WM", "add", ((60.0, 80.0, 70.0),)),)).to_json()))
    with pytest.raises(SystemExit) as left:
        command = ["refine", str(start), "--marks", str(marks), "--t1", str(marked), "-o", str(tmp_path / "out")]
        cli.main(command)
    assert not left.value.code
    files, said = contents(tmp_path / "out"), capsys.readouterr()
    assert {"report.json", "marks.json", "segmentation.nii.gz", "overlay.png"} <= set(files)
    assert marks_in({**files, "output": said.out.encode(), "log": said.err.encode()}) == {}
