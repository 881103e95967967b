"""Alignment finds a head however it lies, in any contrast, with or without its skull.

The heads are painted from the atlas itself, so the true matrix is known; a few real ones follow.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from asa.geometry import FRAME, align_to_frame, resample, template_brain, to_frame
from asa.geometry.atlas import head_atlas
from asa.geometry.search import Foreground, estimate, turn
from asa.volume import Grid, StorageOrder, Volume, read_volume

# Brightness of white matter, grey matter, ventricles, sulcal CSF, bone, soft tissue.
CONTRASTS = {
    "t1": (1.0, 0.65, 0.2, 0.2, 0.1, 0.9),
    "t2": (0.35, 0.5, 1.0, 1.0, 0.05, 0.4),
    "flair": (0.55, 0.75, 0.1, 0.1, 0.05, 0.5),
}


def true_matrix(pitch: float = 0, roll: float = 0, yaw: float = 0, shear: float = 0.0) -> np.ndarray:
    """Frame mm → scan mm of a head of ordinary size."""
    matrix = np.eye(4)
    tilt = np.eye(3)
    tilt[1, 2] = shear
    matrix[:3, :3] = turn(pitch, roll, yaw) @ tilt @ np.diag([0.9, 0.95, 0.86])
    matrix[:3, 3] = (6, -12, 20)
    return matrix


def head(
    matrix: np.ndarray, contrast: str = "t1", *, stripped: bool = False, spacing: tuple[float, ...] = (2, 2, 2)
) -> Volume:
    """A scan (T, H, W) with ``spacing`` mm in which the atlas lies as ``matrix`` (frame mm → scan mm) says."""
    atlas = head_atlas()
    order = StorageOrder.of(atlas.affine)
    weights = np.array(CONTRASTS[contrast])
    if stripped:
        weights[4:] = 0
    painted = np.tensordot(weights, atlas.maps, axes=1).astype(np.float32)
    source = Volume(order.to_array(painted), order.grid(painted.shape, atlas.affine))
    affine = np.eye(4)
    affine[:3, :3] = np.fliplr(np.diag(spacing[::-1]))
    shape = tuple(int(240 / s) for s in spacing)
    affine[:3, 3] = -np.array([120, 130, 110])
    scan = resample(source, Grid(shape, affine), matrix=np.linalg.inv(matrix))
    noise = np.random.default_rng(0).normal(0, 0.02, scan.array.shape)
    return Volume((np.abs(scan.array + noise) * 700).astype(np.float32), scan.grid)


def error_mm(found: np.ndarray, true: np.ndarray) -> float:
    """Mean distance over the brain between where two matrices put it."""
    points = FRAME.to_world(np.argwhere(template_brain())[::997])
    difference = found - true
    return float(np.linalg.norm(points @ difference[:3, :3].T + difference[:3, 3], axis=1).mean())


@pytest.mark.parametrize("stripped", [False, True], ids=["head", "brain"])
@pytest.mark.parametrize(
    ("pitch", "roll", "yaw"), [(0, 0, 0), (20, 0, 0), (-20, 0, 0), (0, 20, 0), (0, 0, -20), (30, -15, 15)]
)
def test_however_the_head_lies(pitch: float, roll: float, yaw: float, stripped: bool) -> None:
    true = true_matrix(pitch, roll, yaw, shear=0.03)
    found = align_to_frame(head(true, stripped=stripped))
    assert found.method == "affine"
    assert error_mm(found.matrix, true) < 0.7
    assert found.quality > 0.7
    assert found.warnings == ()


@pytest.mark.parametrize("contrast", ["t2", "flair"])
@pytest.mark.parametrize("stripped", [False, True], ids=["head", "brain"])
def test_any_contrast(contrast: str, stripped: bool) -> None:
    true = true_matrix(10, 5, -8)
    found = align_to_frame(head(true, contrast, stripped=stripped))
    assert found.method == "affine"
    assert error_mm(found.matrix, true) < 0.7


@pytest.mark.parametrize("spacing", [(6, 1, 1), (1.5, 5, 1.5), (2, 2, 4)])
def test_thick_slices(spacing: tuple[float, ...]) -> None:
    true = true_matrix(8, -4, 5)
    assert error_mm(align_to_frame(head(true, spacing=spacing)).matrix, true) < 1.5


def test_a_bias_field() -> None:
    true = true_matrix(5, 5, 5)
    scan = head(true)
    t, h, w = (np.linspace(-1, 1, n) for n in scan.array.shape)
    bias = np.exp(0.4 * t[:, None, None] - 0.3 * h[:, None] * w + 0.3 * w).astype(np.float32)
    assert error_mm(align_to_frame(scan.with_array(scan.array * bias)).matrix, true) < 1.0


def test_the_origin_does_not_matter() -> None:
    scan = head(true_matrix())
    away = scan.grid.affine.copy()
    away[:3, 3] += (300, -500, 90)
    here, there = align_to_frame(scan).matrix, align_to_frame(Volume(scan.array, Grid(scan.grid.shape, away))).matrix
    np.testing.assert_allclose(there[:3, :3], here[:3, :3], atol=1e-6)
    np.testing.assert_allclose(there[:3, 3] - here[:3, 3], (300, -500, 90), atol=1e-4)


@pytest.mark.parametrize("stripped", [False, True], ids=["head", "brain"])
@pytest.mark.parametrize(("lowest_mm", "missing"), [(-60, None), (-30, 15), (-10, 30)])
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


def test_the_same_scan_gives_the_same_matrix_and_a_mirrored_one_the_mirrored() -> None:
    scan = head(true_matrix(12, 6, -9))
    found = align_to_frame(scan).matrix
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
    blobs = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(80, 80, 80)), 3)
    affine = np.eye(4)
    affine[:3, :3] = np.fliplr(np.eye(3)) * 2.5
    found = align_to_frame(Volume((blobs - blobs.min()).astype(np.float32), Grid((80, 80, 80), affine)))
    assert found.method == "estimate"
    assert "estimated" in found.warnings[0]
    assert np.linalg.det(found.matrix) > 0


@pytest.mark.parametrize(("roll", "yaw"), [(0, 0), (12, -9)])
@pytest.mark.parametrize("stripped", [False, True], ids=["head", "brain"])
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


CASES = (
    ("malf/1000/1000_SS.nii.gz", "malf/1000/1000_classified.nii.gz"),
    ("ibsr/IBSR_05/IBSR_05_ana_strip.nii.gz", "ibsr/IBSR_05/IBSR_05_segTRI_ana.nii.gz"),
)


@pytest.mark.parametrize(("image", "labels"), CASES)
def test_real_brains_fill_the_template(data_root: Path, image: str, labels: str) -> None:
    scan, truth = read_volume(data_root / image), read_volume(data_root / labels, labels=True)
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
    tilt[:3, :3] = turn(20, 0, 0)
    tilt[:3, 3] = centre - tilt[:3, :3] @ centre
    tilted = align_to_frame(resample(scan, scan.grid, matrix=np.linalg.inv(tilt)))
    assert error_mm(tilted.matrix, tilt @ found[0].matrix) < 3
