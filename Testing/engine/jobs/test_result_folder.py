"""A result folder: no file that ASA did not write is replaced, and no file that changed is handed out as the result."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import nibabel
import numpy as np
import pytest

from asa.cohort.batch import protect_summary
from asa.errors import AsaError, OutputError
from asa.jobs import result_folder
from asa.jobs import segment as job

NAMES = ["segmentation.nii.gz", "segmentation.seg.nrrd", "overlay.png", "volumes.csv", "volumes.json", "report.json"]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    data = np.random.default_rng(0).uniform(1, 100, (24, 28, 16)).astype(np.float32)
    path = tmp_path / "head.nii.gz"
    nibabel.save(nibabel.Nifti1Image(data, np.diag([6.0, 6.0, 9.0, 1.0])), path)
    return path


def segment(image: Path, out: Path, **settings: Any) -> job.Finished:
    options = {key: settings.pop(key) for key in ("segment", "overwrite") if key in settings}
    request = sys.modules["asa.inference"].SegmentRequest(images={"t1": image}, **settings)
    return job.run(request, out, segmentation_file=False, **options)


def unexpected(request: object, progress: object) -> Any:
    raise AssertionError("the work began")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("name", [*NAMES, "uncertainty.nii.gz", "posterior_GM.nii.gz"])
def test_a_scan_in_the_place_of_a_result_is_refused(fake: ModuleType, image: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    scan = shutil.copy(image, out / name)
    before = contents(out)
    with pytest.raises(OutputError, match=name):
        segment(Path(scan), out, posterior=True, segment=unexpected)
    assert contents(out) == before


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege")
@pytest.mark.parametrize("link", ["symbolic", "hard", "folder", "spelling", "scan"])
def test_a_scan_reached_otherwise_is_refused(
    fake: ModuleType, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: str
) -> None:
    out = tmp_path / "out"
    segment(image, out)  # a folder of ours, whose files are replaced as a rule
    label_map = out / "segmentation.nii.gz"
    if link == "symbolic":
        scan = tmp_path / "scan.nii.gz"
        scan.symlink_to(label_map)
    elif link == "hard":
        scan = tmp_path / "scan.nii.gz"
        os.link(label_map, scan)
    elif link == "folder":
        (tmp_path / "same").symlink_to(out)
        scan = tmp_path / "same" / label_map.name
    elif link == "spelling":
        monkeypatch.chdir(tmp_path)
        scan = Path("out/../out/segmentation.nii.gz")
    else:
        label_map.unlink()
        label_map.symlink_to(image)
        scan = image
    before = contents(out)
    with pytest.raises(OutputError, match="would overwrite the input"):
        segment(scan, out, segment=unexpected, overwrite=True)
    assert contents(out) == before


def test_a_scan_that_the_model_does_not_look_at_is_kept_too(fake: ModuleType, image: Path, tmp_path: Path) -> None:
    segment(image, tmp_path / "out")
    request = fake.SegmentRequest(images={"t1": image, "flair": tmp_path / "out" / "segmentation.nii.gz"})
    with pytest.raises(OutputError, match="would overwrite the input"):
        job.run(request, tmp_path / "out", segment=unexpected)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_others_is_refused(fake: ModuleType, image: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text('{"of": "another program"}')
    with pytest.raises(OutputError, match="already exists"):
        segment(image, out, segment=unexpected, overwrite=True)
    assert (out / name).read_text() == '{"of": "another program"}'


def test_the_result_of_one_head_does_not_replace_the_scan_of_another(image: Path, tmp_path: Path) -> None:
    scan = tmp_path / "out" / "head" / "segmentation.nii.gz"
    scan.parent.mkdir(parents=True)
    shutil.copy(image, scan)
    (scan.parent / "report.json").write_text('{"settings": {"a": 1}, "files": ["segmentation.nii.gz"]}')
    folders = [tmp_path / "out" / name for name in ("head", "segmentation")]
    with pytest.raises(OutputError, match="would overwrite the input"):
        job.protect_images([image, scan], folders, "tissue", posterior=False)


def test_a_summary_of_others_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    protect_summary(path)
    path.write_text('{"schema_version": 1, "systems": {}, "cases": 3}')
    with pytest.raises(OutputError, match="already exists"):
        protect_summary(path)
    path.write_text('{"schema_version": 1, "cases": [{"case": "a", "status": "done", "exit_code": 0}]}')
    protect_summary(path)


@pytest.mark.parametrize("name", ["segmentation.nii.gz", "volumes.csv", "overlay.png", "volumes.json"])
@pytest.mark.parametrize("damage", ["emptied", "cut", "replaced", "gone"])
def test_a_damaged_result_is_made_again(fake: ModuleType, image: Path, tmp_path: Path, name: str, damage: str) -> None:
    out = tmp_path / "out"
    segment(image, out)
    path, whole = out / name, (out / name).read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes({"emptied": b"", "cut": whole[:-20], "replaced": image.read_bytes()}[damage])
    left = path.read_bytes() if path.exists() else b""
    finished = segment(image, out)
    assert not finished.reused
    assert "was replaced, because" in finished.notes[0] and name in finished.notes[0]
    if name == "segmentation.nii.gz":
        assert nibabel.load(path).get_fdata().max() == 4
    stem, _, ending = name.partition(".")
    kept = out / f"{stem}.earlier.{ending}"
    assert (kept.read_bytes() if left else kept.exists()) == (left or False), "what a person edited is not lost"
    assert {file.name for file in out.iterdir()} == {*finished.report["files"], "report.json"}
    again = segment(image, out)
    assert again.reused and again.notes == ()


def test_what_was_edited_is_kept_each_time(fake: ModuleType, image: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    segment(image, out)
    for text in ("first", "second"):
        (out / "volumes.csv").write_text(text)
        segment(image, out, overwrite=True)
    assert (out / "volumes.earlier.csv").read_text() == "first"
    assert (out / "volumes.earlier2.csv").read_text() == "second"


def test_a_result_without_checksums_is_made_again(fake: ModuleType, image: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = segment(image, out).report
    del report["outputs"]
    (out / "report.json").write_text(json.dumps(report))
    finished = segment(image, out)
    assert not finished.reused and "holds no checksum" in finished.notes[0]
    assert (out / "segmentation.earlier.nii.gz").is_file(), "nobody knows whether it was edited"


def test_other_settings_are_said(fake: ModuleType, image: Path, tmp_path: Path) -> None:
    segment(image, tmp_path / "out")
    finished = segment(image, tmp_path / "out", tta=True)
    assert "other settings" in finished.notes[0] and finished.warnings[-1] == finished.notes[0]


def test_the_report_records_its_files(fake: ModuleType, image: Path, tmp_path: Path) -> None:
    report = segment(image, tmp_path / "out").report
    assert set(report["outputs"]) == set(report["files"])
    assert all(len(values["sha256"]) == 64 for values in report["outputs"].values())


@pytest.mark.parametrize("moved", [0, 1, 3])
def test_killed_while_the_files_were_moved(fake: ModuleType, image: Path, tmp_path: Path, moved: int) -> None:
    out = tmp_path / "out"
    report = segment(image, out).report
    files = contents(out)
    (out / ".asa-partial").mkdir()
    for name in (*report["files"][moved:], "report.json"):
        (out / name).rename(out / ".asa-partial" / name)
    (out / ".asa-partial" / "report.json").write_bytes(files["report.json"])
    finished = segment(image, out)
    assert not finished.reused and finished.notes == ()
    assert {path.name for path in out.iterdir()} == set(files)


def test_killed_after_the_result_was_complete(fake: ModuleType, image: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    segment(image, out)
    before = contents(out)
    (out / ".asa-partial").mkdir()
    (out / ".asa-partial" / "overlay.png").write_bytes(b"half")
    (out / ".asa-lock").touch()
    assert segment(image, out, segment=unexpected).reused
    assert contents(out) == before
    (out / ".asa-partial").mkdir()
    with result_folder.exclusive_lock(out / ".asa-lock") as ours:
        assert ours and segment(image, out, segment=unexpected).reused
        assert (out / ".asa-partial").exists(), "of a run that is at work"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["disk", "ctrl-c"])
def test_failing_while_the_files_are_moved_leaves_no_part(
    fake: ModuleType, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    replace = Path.replace

    def sometimes(self: Path, target: Path) -> Path:
        if self.parent.name == ".asa-partial" and target.name == "volumes.csv":
            raise error
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", sometimes)
    with pytest.raises(AsaError):
        segment(image, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_report_that_names_files_elsewhere_reaches_none(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    outputs = {"../precious.txt": {"sha256": ""}, "a.txt": {}}
    (tmp_path / "out" / "report.json").write_text(json.dumps({"outputs": outputs, "files": list(outputs)}))
    assert list(result_folder._recorded(tmp_path / "out")) == ["a.txt"]
