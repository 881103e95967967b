"""The batch script: heads of several kinds with a broken one among them, twice."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from asa.errors import Cancelled

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "Resources" / "Scripts" / "segment_batch.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("segment_batch", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_dicom(folder: Path, description: str, seed: int, patient: str = "A") -> None:
    """A DICOM series of eight slices."""
    sitk = pytest.importorskip("SimpleITK")
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(seed)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    uid = f"1.2.826.0.1.3680043.2.1125.{seed}"
    for number in range(8):
        image = sitk.GetImageFromArray(rng.integers(0, 1000, (16, 16)).astype(np.int16))
        tags = {
            "0008|0060": "MR",
            "0010|0020": patient,
            "0008|103e": description,
            "0020|000d": "1.2.826.0.1.3680043.2.1125.1",
            "0020|000e": uid,
            "0008|0018": f"{uid}.{number + 1}",
            "0020|0013": str(number + 1),
            "0020|0032": f"0\\0\\{number}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
        }
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{seed}_{number}.dcm"))
        writer.Execute(image)


def test_dicom_series_are_told_apart_by_their_tags(script: ModuleType, tmp_path: Path) -> None:
    for seed, description in enumerate(("Ax T2 TSE", "Sag T1 MPRAGE", "Ax FLAIR"), 11):
        write_dicom(tmp_path / "head", description, seed)
    modalities = [modality for modality in script.TASKS["tissue"].modalities if modality.key in ("t1", "t1gd")]
    (case,), series = script.find_cases([tmp_path / "head"], modalities)
    assert case.name == "head"
    images = script.convert("head", series["head"], tmp_path / "out", modalities)
    assert list(images) == ["t1"], "what is optional may be missing"
    import SimpleITK

    expected = np.random.default_rng(12).integers(0, 1000, (16, 16))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(images["t1"])))[0], expected)


def test_a_missing_series_is_a_sentence(script: ModuleType, tmp_path: Path) -> None:
    write_dicom(tmp_path / "head", "Ax T2 TSE", 11)
    modalities = [modality for modality in script.TASKS["tissue"].modalities if modality.key == "t1"]
    with pytest.raises(script.InputError, match="no T1"):
        script.convert("head", script.dicom_series(tmp_path / "head"), tmp_path / "out", modalities)


def test_series_of_two_patients_are_refused(script: ModuleType, tmp_path: Path) -> None:
    write_dicom(tmp_path / "head", "Sag T1 MPRAGE", 11)
    write_dicom(tmp_path / "head", "Ax FLAIR", 12, patient="B")
    modalities = [modality for modality in script.TASKS["tissue"].modalities if modality.key in ("t1", "flair")]
    with pytest.raises(script.InputError, match="are from different patients"):
        script.convert("head", script.dicom_series(tmp_path / "head"), tmp_path / "out", modalities)


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
    for seed, patient in ((11, "anna"), (12, "bert")):
        (tmp_path / patient).mkdir()
        write_dicom(tmp_path / patient / "DICOM", "Sag T1 MPRAGE", seed, patient)
    folders = [tmp_path / patient / "DICOM" for patient in ("anna", "bert")]
    code, asked = run_recorded(script, monkeypatch, ["--input", *folders, "--output", tmp_path / "out"])
    assert code == 0 and list(asked) == ["anna_DICOM", "bert_DICOM"]
    import SimpleITK

    for seed, path in zip((11, 12), asked.values(), strict=True):
        expected = np.random.default_rng(seed).integers(0, 1000, (16, 16))
        found = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))[0]
        np.testing.assert_array_equal(found, expected, path.name)


def test_a_dicom_folder_that_cannot_be_used_costs_no_other(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dicom(tmp_path / "bad", "Ax T2 TSE", 11)
    write_dicom(tmp_path / "good", "Sag T1 MPRAGE", 12)
    words = ["--input", tmp_path / "bad", tmp_path / "good", "--output", tmp_path / "out"]
    code, asked = run_recorded(script, monkeypatch, words)
    assert code == 1 and list(asked) == ["good"]
    cases = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))["cases"]
    assert [case["status"] for case in cases] == ["failed", "done"] and "no T1" in cases[0]["error"]


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
    assert "segment one head" in capsys.readouterr().err


@pytest.mark.parametrize("fault", ["no engine", "a bug", "wrong options"])
@pytest.mark.parametrize("name", ["segment_batch.py", "refine_marks.py"])
def test_slicer_is_not_left_open(name: str, fault: str, tmp_path: Path) -> None:
    """Run as Slicer runs it: its python has an application, which goes on after the script unless told to end."""
    bugs = {
        "segment_batch.py": "import asa.batch; del asa.batch.find_cases",
        "refine_marks.py": "import asa.refine_job; asa.refine_job.refine = None",
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
