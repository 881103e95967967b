"""DICOM folders as heads: which series is taken for which modality, what is said, and that nobody is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from Testing.engine import dicom_files
from Testing.engine.dicom_files import NAME, NUMBER, noise, write_series

from asa.cli import main
from asa.cohort import batch
from asa.errors import InputError
from asa.tasks import TASKS, Modality

STUDIES = ("1.2.826.0.1.3680043.8.498.1", "1.2.826.0.1.3680043.8.498.9")


def modalities(*keys: str) -> list[Modality]:
    """Those of all tasks by their keys; the first is required."""
    known = {modality.key: modality for modality in TASKS["tumour"].modalities}
    return [replace(known[key], required=key == keys[0]) for key in keys]


@pytest.fixture
def head(tmp_path: Path) -> Path:
    """A localizer, a T2, two T1s of which the second is finer, a FLAIR, and a screenshot."""
    folder = tmp_path / "head"
    write_series(folder / "1", noise(3), SeriesDescription="localizer", SeriesNumber=1)
    write_series(folder / "2", SeriesDescription="Ax T2 TSE", SeriesNumber=2)
    write_series(folder / "4", SeriesDescription="T1 3D", SeriesNumber=4, positions=[9 * i for i in range(16)])
    write_series(folder / "5", SeriesDescription="Sag T1 MPRAGE", SeriesNumber=5)
    write_series(folder / "6", SeriesDescription="Ax FLAIR", SeriesNumber=6)
    write_series(folder / "7", noise(1), SOPClassUID=dicom_files.CAPTURE, SeriesNumber=7)
    return folder


def found(folder: Path, *keys: str, choices: dict[str, str] | None = None) -> batch.Case:
    (case,) = batch.find_cases([folder], modalities(*keys), choices)
    return case


def test_series_are_matched_by_tags_and_listed(head: Path) -> None:
    case = found(head, "flair", "t1")
    assert {key: path.parent.name for key, path in case.usable_images().items()} == {"flair": "6", "t1": "5"}
    assert case.name == "head" and case.series["t1"] == "DICOM series 5 (Sag T1 MPRAGE)"
    assert case.notes == (
        "1 DICOM series 1 (localizer), 3 slices: has 3 slices, too few for a volume",
        "2 DICOM series 2 (Ax T2 TSE), 16 slices, 6 × 5 × 7 mm: not used (T2)",
        "3 DICOM series 4 (T1 3D), 16 slices, 6 × 5 × 9 mm: not used (T1)",
        "4 DICOM series 5 (Sag T1 MPRAGE), 16 slices, 6 × 5 × 7 mm: T1",
        "5 DICOM series 6 (Ax FLAIR), 16 slices, 6 × 5 × 7 mm: FLAIR",
        "1 DICOM file without an MR image left out",
    )


@pytest.mark.parametrize("which", ["3", "t1 3d", "UID"])
def test_a_series_is_chosen_by_number_text_or_uid(head: Path, which: str) -> None:
    if which == "UID":
        which = str(dicom_files.pydicom.dcmread(next((head / "4").iterdir())).SeriesInstanceUID)
    assert found(head, "t1", choices={"t1": which}).usable_images()["t1"].parent.name == "4"


@pytest.mark.parametrize(
    ("which", "sentence"),
    [
        ("1", "DICOM series 1 (localizer) has 3 slices, too few for a volume."),
        ("T1 ", "names no DICOM volume; there are 2 Ax T2 TSE, 3 T1 3D"),
        ("ax ", "names several DICOM volumes"),
        ("99", "names no DICOM volume"),
    ],
)
def test_a_choice_that_is_none(head: Path, which: str, sentence: str) -> None:
    choice = {"t1": which if which != "T1 " else "T1 w"}
    case = found(head, "t1", choices=choice)
    with pytest.raises(InputError) as error:
        case.usable_images()
    assert sentence in str(error.value)


def test_what_is_missing_is_a_sentence_of_this_head(head: Path) -> None:
    case = found(head, "t1gd")
    assert case.problem == (
        "Among the 4 DICOM volumes none was identified as T1 with contrast agent; "
        "choose with --series: 2 Ax T2 TSE, 3 T1 3D, 4 Sag T1 MPRAGE, 5 Ax FLAIR."
    )


def test_two_examinations_are_not_mixed(head: Path) -> None:
    write_series(head / "8", SeriesDescription="T1 MPRAGE", SeriesNumber=2, StudyInstanceUID=STUDIES[1])
    case = found(head, "t1")
    assert case.problem.startswith("The DICOM files are from 2 examinations that could be used; choose with --series")
    assert found(head, "flair", "t1").usable_images()["t1"].parent.name == "5", "only one has a FLAIR"
    number = next(note.split()[0] for note in case.notes if "(T1 MPRAGE)" in note)
    assert found(head, "t1", choices={"t1": number}).usable_images()["t1"].parent.name == "8"
    mixed = found(head, "flair", "t1", choices={"flair": "FLAIR", "t1": number})
    assert "are from different examinations" in mixed.problem


def test_files_stand_for_their_series(head: Path) -> None:
    files = [*(head / "5").iterdir()]
    (case,) = batch.find_cases(files, modalities("t1"))
    assert case.usable_images()["t1"].parent.name == "5" and case.notes == ()


def test_a_folder_called_after_its_patient_does_not_name_the_result(tmp_path: Path) -> None:
    write_series(tmp_path / "MUELLER ANNA 19700131")
    name = found(tmp_path / "MUELLER ANNA 19700131", "t1").name
    assert name.startswith("head_") and "muel" not in name.lower()


@pytest.mark.parametrize("words", [["x=2"], ["t1=2", "t1=3"], ["t1="], [""]])
def test_choices_that_cannot_be_read(words: list[str]) -> None:
    with pytest.raises(InputError, match="--series takes one series per modality"):
        batch.parse_choices(words, ["t1", "flair"])


def test_a_choice_needs_dicom(tmp_path: Path) -> None:
    (tmp_path / "a.nii").touch()
    with pytest.raises(InputError, match="--series chooses among DICOM series"):
        batch.find_cases([tmp_path / "a.nii"], modalities("t1"), {"t1": "2"})


def run(*words: object, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    said = capsys.readouterr()
    return int(left.value.code or 0), said.out + said.err


def named_in(folder: Path, said: str) -> list[str]:
    """Where the patient of :mod:`Testing.engine.dicom_files` is named."""
    words = [word.lower().encode() for word in (*NAME.split("^"), NUMBER)]
    texts: dict[str, bytes] = {str(p): p.name.encode() + p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    texts["said"] = said.encode()
    return [name for name, text in texts.items() if any(word in text.lower() for word in words)]


def test_the_command_segments_a_folder_and_names_nobody(
    fake: ModuleType, head: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asa.jobs.segment.importlib.util.find_spec", lambda name: None)
    words: list[Any] = ["segment", head, "-o", tmp_path / "out"]
    code, said = run(*words, capsys=capsys)
    assert code == 0 and "head: 4 DICOM series 5 (Sag T1 MPRAGE), 16 slices, 6 × 5 × 7 mm: T1." in said
    assert (tmp_path / "out" / "segmentation.nii.gz").is_file()
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert len(report["inputs"]["t1"]["sha256"]) == 64
    assert named_in(tmp_path / "out", said) == []
    assert "exists" in run(*words, capsys=capsys)[1], "the same slices, the same result"
    code, _ = run("segment", "--t1", head, "--series", "t1=3", "-o", tmp_path / "other", capsys=capsys)
    other = json.loads((tmp_path / "other" / "report.json").read_text(encoding="utf-8"))
    assert code == 0 and other["inputs"]["t1"] != report["inputs"]["t1"]


def test_one_bad_folder_is_one_sentence_and_nothing_is_written(
    fake: ModuleType, head: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    next((head / "5").iterdir()).with_name("IM005").unlink()
    code, said = run("segment", head, "--series", "MPRAGE", "-o", tmp_path / "out", capsys=capsys)
    assert code == 3 and "Error: DICOM series 5 (Sag T1 MPRAGE) lacks slices (14 mm between" in said
    assert not (tmp_path / "out").exists()
