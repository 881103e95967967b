"""The batch script: heads of several kinds with a broken one among them, twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from Testing.scripts import load_script

from asa.errors import Cancelled

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "Resources" / "Scripts" / "segment_batch.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("segment_batch")


def run_recorded(script: ModuleType, monkeypatch: pytest.MonkeyPatch, words: list[Any]) -> tuple[int, dict[str, Path]]:
    """Exit code of the script, and the images that each result folder would be made of."""
    asked: dict[str, Path] = {}

    def run(request: Any, folder: Path, **_: Any) -> Any:
        asked[folder.name] = request.images["t1"]
        return script.job.Finished(folder, {"warnings": []})

    monkeypatch.setattr(script.job, "run", run)
    return script.main([str(word) for word in words]), asked


def test_dicom_folders_of_one_name_are_told_apart(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dicom_files = pytest.importorskip("Testing.engine.dicom_files")
    for number, patient in enumerate(("anna", "bert")):
        place = {"StudyInstanceUID": f"1.2.3.{number}", "PatientName": patient, "PatientID": patient}
        dicom_files.write_series(tmp_path / patient / "DICOM", **place)
    folders = [tmp_path / patient / "DICOM" for patient in ("anna", "bert")]
    code, asked = run_recorded(script, monkeypatch, ["--input", *folders, "--output", tmp_path / "out"])
    assert code == 0 and [path.parent for path in asked.values()] == folders
    assert len(asked) == 2 and not any("anna" in name or "bert" in name for name in asked)
    again = run_recorded(script, monkeypatch, ["--input", *folders[::-1], "--output", tmp_path / "out"])[1]
    assert again == asked, "the names do not depend on the order"


def test_a_dicom_folder_that_cannot_be_used_costs_no_other(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dicom_files = pytest.importorskip("Testing.engine.dicom_files")
    dicom_files.write_series(tmp_path / "bad", SeriesDescription="Ax T2 TSE")
    dicom_files.write_series(tmp_path / "good")
    words = ["--input", tmp_path / "bad", tmp_path / "good", "--output", tmp_path / "out"]
    code, asked = run_recorded(script, monkeypatch, words)
    assert code == 1 and list(asked) == ["good"]
    cases = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))["cases"]
    assert [case["status"] for case in cases] == ["failed", "done"] and "none was identified as T1" in cases[0]["error"]
    assert cases[1]["images"] == {"t1": "DICOM series 3 (Sag T1 MPRAGE)"}


@pytest.mark.parametrize("error", [KeyboardInterrupt, Cancelled("Cancelled; nothing was written.")])
def test_ctrl_c_is_a_sentence(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, error: BaseException
) -> None:
    def interrupted(*_: Any, **__: Any) -> Any:
        raise error

    (tmp_path / "a.nii").touch()
    monkeypatch.setattr(script.job, "run", interrupted)
    assert script.main(["--input", str(tmp_path / "a.nii"), "--output", str(tmp_path / "out")]) == 130
    assert "Cancelled" in capsys.readouterr().err


def test_what_slicer_leaves_of_its_command_line_is_passed_over(script: ModuleType) -> None:
    words = ["--input", "a.nii", "b.nii", "--output", "out", "--threshold", "0.4"]
    for before in ([], ["--"], ["--no-main-window", "--"]):
        options = script.arguments([*before, *words])
        assert (options.input, options.threshold) == ([Path("a.nii"), Path("b.nii")], 0.4)


def test_a_missing_package_is_a_sentence(script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setitem(sys.modules, "asa.inference", None)
    assert script.main(["--input", "a.nii", "--output", "out"]) == script.ResourceError.exit_code
    assert "segment one scan" in capsys.readouterr().err


@pytest.mark.parametrize("fault", ["no engine", "a bug", "wrong options"])
@pytest.mark.parametrize("name", ["segment_batch.py", "refine_marks.py"])
def test_slicer_is_not_left_open(name: str, fault: str, tmp_path: Path) -> None:
    """Run as Slicer runs it: its python has an application, which goes on after the script unless told to end."""
    bugs = {
        "segment_batch.py": "import asa.cohort.batch; del asa.cohort.batch.find_cases",
        "refine_marks.py": "import asa.jobs.refine; asa.jobs.refine.refine = None",
    }
    causes = {"no engine": "sys.modules['asa'] = None", "a bug": bugs[name]}
    right = {"segment_batch.py": ["--input", "a.nii"], "refine_marks.py": ["result", "--marks", "marks.json"]}
    words = ["--wrong"] if fault == "wrong options" else [*right[name], "--output", str(tmp_path / "out")]
    script = str(SCRIPT.with_name(name))
    code = (
        "import runpy, sys, types\n"
        "slicer = sys.modules['slicer'] = types.ModuleType('slicer')\n"
        "slicer.app, slicer.util = object(), types.SimpleNamespace(exit=lambda code: print('left with', code))\n"
        f"{causes.get(fault, '')}\n"
        f"sys.argv = [{script!r}, *{words!r}]\n"
        f"runpy.run_path({script!r}, run_name='__main__')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "ASASegmentation")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, encoding="utf-8")
    expected = {"no engine": "left with 1", "a bug": "left with 1", "wrong options": "left with 2"}[fault]
    assert expected in done.stdout, done.stderr
    if fault == "no engine":
        assert "cannot be imported" in done.stderr


@pytest.mark.slow
def test_three_heads_and_a_broken_one_and_again(data_root: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(b"\x1f\x8b this is no image")
    heads = [data_root / "malf" / name / f"{name}_SS.nii.gz" for name in ("1000", "1003", "1036")]
    command = [sys.executable, str(SCRIPT), "--output", str(tmp_path / "out"), "--input"]
    command += [str(path) for path in (heads[0], broken, *heads[1:])]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "ASASegmentation")}

    def run() -> dict[str, str]:
        done = subprocess.run(
            command, env=environment, capture_output=True, encoding="utf-8", errors="replace", timeout=1800
        )
        assert done.returncode == 1, done.stdout + done.stderr
        cases = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))["cases"]
        return {case["case"]: case["status"] for case in cases}

    assert run() == {"1000_SS": "done", "broken": "failed", "1003_SS": "done", "1036_SS": "done"}
    assert (tmp_path / "out" / "1036_SS" / "segmentation.seg.nrrd").is_file()
    assert run() == {"1000_SS": "reused", "broken": "failed", "1003_SS": "reused", "1036_SS": "reused"}


def test_a_scan_in_the_place_of_a_result_is_refused(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = tmp_path / "out" / "anna" / "segmentation.nii.gz"
    scan.parent.mkdir(parents=True)
    scan.write_bytes(b"a scan")
    (tmp_path / "anna.nii.gz").write_bytes(b"another")
    words = ["--input", tmp_path / "anna.nii.gz", scan, "--output", tmp_path / "out"]
    assert script.main([str(word) for word in words]) == 4
    assert "already exists" in capsys.readouterr().err
    assert scan.read_bytes() == b"a scan"


@pytest.mark.parametrize(("words", "tta"), [([], None), (["--tta"], True), (["--no-tta"], False)])
def test_time_augmentation_has_three_states(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], tta: bool | None
) -> None:
    (tmp_path / "anna.nii.gz").write_bytes(b"a scan")
    asked = []

    def run(request: Any, folder: Path, **_: Any) -> Any:
        asked.append(request.tta)
        return script.job.Finished(folder, {"warnings": []})

    monkeypatch.setattr(script.job, "run", run)
    assert script.main(["--input", str(tmp_path / "anna.nii.gz"), "--output", str(tmp_path / "out"), *words]) == 0
    assert asked == [tta]
