"""The picture: right is left, up is up, and a millimetre is as long downwards as across."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from asa.geometry import Alignment
from asa.report import measure, write_overlay
from asa.report.overlay import _ALERT, informative_centre
from asa.tasks import TISSUE, TUMOUR, Task
from asa.volume import Volume, read_volume


def head(tmp_path: Path, spacing_whd: tuple[float, float, float], where: dict[int, tuple[float, ...]]) -> Volume:
    """Labels in boxes of mm, {value: (left, right, posterior, anterior, inferior, superior)}, in a 160 mm cube."""
    shape = [round(160 / s) for s in spacing_whd]
    affine = np.diag([*spacing_whd, 1.0])
    affine[:3, 3] = [-80 + s / 2 for s in spacing_whd]
    x, y, z = (-80 + (np.arange(n) + 0.5) * s for n, s in zip(shape, spacing_whd, strict=True))
    labels = np.zeros(shape, np.uint8)
    for value, (l, r, p, a, i, s) in where.items():  # noqa: E741
        box = np.ix_((x > l) & (x < r), (y > p) & (y < a), (z > i) & (z < s))
        labels[box] = value
    nibabel.save(nibabel.Nifti1Image(labels, affine), tmp_path / "labels.nii.gz")
    return read_volume(tmp_path / "labels.nii.gz", labels=True)


def draw(tmp_path: Path, labels: Volume, task: Task, warnings: Sequence[str] = ()) -> np.ndarray:
    brain = labels.with_array(np.ones_like(labels.array))
    image = labels.with_array(labels.array.astype(np.float32))
    rows = measure(labels, brain, task, Alignment(np.eye(4), "identity", 1.0, ()))
    write_overlay(tmp_path / "overlay.png", image, labels, brain, task, rows, "model 1", warnings)
    return np.asarray(Image.open(tmp_path / "overlay.png"))


def panel_boxes(picture: np.ndarray, colour: tuple[int, int, int]) -> list[tuple[int, int, int, int]]:
    """Left, right, top, bottom of one colour in the axial, coronal and sagittal panel (legend left out)."""
    hit = (picture == colour).all(axis=2)
    hit[-150:] = False
    third = picture.shape[1] // 3
    boxes = []
    for panel in range(3):
        rows, columns = np.nonzero(hit[:, panel * third : (panel + 1) * third])
        boxes.append((columns.min(), columns.max(), rows.min(), rows.max()) if rows.size else (0, 0, 0, 0))
    return boxes


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.0, 1.0, 4.0), (3.0, 1.0, 1.0)], ids=str)
def test_a_cube_is_drawn_as_a_square(tmp_path: Path, spacing: tuple[float, float, float]) -> None:
    picture = draw(tmp_path, head(tmp_path, spacing, {3: (-24, 24, -24, 24, -24, 24)}), TISSUE)
    assert picture.shape[1] == 1500
    for left, right, top, bottom in panel_boxes(picture, TISSUE.labels[2].colour):
        assert right - left == pytest.approx(bottom - top, rel=0.02)


def test_sides_are_those_of_a_radiologist(tmp_path: Path) -> None:
    # Left, posterior and superior in the head; the box of label 2 keeps the centre where both are seen.
    where = {1: (-60.0, -30.0, -60.0, -30.0, 30.0, 60.0), 2: (-60.0, 60.0, -60.0, 60.0, -60.0, 60.0)}
    labels = head(tmp_path, (2.0, 2.0, 2.0), dict(reversed(where.items())))
    picture = draw(tmp_path, labels, TISSUE)
    corner, whole = (panel_boxes(picture, TISSUE.labels[i].colour) for i in (0, 1))

    def relative(panel: int) -> tuple[float, float]:
        left, right, top, bottom = whole[panel]
        a, b, c, d = corner[panel]
        return (a + b - 2 * left) / 2 / (right - left), (c + d - 2 * top) / 2 / (bottom - top)

    axial, coronal, sagittal = (relative(panel) for panel in range(3))
    assert axial[0] > 0.6 and axial[1] > 0.6  # the head's left on the picture's right, posterior below
    assert coronal[0] > 0.6 and coronal[1] < 0.4  # superior above
    assert sagittal[0] > 0.6 and sagittal[1] < 0.4  # posterior on the right: the face looks left


def test_nested_regions_are_all_drawn(tmp_path: Path) -> None:
    where = {2: (-50.0, 50.0, -50.0, 50.0, -50.0, 50.0), 1: (-30.0, 30.0, -30.0, 30.0, -30.0, 30.0)}
    labels = head(tmp_path, (2.0, 2.0, 2.0), {**where, 3: (-10.0, 10.0, -10.0, 10.0, -10.0, 10.0)})
    picture = draw(tmp_path, labels, TUMOUR)
    for region in TUMOUR.regions:
        assert all(right > left for left, right, _, _ in panel_boxes(picture, region.colour)), region.name


def test_warnings_are_seen_and_do_not_push_anything_off(tmp_path: Path) -> None:
    labels = head(tmp_path, (4.0, 4.0, 4.0), {2: (-60, 60, -60, 60, -60, 60)})

    def height(*warnings: str) -> int:
        picture = draw(tmp_path, labels, TISSUE, warnings)
        orange = (np.abs(picture[..., :3].astype(int) - _ALERT).max(axis=-1) < 40).any(axis=1)
        assert bool(orange.any()) is bool(warnings)
        return picture.shape[0]

    plain, one, long = height(), height("Look at it."), height("The head could not be registered. " * 8)
    assert plain < one < long
    assert height(*["Look at it."] * 30) < plain + 300, "many are cut short"


def test_an_empty_segmentation_is_drawn_too(tmp_path: Path) -> None:
    assert draw(tmp_path, head(tmp_path, (4.0, 4.0, 4.0), {}), TUMOUR).shape[1] == 1500


def test_a_long_thin_field_of_view_keeps_a_readable_page(tmp_path: Path) -> None:
    labels = head(tmp_path, (4.0, 4.0, 4.0), {2: (-60, 60, -60, 60, -60, 60)})
    cut = labels.with_array(labels.array)
    tall = np.zeros_like(cut.array)
    tall[:, 18:22, 18:22] = 2
    picture = draw(tmp_path, labels.with_array(tall), TISSUE)
    assert picture.shape[0] < 1200 and picture.shape[1] == 1500


def test_the_planes_go_through_what_is_rare() -> None:
    labels = np.zeros((30, 40, 50), np.uint8)
    labels[:, :, :] = 2
    labels[7:9, 21:23, 33:35] = 3
    t, h, w = informative_centre(labels)
    assert t in (7, 8) and h in (21, 22) and w in (33, 34)
