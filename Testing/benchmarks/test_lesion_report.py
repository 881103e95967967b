"""The tables of the lesion models."""

from __future__ import annotations

import json
from pathlib import Path

from Testing.benchmarks.heads import REPOSITORY
from Testing.benchmarks.lesions import report
from Testing.benchmarks.lesions.scoring import find_ms, read_folds, subsets


def record(case: str, modalities: list[str], wt: float, et_ml: float, fold: int = 0) -> dict[str, object]:
    region = {"dice": wt, "volume_ml": 9.0, "reference_ml": 10.0, "hd95_mm": 3.0}
    enhancing = {"dice": 0.0, "volume_ml": 0.5, "reference_ml": et_ml, "hd95_mm": 1.0}
    regions = {"WT": region, "TC": region, "ET": enhancing}
    return {"case": case, "modalities": modalities, "seconds": 1.0, "fold": fold, "regions": regions}


def test_every_subset_is_measured_once_the_largest_first():
    found = subsets(("t1", "t1gd", "t2", "flair"))
    assert len(found) == len(set(found)) == 15
    assert found[0] == ("t1", "t1gd", "t2", "flair") and len(found[-1]) == 1


def test_a_region_that_a_case_does_not_have_is_left_out_of_its_mean(tmp_path: Path):
    full = ["t1", "t1gd", "t2", "flair"]
    records = [record("a", full, 0.8, 0.0), record("b", full, 0.6, 2.0, 1), record("a", ["flair"], 0.5, 0.0)]
    text = report.write(records, tmp_path, "tumour")
    assert (tmp_path / "tumour.md").read_text(encoding="utf-8") == text
    assert "| T1 + T1Gd + T2 + FLAIR | 0.700 | 0.700 | 0.000 |" in text  # ET of case b alone
    assert text.index("| T1 + T1Gd") < text.index("| FLAIR |")
    assert "| a (fold 0) | 0.800 | 9.0 / 10.0 | 0.800 | 9.0 / 10.0 | none there | 0.5 / 0.0 | 3.0 |" in text


def test_folds_test_each_case_once_and_never_train_on_it():
    for task, count in (("tumour", 6), ("wmh", 2)):
        path = REPOSITORY / "Resources" / "Configs" / f"{task}_folds.json"
        tested = [name for names in read_folds(path) for name in names]
        assert len(tested) == len(set(tested)) == count
        for fold in json.loads(path.read_text(encoding="utf-8"))["folds"]:
            assert not set(fold["train"]) & set(fold["test"])
            assert sorted(fold["train"] + fold["test"]) == sorted(tested)


def test_patients_of_the_ms_data_are_found(tmp_path: Path):
    (tmp_path / "patient07").mkdir()
    (case,) = find_ms(tmp_path)
    assert case.labels == tmp_path / "patient07" / "patient07_lesions.nii.gz"
    assert set(case.images) == {"t1", "flair"}
