"""Each lesion has the location, the size and the distances that it was drawn with."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from asa.geometry import FRAME, Alignment, resample
from asa.report import lesions
from asa.report.lesions import Lesion, describe_lesions, write_lesions
from asa.request import SegmentRequest
from asa.tasks import TISSUE
from asa.volume import Grid, Volume

VALUES = {label.name: label.value for label in TISSUE.labels}
IDENTITY = Alignment(np.eye(4), "identity", 1.0)


GRID = Grid((80, 96, 80), FRAME.affine @ np.diag([2.0, 2.0, 2.0, 1.0]))  # of 2 mm


def box(array: np.ndarray, centre: tuple[float, float, float], size: int, value: int = 1) -> None:
    """Set a cube of ``size`` voxels around a point of MNI152 space, RAS mm."""
    t, h, w = np.rint(GRID.to_index(np.array(centre))).astype(int)
    half = size // 2
    array[t - half : t - half + size, h - half : h - half + size, w - half : w - half + size] = value


@pytest.fixture
def drawn() -> tuple[Volume, np.ndarray]:
    """Lesions, and a brain of white matter with ventricles in its middle, cortex above, and a thalamus."""
    tissue = np.full(GRID.shape, VALUES["WM"], np.uint8)
    box(tissue, (0, -10, 20), 10, VALUES["ventricles"])
    box(tissue, (-16, -22, 6), 3, VALUES["GM"])  # thalamus
    box(tissue, (30, -20, 70), 10, VALUES["GM"])  # precentral cortex
    mask = np.zeros(GRID.shape, np.uint8)
    box(mask, (15, -10, 20), 4)  # 2 mm beside the ventricle
    box(mask, (30, -20, 54), 3)  # 4 mm below the cortex
    box(mask, (-20, -30, 4), 2)  # at the thalamus, which is no cortex
    box(mask, (20, -60, -38), 1)  # in the cerebellum
    return Volume(mask, GRID), tissue


def test_locations_and_sizes(drawn: tuple[Volume, np.ndarray]) -> None:
    found = describe_lesions(*drawn, IDENTITY)
    assert [(one.number, one.location, one.volume_ml) for one in found] == [
        (1, "periventricular", 0.512),
        (2, "juxtacortical", 0.216),
        (3, "deep", 0.064),
        (4, "infratentorial", 0.008),
    ]
    assert found[0].ventricle_mm <= lesions.VENTRICLE_MM and found[1].cortex_mm <= lesions.CORTEX_MM
    np.testing.assert_allclose((found[0].mni_x_mm, found[0].mni_y_mm, found[0].mni_z_mm), (15, -10, 20), atol=2.0)


def test_the_alignment_moves_the_centres_and_not_the_sizes(drawn: tuple[Volume, np.ndarray]) -> None:
    moved = np.eye(4)
    moved[:3, 3] = (0, 5, 0)
    before, after = (describe_lesions(*drawn, Alignment(m, "moved", 1.0)) for m in (np.eye(4), moved))
    assert [one.volume_ml for one in before] == [one.volume_ml for one in after]
    assert before[0].mni_y_mm - after[0].mni_y_mm == pytest.approx(5)


def test_without_ventricles_and_cortex_everything_is_deep(drawn: tuple[Volume, np.ndarray]) -> None:
    found = describe_lesions(drawn[0], np.zeros(GRID.shape, np.uint8), IDENTITY)
    assert {one.location for one in found} == {"deep", "infratentorial"}


def test_the_tissue_of_the_head_is_found_in_the_reference(
    drawn: tuple[Volume, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    mask, tissue = drawn
    framed = resample(Volume(tissue, GRID), FRAME, 0).array
    monkeypatch.setattr("asa.inference.stripping.TissueModel", lambda **_: SimpleNamespace(labels=lambda image: framed))
    result: Any = SimpleNamespace(
        labels=mask, image=mask.with_array(mask.array.astype(np.float32)), alignment=IDENTITY, reference="flair"
    )
    result.series = {"flair": {}}
    request = SegmentRequest({"flair": Path("flair.nii")}, task="wmh", also=("lesions",))
    found = lesions.find_lesions(request, result)
    assert [(one.location, one.volume_ml) for one in found] == [
        (one.location, one.volume_ml) for one in describe_lesions(mask, tissue, IDENTITY)
    ]
    result.labels = mask.with_array(np.zeros_like(mask.array))
    assert lesions.find_lesions(request, result) == ()


def test_the_table(tmp_path: Path) -> None:
    write_lesions([Lesion(1, "deep", 0.1234, 9.0, 8.0, 1.0, 2.0, 3.0)], tmp_path / "lesions.csv")
    with (tmp_path / "lesions.csv").open(encoding="utf-8") as stream:
        (row,) = csv.DictReader(stream)
    assert row["location"] == "deep" and row["volume_ml"] == "0.1234"
    write_lesions([], tmp_path / "none.csv")
    assert (tmp_path / "none.csv").read_text(encoding="utf-8").startswith("number,location,volume_ml")
