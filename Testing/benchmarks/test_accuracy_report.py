"""What the accuracy benchmark counts and writes, on made-up heads."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from Testing.benchmarks.accuracy import report, scoring
from Testing.benchmarks.heads import REFERENCE_REGIONS, Head, find_heads

from asa.volume import Grid, Volume, write_volume


@pytest.fixture
def head(tmp_path) -> Head:
    """A reference of three slabs: CSF, GM, WM, and unlabelled voxels in between."""
    labels = np.zeros((40, 60, 60), dtype=np.uint8)
    labels[5:10], labels[12:22], labels[24:38] = 1, 2, 3
    folder = tmp_path / "malf" / "9000"
    folder.mkdir(parents=True)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])[[2, 1, 0, 3]]
    write_volume(Volume(labels, Grid(labels.shape, affine)), folder / "9000_classified.nii.gz")
    (folder / "9000_SS.nii.gz").touch()
    (found,) = find_heads(tmp_path)
    return found


def test_sulcal_csf_is_no_ventricle(head):
    labels = np.zeros((40, 60, 60), dtype=np.uint8)
    labels[5:10], labels[10:12], labels[12:22], labels[24:38] = 1, 4, 2, 3
    scores = scoring.score(labels, {"CSF": (1,), "GM": (2,), "WM": (3,)}, head)
    assert all(values["dice"] == 1.0 for values in scores["classes"].values())
    merged = scoring.score(labels, {"CSF": (1, 4), "GM": (2,), "WM": (3,)}, head)["classes"]["CSF"]
    # What the reference leaves unlabelled counts in the headline and not "where marked".
    assert merged["dice"] == pytest.approx(2 * 5 / (5 + 7))
    assert merged["dice_marked"] == 1.0
    assert merged["volume_ml"] == pytest.approx(7 * 60 * 60 * 8 / 1000)


def test_absent_heads_are_named(tmp_path, head):
    with pytest.raises(SystemExit, match="9001"):
        find_heads(tmp_path, ["9000", "9001"])
    with pytest.raises(SystemExit, match="ASA_DATA"):
        find_heads(tmp_path / "malf")


def record(dataset: str, name: str, value: float) -> scoring.Record:
    """Scores of one head that all equal ``value``."""
    keys = ("dice", "dice_marked", "hd95_mm", "volume_ml", "reference_ml")
    return {
        "dataset": dataset,
        "head": name,
        "version": "made up 1.0",
        "volumes_ml": {"CSF": 100 * value, "ventricles": 10 * value},
        "classes": {region: dict.fromkeys(keys, value) for region in REFERENCE_REGIONS},
    }


def test_report_has_every_head_and_system(tmp_path):
    names = [("ibsr", "IBSR_01"), ("ibsr", "IBSR_04"), ("malf", "1003"), ("malf", "1023")]
    scores = {
        system: [record(*name, value + 0.01 * i) for i, name in enumerate(names)]
        for system, value in (("ours", 0.9), ("atropos", 0.7), ("hmrf", 0.6))
    }
    text = report.write(scores, tmp_path).read_text(encoding="utf-8")
    assert "| ibsr (2) | **ASA** (ours) | 0.905 |" in text
    assert "| ventricles | 9.20 | 9.30 | 1.08 |" in text  # two scans of one person
    assert "| CSF, manual | 0.92 | 0.93 | 1.08 |" in text
    assert "dipy HMRF | 0.3000" in text
    with (tmp_path / "accuracy.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert {(row["head"], row["system"]) for row in rows} == {(name, system) for _, name in names for system in scores}
    assert float(rows[0]["Dice GM"]) == pytest.approx(0.9)


def test_report_of_one_system_alone(tmp_path):
    text = report.write({"ours": [record("malf", "1000", 0.95)]}, tmp_path, "trial").read_text(encoding="utf-8")
    assert "goal reached" in text
    assert (tmp_path / "trial.csv").is_file()
