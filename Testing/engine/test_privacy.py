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

from asa import job

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


def contents(folder: Path) -> dict[str, bytes]:
    """Name -> content of every file, unpacked."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            found[path.name] = gzip.decompress(content) if path.suffix == ".gz" else content
    return found


def test_a_result_names_no_patient_and_opens_no_connection(
    fake: ModuleType, marked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def forbidden(*_: object, **__: object) -> Any:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket, "socket", forbidden)
    monkeypatch.setattr(job.importlib.util, "find_spec", lambda name: None)  # the segmentation file has its own tests
    request = tmp_path / "request.json"
    fields = {"output": str(tmp_path / "out"), "images": {"t1": str(marked)}, "posterior": True}
    request.write_text(json.dumps(fields), encoding="utf-8")
    assert job.main([str(request)]) == 0
    files = contents(tmp_path / "out")
    assert {"report.json", "segmentation.nii.gz", "volumes.csv", "overlay.png", "uncertainty.nii.gz"} <= set(files)
    said = capsys.readouterr()
    told = {**files, "events": said.out.encode(), "log": said.err.encode()}
    found = {name: mark for name, content in told.items() for mark in MARKS if mark.encode() in content}
    assert found == {}
