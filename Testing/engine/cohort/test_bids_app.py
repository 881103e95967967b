"""The BIDS App: derivatives of a data set, and the table of all scans."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

import nibabel
import numpy as np
import pytest
from Testing.engine.cohort.test_bids import make_image

from asa import cli
from asa.cohort import bids_app
from asa.errors import InputError, OutputError
from asa.tasks import TISSUE, WMH

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(fake: ModuleType, no_segmentation_file: None, command: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "200")
    return partial(command, "bids")


def head(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.random.default_rng(seed).uniform(1, 100, (24, 28, 16)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(data, np.diag([-6.0, 6.0, 9.0, 1.0])), path)
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    head(root / "sub-01/anat/sub-01_T1w.nii.gz")
    head(root / "sub-02/ses-a/anat/sub-02_ses-a_run-1_T1w.nii.gz", 1)
    head(root / "sub-02/ses-a/anat/sub-02_ses-a_run-2_T1w.nii.gz", 2)
    (root / "dataset_description.json").write_text('{"Name": "Heads", "BIDSVersion": "1.10.0"}')
    return root


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_participants_and_group(run: Run, tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "derivatives"
    code, said, err = run(tree, out, "participant", "--probseg", "--mni")
    assert code == 0, err
    assert "sub-02_ses-a: of 2 T1 images sub-02_ses-a_run-2_T1w.nii.gz is taken (the last run)." in err
    assert "2 of 2: A warning of the engine." in said
    anat = out / "sub-02" / "ses-a" / "anat"
    stem = "sub-02_ses-a"
    assert names(anat) >= {f"{stem}_dseg.nii.gz", f"{stem}_dseg.json", f"{stem}_desc-brain_mask.nii.gz"}
    assert {f"{stem}_label-GM_probseg.nii.gz", f"{stem}_label-sulcalCSF_probseg.nii.gz"} <= names(anat)
    space = f"{stem}_space-MNI152NLin2009aSym"
    assert {f"{space}_T1w.nii.gz", f"{space}_dseg.nii.gz"} <= names(anat)
    assert f"{stem}_from-T1w_to-MNI152NLin2009aSym_mode-image_xfm.tfm" in names(anat)
    sidecar = json.loads((anat / f"{stem}_dseg.json").read_text())
    assert sidecar["Sources"] == ["bids:raw:sub-02/ses-a/anat/sub-02_ses-a_run-2_T1w.nii.gz"]
    description = json.loads((out / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative" and description["GeneratedBy"][0]["Name"] == "ASA"
    assert (out / description["DatasetLinks"]["raw"]).resolve() == tree.resolve()
    assert (out / "dseg.tsv").read_text().splitlines()[0].split("\t") == ["index", "name", "abbreviation", "color"]
    scan = nibabel.load(tree / "sub-01/anat/sub-01_T1w.nii.gz")
    for name in ("dseg", "desc-brain_mask", "label-GM_probseg"):
        placed = nibabel.load(out / f"sub-01/anat/sub-01_{name}.nii.gz")
        assert placed.shape == scan.shape
        np.testing.assert_allclose(placed.affine, scan.affine, atol=1e-5)

    code, _, err = run(tree, out, "group")
    assert code == 0, err
    with (out / "group_tissue.tsv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    assert [(row["participant_id"], row["session_id"]) for row in rows] == [("sub-01", "n/a"), ("sub-02", "ses-a")]
    assert rows[0]["trust"] == "doubtful" and rows[0]["reasons"] == "A warning of the engine."
    volumes = json.loads((out / "asa/sub-01/volumes.json").read_text())["volumes"]
    grey = next(row for row in volumes if row["name"] == "GM")
    assert float(rows[0]["GM_ml"]) == grey["volume_ml"]
    assert float(rows[0]["GM_asymmetry_percent"]) == grey["asymmetry_percent"]
    whole = sum(row["volume_ml"] for row in volumes if row["kind"] == "label")
    assert float(rows[0]["intracranial_ml"]) == pytest.approx(whole, abs=1e-3)
    assert float(rows[0]["GM_intracranial_percent"]) == pytest.approx(100 * grey["volume_ml"] / whole, abs=0.01)
    assert set(json.loads((out / "group_tissue.json").read_text())) == set(rows[0])


def test_an_interrupted_run_is_completed(run: Run, tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "derivatives"
    assert run(tree, out, "participant", "--participant-label", "sub-01")[0] == 0
    assert not (out / "sub-02").exists()
    before = (out / "asa/sub-01/report.json").stat().st_mtime_ns
    for name in ("sub-01_dseg.nii.gz", "sub-01_dseg.json"):  # as if it had been killed while it placed them
        (out / "sub-01/anat" / name).unlink()
    code, said, err = run(tree, out, "participant", "--participant_label", "01", "02")
    assert code == 0 and "sub-01: existing result kept" in err, said + err
    assert (out / "sub-01/anat/sub-01_dseg.nii.gz").is_file() and (out / "sub-02/ses-a/anat").is_dir()
    assert (out / "asa/sub-01/report.json").stat().st_mtime_ns == before
    (out / "sub-01/anat/sub-01_desc-brain_mask.nii.gz").unlink()
    assert run(tree, out, "participant")[0] == 0
    assert (out / "sub-01/anat/sub-01_desc-brain_mask.nii.gz").is_file()


@pytest.mark.skipif(os.name != "posix", reason="processes are killed by SIGKILL")
def test_a_killed_run_is_continued(run: Run, tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "derivatives"
    fake = Path(__file__).parents[1] / "fake_engine.py"
    environment = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2]), "FAKE_DELAY": "20"}
    command = [sys.executable, str(fake), "cli", "bids", str(tree), str(out), "participant"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not (out / "asa/sub-02_ses-a/.asa-lock").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.kill()
    process.wait()
    assert (out / "sub-01/anat/sub-01_dseg.nii.gz").is_file() and not (out / "sub-02").exists()
    code, _, err = run(tree, out, "participant")
    assert code == 0 and "sub-01: existing result kept" in err and "sub-02_ses-a: done" in err
    assert (out / "sub-02/ses-a/anat/sub-02_ses-a_dseg.nii.gz").is_file()
    assert not list(out.rglob("*.asa-partial")) and not list(out.rglob("*.asa-lock"))


def test_what_is_wrong_with_a_data_set_is_said_and_the_rest_goes_on(run: Run, tree: Path, tmp_path: Path) -> None:
    (tree / "dataset_description.json").write_text("{ no JSON")
    (tree / "sub-01/anat/sub-01_T1w.json").write_text("[1, 2")
    broken = tree / "sub-03/anat/sub-03_T1w.nii.gz"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"no image")
    head(tree / "sub-04/anat/sub-04_t1W.nii.gz")
    out = tmp_path / "derivatives"
    code, said, err = run(tree, out, "participant")
    assert code == 1 and "1 of 3 sessions failed" in err
    assert f"{tree / 'dataset_description.json'} is not valid JSON" in err
    assert "sub-01_T1w.json is not valid JSON and was not used." in err
    assert f"{Path('sub-04/anat/sub-04_t1W.nii.gz')} was not used: BIDS writes T1w, not t1W." in err
    assert "images that the model needs are missing: sub-04." in err
    assert "(sub-03): Failed: " in said and not (out / "sub-03").exists()
    assert (out / "sub-01/anat/sub-01_dseg.nii.gz").is_file()


def test_wrong_calls(run: Run, tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for arguments, code, said in (
        ((tree, out, "participant", "--participant-label", "07"), 3, "participant 07 does not exist in"),
        ((tree, out, "participant", "--session-label", "b"), 3, "session b does not exist"),
        ((tree, out, "subject"), 3, "'subject' is not a level of analysis"),
        ((tree, out, "participant", "02"), 3, "'02' is an unexpected argument"),
        ((tree, out, "group"), 3, "run the participant level first"),
        ((tree / "nowhere", out, "participant"), 3, "nowhere does not exist"),
        ((tree / "sub-01" / "anat", out, "participant"), 3, "is not a BIDS data set"),
        ((tree, tree, "participant"), 4, "would be written into the data set"),
    ):
        left, _, err = run(*arguments)
        assert (left, said in err) == (code, True), err
    assert not out.exists()


def test_another_data_set_or_task_is_never_mixed_in(tree: Path, tmp_path: Path) -> None:
    bids_app.begin(tmp_path / "out", tree, TISSUE)
    bids_app.begin(tmp_path / "out", tree, TISSUE)
    with pytest.raises(OutputError, match="holds derivatives of the task 'tissue'"):
        bids_app.begin(tmp_path / "out", tree, WMH)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "dataset_description.json").write_text('{"GeneratedBy": [{"Name": "fMRIPrep"}]}')
    with pytest.raises(OutputError, match="a data set that ASA did not write"):
        bids_app.begin(tmp_path / "other", tree, TISSUE)


def test_derivatives_on_another_drive_link_to_the_data_set(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def relative(path: Path, start: Path) -> str:
        raise ValueError("path is on mount 'C:', start on mount 'D:'")  # as on Windows

    monkeypatch.setattr(bids_app.os.path, "relpath", relative)
    bids_app.begin(tmp_path / "out", tree, TISSUE)
    links = json.loads((tmp_path / "out" / "dataset_description.json").read_text())["DatasetLinks"]
    assert links == {"raw": tree.resolve().as_uri()}


def test_a_participant_without_the_image_needed(tree: Path) -> None:
    make_image(tree / "sub-05/anat/sub-05_T2w.nii.gz")
    from asa.cohort.batch import find_cases

    cases = find_cases([tree], TISSUE.modalities)
    with pytest.raises(InputError, match="participant 05 has no image that the model needs"):
        bids_app.select(cases, ["05"], [], tree)


def test_the_transform_is_an_itk_transform(tmp_path: Path) -> None:
    SimpleITK = pytest.importorskip("SimpleITK")
    matrix = np.array([[1.1, 0.02, 0, 3], [0, 0.9, 0.1, -4], [0.03, 0, 1, 5], [0, 0, 0, 1]])
    path = tmp_path / "x.tfm"
    path.write_text(bids_app.itk_transform(matrix))
    moved = SimpleITK.ReadTransform(str(path)).TransformPoint((-10.0, -20.0, 30.0))  # R 10, A 20, S 30 in LPS
    np.testing.assert_allclose(np.array(moved) * (-1, -1, 1), (matrix @ (10, 20, 30, 1))[:3], atol=1e-6)


@pytest.mark.skipif(shutil.which("bids-validator-deno") is None, reason="needs: pip install bids-validator-deno")
def test_the_validator_has_no_error(run: Run, tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "derivatives"
    assert run(tree, out, "participant", "--probseg", "--mni")[0] == 0
    assert run(tree, out, "group")[0] == 0
    command = ["bids-validator-deno", str(out), "--format", "json"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env={**os.environ, "NO_COLOR": "1"})
    issues = json.loads(done.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == [], done.stdout
