"""The command line as a user meets it: help, one head, many heads, and what goes wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import nibabel
import numpy as np
import pytest

from asa import __version__, cli
from asa.cli.models import _scores
from asa.cohort.batch import find_cases
from asa.errors import InputError
from asa.tasks import TISSUE

FAKE = Path(__file__).parents[1] / "fake_engine.py"
ENGINE = Path(cli.__file__).parents[2]

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(fake: ModuleType, no_segmentation_file: None, command: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "200")
    return command


def make_image(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.random.default_rng(seed).uniform(1, 100, (24, 28, 16)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(data, np.diag([-6.0, 6.0, 9.0, 1.0])), path)
    return path


def test_help_lists_the_commands(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    assert "segment" in out and "models" in out
    code, out, _ = run("segment", "--help")
    assert code == 0
    options = ("--t1gd", "--flair", "--reference", "--tta", "--device", "--posterior", "--overwrite")
    assert all(option in out for option in options)


def test_version(run: Run) -> None:
    assert run("--version") == (0, f"asa {__version__}\n", "")


def test_a_missing_file_that_the_model_would_not_look_at(run: Run, tmp_path: Path) -> None:
    image = make_image(tmp_path / "head.nii.gz")
    code, _, err = run("segment", "--t1", image, "--flair", tmp_path / "flari.nii", "-o", tmp_path / "out")
    assert code == 3 and "flari.nii does not exist" in err
    assert not (tmp_path / "out").exists()


def test_models(run: Run) -> None:
    code, out, err = run("models")
    assert code == 0, err
    assert out.splitlines()[0].startswith("fake 1 (tissue, ")
    assert "Inputs: t1" in out and "heads: GM 0.91, WM 0.93" in out


def test_scores_are_rounded_as_a_reader_of_the_card_does() -> None:
    assert _scores({"heads": {"WT": 0.835, "TC": 0.475, "ET": 0.4}}) == ["heads: WT 0.84, TC 0.48, ET 0.40"]
    assert _scores({"heads": {"WT": 0.8348, "TC": 0.4747}}) == ["heads: WT 0.83, TC 0.47"]


def test_help_is_quick_to_import() -> None:
    code = "import sys, asa.cli; asa.cli.build(); sys.exit(bool({'torch', 'nibabel', 'scipy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ENGINE, check=False).returncode == 0


def test_one_head_goes_straight_into_the_output(run: Run, tmp_path: Path) -> None:
    image = make_image(tmp_path / "head.nii.gz")
    code, out, err = run("segment", image, "-o", tmp_path / "out")
    assert code == 0, err
    assert (tmp_path / "out" / "report.json").is_file() and (tmp_path / "out" / "overlay.png").is_file()
    assert out.splitlines()[-1] == f"Results: {tmp_path / 'out'}"
    assert "A warning of the engine." in err and "slicer-core" in err


def test_one_head_by_modality(run: Run, tmp_path: Path) -> None:
    image = make_image(tmp_path / "head.nii.gz")
    code, _, err = run("segment", "--t1", image, "-o", tmp_path / "out")
    assert code == 0, err
    assert list(json.loads((tmp_path / "out" / "report.json").read_text())["inputs"]) == ["t1"]


def test_a_batch_skips_goes_on_and_sums_up(run: Run, tmp_path: Path) -> None:
    images = [make_image(tmp_path / f"head{i}.nii.gz", i) for i in range(3)]
    (tmp_path / "broken.nii.gz").write_bytes(b"not an image")
    out = tmp_path / "out"
    assert run("segment", images[0], images[1], "-o", out)[0] == 0
    code, table, err = run("segment", *images, tmp_path / "broken.nii.gz", "-o", out)
    assert code == 1
    assert "3 of 4 segmented" in table
    assert {path.name for path in out.iterdir()} == {"head0", "head1", "head2", "summary.json", "volumes.tsv"}
    cases = json.loads((out / "summary.json").read_text())["cases"]
    assert [case["status"] for case in cases] == ["reused", "reused", "done", "failed"]
    assert cases[3]["exit_code"] == InputError.exit_code and "broken" in cases[3]["error"]
    assert "1 of 4 cases failed" in err and "Traceback" not in err


def test_a_log_of_80_columns_names_every_head(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    names = [f"subject-0000{number}_ses-baseline_acq-mprage_T1w" for number in range(2)]
    for name in names:
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"{name}.nii.gz").write_bytes(b"no image")
    _, table, err = run("segment", tmp_path / "in", "-o", tmp_path / "out")
    rows = [line.split("│") for line in table.splitlines() if line.startswith("│")]
    assert "".join(row[1].strip() for row in rows) == "".join(names)
    told = [line for line in err.splitlines() if line.startswith("subject-")]
    assert len(told) == 2 and all("is damaged" in line and line.endswith(" s)") for line in told)


def test_an_unexpected_failure_of_one_head_does_not_end_the_batch(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake: ModuleType
) -> None:
    images = [make_image(tmp_path / f"head{i}.nii.gz", i) for i in range(2)]

    def sometimes(request: object, progress: object = None) -> object:
        if "head0" in str(vars(request)):
            raise ZeroDivisionError("nobody expects it")
        return fake.segment(request)

    monkeypatch.setattr(sys.modules["asa.inference"], "segment", sometimes)
    code, _, _ = run("segment", *images, "-o", tmp_path / "out")
    assert code == 1
    cases = json.loads((tmp_path / "out" / "summary.json").read_text())["cases"]
    assert [case["status"] for case in cases] == ["failed", "done"]
    assert "nobody expects it" in cases[0]["error"]


def test_a_folder_of_images(run: Run, tmp_path: Path) -> None:
    make_image(tmp_path / "in" / "a.nii.gz")
    make_image(tmp_path / "in" / "b.nii")
    (tmp_path / "in" / "notes.txt").write_text("no image")
    assert run("segment", tmp_path / "in", "-o", tmp_path / "out")[0] == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a", "b", "summary.json", "volumes.tsv"}


def test_omitted_subjects_are_listed(run: Run, tmp_path: Path) -> None:
    for name in ("sub-01/anat/sub-01_T1w", "sub-03/anat/sub-03_FLAIR", "sub-02/ses-3/anat/sub-02_ses-3_T2w"):
        make_image(tmp_path / "in" / f"{name}.nii.gz")
    code, _, err = run("segment", tmp_path / "in", "-o", tmp_path / "out")
    assert code == 0, err
    assert f"missing: {Path('sub-02/ses-3')}, sub-03." in err


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege")
def test_a_dangling_link_is_a_failed_head(run: Run, tmp_path: Path) -> None:
    make_image(tmp_path / "in" / "there.nii.gz")
    (tmp_path / "in" / "not_fetched.nii.gz").symlink_to("../annex/not_fetched.nii.gz")
    code, table, err = run("segment", tmp_path / "in", "-o", tmp_path / "out")
    assert code == 1 and "1 of 2 segmented" in table
    assert "not_fetched: failed" in err


def test_a_bids_folder_is_segmented_and_the_choice_of_images_is_said(run: Run, tmp_path: Path) -> None:
    for name in ("sub-02_ses-2_run-1_T1w", "sub-02_ses-2_run-2_T1w"):
        make_image(tmp_path / "in/sub-02/ses-2/anat" / f"{name}.nii.gz")
    code, _, err = run("segment", tmp_path / "in", "-o", tmp_path / "out")
    assert code == 0, err
    assert "sub-02_ses-2: of 2 T1 images sub-02_ses-2_run-2_T1w.nii.gz is taken (the last run)." in err
    assert (tmp_path / "out" / "sub-02_ses-2" / "report.json").is_file()
    (row,) = json.loads((tmp_path / "out" / "summary.json").read_text())["cases"]
    assert row["images"] == {"t1": "sub-02_ses-2_run-2_T1w.nii.gz"}


def test_each_warning_of_a_batch_is_printed_once_and_counted(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    images = [make_image(tmp_path / f"head{i}.nii.gz", i) for i in range(4)]
    (tmp_path / "broken.nii.gz").write_bytes(b"not an image")
    code, out, err = run("segment", *images, tmp_path / "broken.nii.gz", "-o", tmp_path / "out")
    assert code == 1 and max(map(len, out.splitlines()[:-1])) <= 80
    assert (out + err).count("A warning of the engine.") == 1
    assert "4 of 5: A warning of the engine." in out and "1 of 5 (broken): Failed: " in out


def test_equal_names_become_distinct(tmp_path: Path) -> None:
    paths = [make_image(tmp_path / folder / "T1.nii.gz") for folder in ("anna", "bert")]
    names = [case.name for case in find_cases([*paths, paths[0]], TISSUE.modalities)]
    assert names == ["anna_T1", "bert_T1", "anna_T1_2"]


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["segment", "-o", "out"], 3, "Give at least one image"),
        (["segment", "missing.nii.gz", "-o", "out"], 3, "The image missing.nii.gz does not exist."),
        (["segment", ".", "-o", "out"], 3, "contains no T1 image"),
        (["segment", "x.nii", "--t1", "y.nii", "-o", "out"], 3, "not both"),
        (["segment", "--t1", "y.nii", "-o", "out"], 3, "y.nii does not exist"),
        (["segment", "x.nii"], 2, "--output"),
        (["segment", "x.nii", "-o", "out", "--task", "liver"], 2, "'liver' is not one of tissue, tumour, wmh"),
        (["segmnt"], 2, "segment"),
    ],
    ids=["nothing", "missing", "empty folder", "both ways", "missing modality file", "no output", "task", "command"],
)
def test_mistakes_are_one_sentence(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    found, _, err = run(*arguments)
    assert found == code
    assert sentence in err and "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [("segment", "x.nii"), ("evaluate", "a.nii", "b.nii"), ("prepare", "finetune", "--data", "."), ("export", "run")],
    ids=lambda words: words[0],
)
@pytest.mark.parametrize("name", ["result.nii.gz", "Result.NII", "a.seg.nrrd", "table.csv", "report.json", ".nii"])
def test_an_output_named_like_a_file_is_refused(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    make_image(tmp_path / "x.nii")
    code, _, err = run(*words, "-o", tmp_path / name)
    assert code == 4 and "names a folder" in err and len(err.splitlines()) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"x.nii"}


def test_an_output_folder_that_exists_may_be_called_anything(run: Run, tmp_path: Path) -> None:
    (tmp_path / "old.nii.gz").mkdir()
    assert run("segment", make_image(tmp_path / "x.nii"), "-o", tmp_path / "old.nii.gz")[0] == 0


def test_debug_shows_the_traceback(run: Run, tmp_path: Path) -> None:
    (tmp_path / "x.nii.gz").write_bytes(b"no image")
    _, _, quiet = run("segment", tmp_path / "x.nii.gz", "-o", tmp_path / "out")
    _, _, loud = run("segment", tmp_path / "x.nii.gz", "-o", tmp_path / "out", "--debug")
    assert "Traceback" not in quiet and "Traceback" in loud
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process without asking it")
def test_ctrl_c_leaves_no_file_and_130(tmp_path: Path) -> None:
    image = make_image(tmp_path / "head.nii.gz")
    process = subprocess.Popen(
        [sys.executable, str(FAKE), "cli", "segment", str(image), "-o", str(tmp_path / "out")],
        # unbuffered: the sign to interrupt it must not come when it ends
        env={**os.environ, "PYTHONPATH": str(ENGINE), "FAKE_DELAY": "60", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
    )
    assert process.stdout is not None
    while "a library that prints" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "Cancelled" in err and "Traceback" not in err
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="needs a file size limit")
def test_a_full_disk_is_exit_code_4(tmp_path: Path) -> None:
    image = make_image(tmp_path / "head.nii.gz")
    command = [sys.executable, str(FAKE), "cli", "segment", str(image), "-o", str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONPATH": str(ENGINE), "FAKE_FILE_LIMIT": "1000"}
    done = subprocess.run(
        command, env=environment, capture_output=True, encoding="utf-8", errors="replace", check=False
    )
    assert done.returncode == 4
    assert done.stderr.splitlines()[-1].startswith("Error: Cannot write")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("words", "code"), [(["models"], 0), (["segment", "nowhere.nii", "-o", "out"], 3)])
def test_a_process_of_a_group_ends_before_python_goes_down(tmp_path, words, code):
    """What still lives then, as threads of gloo may, must not abort a process whose work is done."""
    program = (
        "import atexit, os, torch.distributed\n"
        "from asa.cli import main\n"
        "class Late:\n"
        "    def __del__(self): os.abort()\n"
        "late = Late()\n"
        "atexit.register(print, 'tidied')\n"
        f"main({words!r})\n"
    )
    environment = {**os.environ, "WORLD_SIZE": "2", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )
    assert done.returncode == code, done.stderr
    assert done.stdout.endswith("tidied\n")
