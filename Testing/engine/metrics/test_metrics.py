"""Dice, HD95 and their relatives against brute force, MONAI, geometry and their own symmetries."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.distance import cdist

from asa.metrics import (
    dice,
    hausdorff95,
    normalised_surface_dice,
    pooled_hausdorff95,
    precision,
    score_case,
    sensitivity,
    volume_error,
)
from asa.metrics import surface as surface_module
from asa.metrics.surface import surface

SPACING = (3.0, 0.9, 1.3)


def brute_surface(mask: np.ndarray) -> np.ndarray:
    """Indices of the surface voxels, by looking at each voxel's neighbours one at a time."""
    found = []
    for index in np.argwhere(mask):
        for axis in range(3):
            for step in (-1, 1):
                other = index.copy()
                other[axis] += step
                if not 0 <= other[axis] < mask.shape[axis] or not mask[tuple(other)]:
                    found.append(tuple(index))
    return np.array(sorted(set(found)))


def brute_distances(a: np.ndarray, b: np.ndarray, spacing: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Directed surface distances from the full matrix of distances."""
    table = cdist(brute_surface(a) * spacing, brute_surface(b) * spacing)
    return table.min(axis=1), table.min(axis=0)


def brute_hausdorff95(a: np.ndarray, b: np.ndarray, spacing: tuple[float, float, float]) -> float:
    return max(np.percentile(distances, 95) for distances in brute_distances(a, b, spacing))


def test_one_small_false_blob_counts_in_the_maximum_and_not_in_the_pooled_distance():
    reference = ball((40, 40, 40), (20, 20, 10), 8)
    prediction = reference | ball((40, 40, 40), (20, 20, 34), 2.5)  # 8 % of its surface, 4 % of both
    assert pooled_hausdorff95(prediction, reference, (1, 1, 1)) == 0
    assert hausdorff95(prediction, reference, (1, 1, 1)) > 15
    scores = score_case(prediction.astype(int), reference.astype(int), {"all": [1]}, (1, 1, 1))["all"]
    assert scores["hd95_pooled_mm"] == 0 < scores["hd95_mm"]


def test_pooled_distance_is_the_percentile_of_both_directions_together():
    generator = np.random.default_rng(0)
    for _ in range(5):
        a, b = (ndimage.gaussian_filter(generator.normal(size=(9, 10, 11)), 1) > 0.1 for _ in range(2))
        expected = np.percentile(np.concatenate(brute_distances(a, b, SPACING)), 95)
        assert pooled_hausdorff95(a, b, SPACING) == pytest.approx(expected)
    empty = np.zeros((8, 9, 10), bool)
    assert pooled_hausdorff95(empty, empty, SPACING) == 0
    assert pooled_hausdorff95(empty, ~empty, SPACING) == pytest.approx(math.hypot(8 * 3.0, 9 * 0.9, 10 * 1.3))


def ball(shape: tuple[int, int, int], centre: tuple[float, float, float], radius: float) -> np.ndarray:
    """Ball in voxels."""
    grid = np.indices(shape).astype(float)
    return sum((axis - c) ** 2 for axis, c in zip(grid, centre, strict=True)) <= radius**2


@st.composite
def mask_pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    """Two non-empty masks, sparse noise to solid blobs, that may touch the border, with an anisotropic spacing."""
    shape = draw(st.tuples(*[st.integers(2, 11)] * 3))
    spacing = draw(st.tuples(*[st.floats(0.3, 8.0)] * 3))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    smooth = draw(st.sampled_from([0.0, 1.0, 2.0]))
    masks = []
    for _ in range(2):
        field = ndimage.gaussian_filter(generator.normal(size=shape), smooth)
        mask = field > np.quantile(field, draw(st.floats(0.02, 0.98)))
        if not mask.any():
            mask.flat[int(generator.integers(mask.size))] = True
        masks.append(mask)
    return masks[0], masks[1], spacing


@settings(max_examples=150, deadline=None)
@given(mask_pairs())
def test_hausdorff_equals_brute_force(pair):
    a, b, spacing = pair
    assert hausdorff95(a, b, spacing) == pytest.approx(brute_hausdorff95(a, b, spacing), abs=1e-6)


@pytest.mark.parametrize("seconds_per_voxel", [0.0, math.inf], ids=["distance transform", "tree"])
def test_both_ways_to_far_distances_are_exact(monkeypatch, seconds_per_voxel):
    monkeypatch.setattr(surface_module, "TRANSFORM_SECONDS_PER_VOXEL", seconds_per_voxel)
    a, b = ball((24, 40, 30), (5, 8, 8), 4), ball((24, 40, 30), (17, 30, 20), 6)
    a[22, 38, 28] = True
    assert hausdorff95(a, b, SPACING) == pytest.approx(brute_hausdorff95(a, b, SPACING), abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(mask_pairs())
def test_surface_dice_equals_brute_force(pair):
    a, b, spacing = pair
    tolerance = 1.01 * min(spacing)
    distances = np.concatenate(brute_distances(a, b, spacing))
    expected = (distances <= tolerance).mean()
    assert normalised_surface_dice(a, b, spacing, tolerance) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(mask_pairs())
def test_symmetry(pair):
    a, b, spacing = pair
    assert dice(a, b) == dice(b, a)
    assert hausdorff95(a, b, spacing) == hausdorff95(b, a, spacing)
    assert normalised_surface_dice(a, b, spacing) == normalised_surface_dice(b, a, spacing)
    assert sensitivity(a, b) == precision(b, a)
    assert volume_error(a, b, spacing) == -volume_error(b, a, spacing)


@settings(max_examples=40, deadline=None)
@given(mask_pairs(), st.tuples(*[st.tuples(st.integers(1, 6), st.integers(1, 6))] * 3))
def test_translation_changes_nothing(pair, margins):
    a, b, spacing = pair
    # One voxel of background first: a surface at the image's border is a surface inside, too.
    here = [np.pad(mask, 1) for mask in (a, b)]
    there = [np.pad(mask, margins) for mask in (a, b)]
    assert hausdorff95(*here, spacing) == hausdorff95(*there, spacing) == hausdorff95(a, b, spacing)
    assert dice(*here) == dice(*there)


@settings(max_examples=25, deadline=None)
@given(mask_pairs(), st.permutations([0, 1, 2]))
def test_order_of_axes_changes_nothing(pair, order):
    a, b, spacing = pair
    turned = hausdorff95(a.transpose(order), b.transpose(order), [spacing[axis] for axis in order])
    assert turned == pytest.approx(hausdorff95(a, b, spacing), abs=1e-9)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@settings(max_examples=60, deadline=None)
@given(mask_pairs())
def test_agrees_with_monai(pair):
    monai = pytest.importorskip("monai.metrics")
    torch = pytest.importorskip("torch")
    a, b, spacing = pair
    tensors = [torch.from_numpy(mask[None, None].astype(np.float32)) for mask in (a, b)]
    theirs = monai.compute_hausdorff_distance(*tensors, include_background=True, percentile=95, spacing=list(spacing))
    # MONAI interpolates between two distances at a position 0.95 (n - 1) that it computes in float32.
    rounding = np.finfo(np.float32).eps * a.size * np.linalg.norm(np.multiply(a.shape, spacing))
    assert hausdorff95(a, b, spacing) == pytest.approx(float(theirs), rel=1e-5, abs=rounding)
    tolerance = 1.01 * min(spacing)
    theirs = monai.compute_surface_dice(*tensors, [tolerance], include_background=True, spacing=list(spacing))
    assert normalised_surface_dice(a, b, spacing, tolerance) == pytest.approx(float(theirs), rel=1e-5)
    assert dice(a, b) == pytest.approx(float(monai.compute_dice(*tensors)), rel=1e-5)


def test_surface_of_a_box_is_its_shell():
    mask = np.zeros((9, 9, 9), dtype=bool)
    mask[2:7, 2:7, 2:7] = True
    expected = mask.copy()
    expected[3:6, 3:6, 3:6] = False
    assert np.array_equal(surface(mask), expected)
    assert np.array_equal(surface(mask[2:7, 2:7, 2:7]), expected[2:7, 2:7, 2:7])


def test_shifted_boxes():
    a = np.zeros((10, 20, 20), dtype=bool)
    b = a.copy()
    a[2:6, 3:13, 3:13] = True
    b[4:8, 3:13, 3:13] = True
    # Two slices of 2.5 mm apart; half of the overlap of four slices remains.
    assert dice(a, b) == 0.5
    assert hausdorff95(a, b, (2.5, 1.0, 1.0)) == pytest.approx(5.0)


def test_surface_dice_does_not_hang_on_the_rounding_of_a_header():
    a = np.zeros((10, 12, 12), dtype=bool)
    b = a.copy()
    a[2:7, 2:9, 2:9], b[3:8, 2:9, 2:9] = True, True
    turned = (1.000000026, 1.000000024, 1.000000027)  # of an affine turned by seven degrees, in float32
    assert normalised_surface_dice(a, b, turned) == normalised_surface_dice(a, b, (1, 1, 1)) == 1.0
    assert normalised_surface_dice(a, b, (1.01, 1.01, 1.01)) < 1.0
    assert score_case(a, b, {"all": (1,)}, turned)["all"]["nsd"] == 1.0


def test_concentric_balls():
    shape = (41, 41, 41)
    small, large = ball(shape, (20, 20, 20), 8), ball(shape, (20, 20, 20), 14)
    assert hausdorff95(small, large, (1, 1, 1)) == pytest.approx(6.0, abs=0.5)
    assert hausdorff95(small, large, (2, 2, 2)) == pytest.approx(2 * hausdorff95(small, large, (1, 1, 1)))
    assert sensitivity(small, large) == pytest.approx((8 / 14) ** 3, rel=0.03)
    assert precision(small, large) == 1.0


def test_hausdorff_ignores_five_percent_of_outliers_only():
    plane = np.zeros((3, 30, 30), dtype=bool)
    plane[0] = True
    few, many = plane.copy(), plane.copy()
    few[2].flat[:30] = True
    many[2].flat[:60] = True
    assert hausdorff95(few, plane, (10, 1, 1)) == 0.0
    assert hausdorff95(many, plane, (10, 1, 1)) == 20.0


def test_empty_masks():
    empty = np.zeros((155, 240, 240), dtype=bool)
    one = empty.copy()
    one[70, 100, 100] = True
    diagonal = math.hypot(155, 240, 240)
    assert diagonal == pytest.approx(373.13, abs=0.005)
    assert (dice(empty, empty), hausdorff95(empty, empty, (1, 1, 1))) == (1.0, 0.0)
    for a, b in ((empty, one), (one, empty)):
        assert (dice(a, b), hausdorff95(a, b, (1, 1, 1))) == (0.0, pytest.approx(diagonal))
        assert (sensitivity(a, b), precision(a, b), normalised_surface_dice(a, b, (1, 1, 1))) == (0, 0, 0)
    assert hausdorff95(one, empty, (2, 1, 1)) == pytest.approx(math.hypot(310, 240, 240))
    assert (sensitivity(empty, empty), precision(empty, empty)) == (1.0, 1.0)
    assert normalised_surface_dice(empty, empty, (1, 1, 1)) == 1.0


def test_volume_error_is_in_millilitres():
    a, b = np.zeros((10, 10, 10), dtype=np.uint8), np.zeros((10, 10, 10), dtype=np.uint8)
    a[:5], b[:4] = 1, 1
    assert volume_error(a, b, (2.0, 1.0, 5.0)) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("prediction", "spacing", "message"),
    [
        (np.zeros((4, 4), bool), (1, 1, 1), "shape"),
        (np.zeros((4, 4, 5), bool), (1, 1, 1), "reference"),
        (np.zeros((4, 4, 4)), (1, 1, 1), "float64"),
        (np.zeros((4, 4, 4), bool), (1, 1), "Spacing"),
        (np.zeros((4, 4, 4), bool), (1, 0, 1), "Spacing"),
        (np.zeros((4, 4, 4), bool), (1, math.nan, 1), "Spacing"),
    ],
)
def test_bad_input_is_named(prediction, spacing, message):
    reference = np.zeros((4, 4, 4), bool)
    with pytest.raises(ValueError, match=message):
        hausdorff95(prediction, reference, spacing)
    with pytest.raises(ValueError, match=message):
        score_case(prediction, reference, {"all": (1,)}, spacing)


def test_case_equals_single_metrics():
    generator = np.random.default_rng(3)
    fields = ndimage.gaussian_filter(generator.normal(size=(2, 14, 30, 22)), (0, 2, 2, 2))
    prediction, reference = np.digitize(fields, np.quantile(fields, [0.6, 0.75, 0.9])).astype(np.uint8)
    prediction[:, :4], reference[:, :4] = 0, 0
    regions = {"whole": (1, 2, 3), "core": (1, 3), "absent": (9,), "nothing": ()}
    scores = score_case(prediction, reference, regions, SPACING, lesionwise=True)
    for name, values in regions.items():
        a, b = np.isin(prediction, values), np.isin(reference, values)
        assert scores[name]["dice"] == dice(a, b)
        assert scores[name]["hd95_mm"] == hausdorff95(a, b, SPACING)
        assert scores[name]["nsd"] == normalised_surface_dice(a, b, SPACING)
        assert scores[name]["sensitivity"] == sensitivity(a, b)
        assert scores[name]["precision"] == precision(a, b)
        assert scores[name]["volume_error_ml"] == pytest.approx(volume_error(a, b, SPACING))
        assert scores[name]["one_empty"] == 0.0
    assert scores["whole"]["volume_ml"] == pytest.approx(np.count_nonzero(prediction) * math.prod(SPACING) / 1000)


def test_case_counts_the_conventions():
    prediction, reference = np.zeros((8, 9, 10), np.uint8), np.zeros((8, 9, 10), np.uint8)
    prediction[2, 2, 2] = 3
    scores = score_case(prediction, reference, {"WT": (1, 2, 3), "ED": (2,)}, SPACING)
    assert scores["WT"]["one_empty"] == 1.0
    assert scores["WT"]["hd95_mm"] == pytest.approx(math.hypot(8 * 3.0, 9 * 0.9, 10 * 1.3))
    assert (scores["ED"]["one_empty"], scores["ED"]["dice"]) == (0.0, 1.0)
