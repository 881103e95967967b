"""The table that sets a model beside the one before."""

from __future__ import annotations

from pathlib import Path

import pytest
from Testing.benchmarks.models.scores import read_cases
from Testing.benchmarks.models.scores_report import lesion_f1, table

FULL = ["t1", "t1gd", "t2", "flair"]


def record(
    system: str, case: str, dice: float, et_ml: float = 5.0, given: list[str] | None = None
) -> dict[str, object]:
    region = {"dice": dice, "volume_ml": 9.0, "reference_ml": 10.0}
    enhancing = {"dice": 0.2, "volume_ml": 0.5, "reference_ml": et_ml}
    regions = {"WT": region, "TC": region, "ET": enhancing}
    return {
        "system": system,
        "case": case,
        "given": FULL,
        "seconds": 10.0,
        "doubts": [],
        "regions": regions,
    }


def test_gains_are_paired_by_case():
    records = [record("new", "a", 0.9), record("new", "b", 0.8), record("old", "b", 0.6), record("old", "a", 0.5)]
    text = table(records, "tumour", "test")
    assert "| T1 + T1Gd + T2 + FLAIR | WT Dice | 2 | 0.850 | 0.550 | +0.300 (+0.200 to +0.400) |" in text


def test_a_case_that_one_system_has_not_seen_is_not_compared():
    text = table([record("new", "a", 0.9), record("new", "b", 0.1), record("old", "a", 0.5)], "tumour", "test")
    assert "| WT Dice | 1 | 0.900 | 0.500 |" in text


def test_small_enhancing_tumours_have_no_mean_and_refused_cases_count_as_0():
    refused = {"system": "new", "case": "c", "given": FULL, "error": "The FLAIR image is empty."}
    text = table([record("new", "a", 0.8, 0.5), record("new", "b", 0.8), refused], "tumour", "test")
    assert "| ET Dice | 2 | 0.100 |" in text  # b and c
    assert "| WT Dice | 3 | 0.533 |" in text
    assert "| c | T1 + T1Gd + T2 + FLAIR | new | refused |" in text


def test_lesions_are_counted():
    assert lesion_f1({"lesions": 4, "lesions_missed": 1, "lesion_false_positives": 2}) == pytest.approx(6 / 9)
    assert lesion_f1({"lesions": 0, "lesions_missed": 0, "lesion_false_positives": 0}) == 1


def test_cases_come_from_the_table_in_the_order_of_the_split(tmp_path: Path):
    path = tmp_path / "cases.csv"
    path.write_text("case,subject,t1,t1gd,t2,flair,labels\na,a,,,,f.nii,l.nii\nb,b,t.nii,,,f.nii,m.nii\n")
    found = list(read_cases(path, ["b", "a"], "wmh"))
    assert [case[0] for case in found] == ["b", "a"]
    assert found[1][1] == {"flair": Path("f.nii")}
    with pytest.raises(SystemExit, match="has no case c"):
        list(read_cases(path, ["c"], "wmh"))
