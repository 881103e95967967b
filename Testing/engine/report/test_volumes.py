"""Volumes in mL, by side: against numbers worked out by hand."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from asa.geometry import Alignment
from asa.report import Measurement, measure, write_volumes
from asa.tasks import TISSUE
from asa.volume import Volume, read_volume

SHAPE = (20, 24, 30)  # T, H, W
SPACING = (2.0, 1.5, 1.0)


def volume(tmp_path: Path, array: np.ndarray) -> Volume:
    """A (T, H, W) array on a grid whose world origin is the centre of the array."""
    import nibabel

    affine = np.diag([*SPACING[::-1], 1.0])
    affine[:3, 3] = [-(n - 1) / 2 * s for n, s in zip(SHAPE[::-1], SPACING[::-1], strict=True)]
    nibabel.save(nibabel.Nifti1Image(array.transpose(2, 1, 0).astype(np.uint8), affine), tmp_path / "v.nii.gz")
    return read_volume(tmp_path / "v.nii.gz", labels=True)


def rows(labels: Volume, brain: Volume, matrix: np.ndarray | None = None) -> dict[tuple[str, str], Measurement]:
    alignment = Alignment(matrix=np.eye(4) if matrix is None else matrix, method="identity", quality=1.0, warnings=())
    return {(m.kind, m.name): m for m in measure(labels, brain, TISSUE, alignment)}


def test_millilitres_and_shares(tmp_path: Path) -> None:
    array = np.zeros(SHAPE)
    array[2:7, 3:9, 4:9] = 1  # 5 x 6 x 5 voxels of 3 mm³, all left of the middle
    array[10:12, 3:9, 20:30] = 2  # 2 x 6 x 10, all right
    array[14:16, 3:9, 10:20] = 4  # 2 x 6 x 10, half and half
    brain = np.zeros(SHAPE)
    brain[2:18] = 1
    found = rows(volume(tmp_path, array), volume(tmp_path, brain))
    assert found["brain", "brain"].volume_ml == pytest.approx(16 * 24 * 30 * 0.003)
    ventricles = found["label", "ventricles"]
    assert ventricles.volume_ml == pytest.approx(150 * 0.003)
    assert (ventricles.left_ml, ventricles.right_ml) == (pytest.approx(0.45), pytest.approx(0.0))
    assert ventricles.asymmetry_percent == pytest.approx(200.0)
    assert found["label", "GM"].asymmetry_percent == pytest.approx(-200.0)
    assert found["label", "sulcal CSF"].asymmetry_percent == pytest.approx(0.0)
    csf = found["region", "CSF"]
    assert csf.volume_ml == pytest.approx((150 + 120) * 0.003)
    assert csf.percent_of_brain == pytest.approx(100 * 270 / (16 * 24 * 30))
    assert csf.values == (1, 4)
    assert found["label", "WM"].asymmetry_percent is None
    assert found["label", "WM"].volume_ml == 0


def test_a_voxel_on_the_mid_plane_counts_for_both_sides(tmp_path: Path) -> None:
    array = np.zeros(SHAPE)
    array[5, 5, 10:21] = 2  # centres at x = -4.5 … 5.5 mm
    shift = np.eye(4)
    shift[0, 3] = 0.5  # the brain's mid-plane lies at x = 0.5 mm in the scan
    gm = rows(volume(tmp_path, array), volume(tmp_path, array), shift)["label", "GM"]
    assert gm.left_ml == pytest.approx(gm.right_ml)
    assert gm.asymmetry_percent == pytest.approx(0.0)


def test_the_mid_plane_turns_with_the_head(tmp_path: Path) -> None:
    array = np.zeros(SHAPE)
    array[5:15, 14:20, 10:20] = 2  # anterior, centred left-right
    quarter = np.array([[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])  # frame right -> scan anterior
    gm = rows(volume(tmp_path, array), volume(tmp_path, array), quarter)["label", "GM"]
    assert gm.left_ml == pytest.approx(0.0)
    assert gm.right_ml == pytest.approx(gm.volume_ml)


def test_nothing_found_has_no_percentages(tmp_path: Path) -> None:
    empty = volume(tmp_path, np.zeros(SHAPE))
    for measurement in rows(empty, empty).values():
        assert (measurement.volume_ml, measurement.percent_of_brain, measurement.asymmetry_percent) == (0, None, None)


def test_files_hold_the_same_rows(tmp_path: Path) -> None:
    array = np.zeros(SHAPE)
    array[2:7, 3:9, 4:20] = 1
    labels = volume(tmp_path, array)
    measurements = list(rows(labels, labels).values())
    write_volumes(measurements, tmp_path / "volumes.csv", tmp_path / "volumes.json")
    content = json.loads((tmp_path / "volumes.json").read_text())
    assert content["unit"] == "mL"
    with (tmp_path / "volumes.csv").open(newline="") as stream:
        table = list(csv.DictReader(stream))
    assert [row["name"] for row in table] == [row["name"] for row in content["volumes"]]
    assert [float(row["volume_ml"]) for row in table] == [row["volume_ml"] for row in content["volumes"]]
    assert table[[row["name"] for row in table].index("CSF")]["values"] == "1 4"
    assert table[-1]["asymmetry_percent"] == ""
