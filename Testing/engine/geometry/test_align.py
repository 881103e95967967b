"""Alignment finds a head however it lies, in any contrast, with or without its skull.

The heads are painted from the atlas itself, so the true matrix is known; a few real ones follow.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from Testing.engine.atlas_heads import head, true_matrix

from asa.geometry import FRAME, Alignment, align_to_frame, resample, template_brain, to_frame
from asa.geometry.fit import _regression
from asa.geometry.search import Foreground, estimate, rotation_matrix
from asa.volume import Grid, Volume, read_volume


def error_mm(found: np.ndarray, true: np.ndarray) -> float:
    """Mean distance over the brain between where two matrices put it."""
    points = FRAME.to_world(np.argwhere(template_brain())[::997])
    difference = found - true
    return float(np.linalg.norm(points @ difference[:3, :3].T + difference[:3, 3], axis=1).mean())


@pytest.fixture(scope="module")
def tilted() -> tuple[Volume, Alignment]:
    """A head that several tests look at, and where it was found."""
    scan = head(true_matrix(12, 6, -9))
    return scan, align_to_frame(scan)


@pytest.mark.parametrize(
    ("pitch", "roll", "yaw", "stripped"),
    [(20, 0, 0, False), (30, -15, 15, False), (-20, 0, 0, True), (0, 20, -20, True)],
)
def test_however_the_head_lies(pitch: float, roll: float, yaw: float, stripped: bool) -> None:
    true = true_matrix(pitch, roll, yaw, shear=0.03)
    found = align_to_frame(head(true, stripped=stripped))
    assert found.method == "affine"
    assert error_mm(found.matrix, true) < 0.7
    assert found.quality > 0.7
    assert found.warnings == ()


@pytest.mark.parametrize(("contrast", "stripped"), [("t2", False), ("flair", True)])
def test_any_contrast(contrast: str, stripped: bool) -> None:
    true = true_matrix(10, 5, -8)
    found = align_to_frame(head(true, contrast, stripped=stripped))
    assert found.method == "affine"
    assert error_mm(found.matrix, true) < 0.7


@pytest.mark.parametrize("spacing", [(6, 1.5, 1.5), (1.5, 5, 1.5)])
def test_thick_slices(spacing: tuple[float, ...]) -> None:
    true = true_matrix(8, -4, 5)
    assert error_mm(align_to_frame(head(true, spacing=spacing)).matrix, true) < 1.5


def test_a_bias_field() -> None:
    true = true_matrix(5, 5, 5)
    scan = head(true)
    t, h, w = (np.linspace(-1, 1, n) for n in scan.array.shape)
    bias = np.exp(0.4 * t[:, None, None] - 0.3 * h[:, None] * w + 0.3 * w).astype(np.float32)
    assert error_mm(align_to_frame(scan.with_array(scan.array * bias)).matrix, true) < 1.0


def test_the_origin_does_not_matter(tilted: tuple[Volume, Alignment]) -> None:
    scan, here = tilted
    away = scan.grid.affine.copy()
    away[:3, 3] += (300, -500, 90)
    there = align_to_frame(Volume(scan.array, Grid(scan.grid.shape, away))).matrix
    np.testing.assert_allclose(there[:3, :3], here.matrix[:3, :3], atol=1e-6)
    np.testing.assert_allclose(there[:3, 3] - here.matrix[:3, 3], (300, -500, 90), atol=1e-4)


@pytest.mark.parametrize(("lowest_mm", "missing", "stripped"), [(-60, None, True), (-30, 15, False), (-10, 30, True)])
def test_part_of_the_brain_is_outside(lowest_mm: float, missing: float | None, stripped: bool) -> None:
    """The scan ends at a height of the brain frame; how much is missing is told from a twentieth on."""
    true = true_matrix()
    scan = head(true, stripped=stripped)
    lowest = int(scan.grid.to_index(true[:3] @ (0, -17, lowest_mm, 1))[0])
    affine = scan.grid.affine.copy()
    affine[:3, 3] = scan.grid.to_world((lowest, 0, 0))
    cut = Volume(scan.array[lowest:], Grid((scan.array.shape[0] - lowest, *scan.array.shape[1:]), affine))
    found = align_to_frame(cut)
    assert error_mm(found.matrix, true) < 0.7
    told = [int(percent) for warning in found.warnings for percent in re.findall(r"(\d+)% of the brain", warning)]
    assert told == pytest.approx([] if missing is None else [missing], abs=2)


def test_the_same_scan_gives_the_same_matrix_and_a_mirrored_one_the_mirrored(tilted: tuple[Volume, Alignment]) -> None:
    scan, found = tilted[0], tilted[1].matrix
    np.testing.assert_array_equal(align_to_frame(scan).matrix, found)
    mirror = np.diag([-1.0, 1, 1, 1])
    flip = np.eye(4)
    flip[2, 2], flip[2, 3] = -1, scan.array.shape[2] - 1
    mirrored = Volume(scan.array[:, :, ::-1], Grid(scan.grid.shape, mirror @ scan.grid.affine @ flip))
    assert error_mm(align_to_frame(mirrored).matrix, mirror @ found @ mirror) < 0.05


def test_heads_and_brains_are_told_apart() -> None:
    for stripped in (False, True):
        scan = head(true_matrix(), stripped=stripped)
        assert Foreground.of(scan, None).stripped is stripped
        assert Foreground.of(scan, not stripped).stripped is not stripped, "what the caller knows counts"


def test_what_is_no_head_gets_an_estimate_that_says_so() -> None:
    blobs = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(50, 50, 50)), 2)
    affine = np.eye(4)
    affine[:3, :3] = np.fliplr(np.eye(3)) * 4
    found = align_to_frame(Volume((blobs - blobs.min()).astype(np.float32), Grid((50, 50, 50), affine)))
    assert found.method == "estimate"
    assert "estimated" in found.warnings[0]
    assert np.linalg.det(found.matrix) > 0


@pytest.mark.parametrize(("stripped", "roll", "yaw"), [(False, 12, -9), (True, 0, 0)], ids=["head", "brain"])
def test_the_estimate_finds_the_mid_sagittal_plane(stripped: bool, roll: float, yaw: float) -> None:
    true = true_matrix(0, roll, yaw)
    scan = head(true, stripped=stripped)
    found = estimate(scan, Foreground.of(scan, stripped))
    plane = found[:3, 0] / np.linalg.norm(found[:3, 0])
    expected = true[:3, 0] / np.linalg.norm(true[:3, 0])
    assert np.degrees(np.arccos(plane @ expected)) < 2
    centre = true[:3] @ (0, -17, 5, 1)
    assert abs(plane @ (found[:3] @ (0, -17, 5, 1) - centre)) < 2, "the plane goes through the middle of the brain"
    assert error_mm(found, true) < 25


def test_a_real_brain_fills_the_template(data_root: Path) -> None:
    folder = data_root / "ibsr" / "IBSR_05"
    image, labels = "IBSR_05_ana_strip.nii.gz", "IBSR_05_segTRI_ana.nii.gz"
    scan, truth = read_volume(folder / image), read_volume(folder / labels, labels=True)
    found = align_to_frame(scan)
    assert found.method == "affine"
    brain = to_frame(truth.with_array((truth.array > 0).astype(np.float32)), found).array > 0.5
    template = template_brain()
    assert 2 * (brain & template).sum() / (brain.sum() + template.sum()) > 0.9
    fluid = to_frame(truth.with_array((truth.array == 1).astype(np.float32)), found).array
    ventricles = np.argwhere(fluid > 0.5)
    centre = FRAME.to_world(ventricles.mean(axis=0))
    np.testing.assert_allclose(centre, (0, -25, 12), atol=10)
    assert abs(centre[0]) < 5, "the ventricles, never quite symmetric, lie on both sides of the midline"


@pytest.mark.slow
def test_a_clinical_head_is_found_tilted_too(data_root: Path) -> None:
    """Raw thick slices of a whole head, in three contrasts and turned by 20°."""
    folder = data_root / "whole_head" / "patient12"
    scans = [read_volume(folder / f"patient12_{name}.nii.gz") for name in ("t1w", "t2w", "flair")]
    found = [align_to_frame(scan) for scan in scans]
    for one in found[1:]:
        # The three were not registered: the patient moved a little, the fits may differ a little.
        assert error_mm(one.matrix, found[0].matrix) < 4
    scan, centre = scans[0], scans[0].grid.centre
    tilt = np.eye(4)
    tilt[:3, :3] = rotation_matrix(20, 0, 0)
    tilt[:3, 3] = centre - tilt[:3, :3] @ centre
    tilted = align_to_frame(resample(scan, scan.grid, matrix=np.linalg.inv(tilt)))
    assert error_mm(tilted.matrix, tilt @ found[0].matrix) < 3


def test_where_nothing_is_reached_there_is_no_brightness() -> None:
    design, values = np.eye(4, 3, dtype=np.float32), np.ones(4, np.float32)
    assert np.array_equal(_regression(design, np.zeros(4), values), np.zeros(3))
    np.testing.assert_allclose(_regression(design, np.ones(4), values), np.ones(3), rtol=1e-3)
