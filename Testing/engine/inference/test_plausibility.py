"""A result is doubtful for the reason that holds: size, symmetry, position, a hole, wrap-around; and for no other."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from Testing.engine.atlas_heads import head, true_matrix

from asa.geometry import FRAME, Alignment, resample
from asa.geometry.atlas import head_atlas
from asa.inference.plausibility import Anatomy, anatomy_reasons, hole_findings, hole_ml, wrap_reasons, wrapped_axes
from asa.inference.series import Series
from asa.tasks import TASKS
from asa.volume import Grid, StorageOrder, Volume

USUAL = Alignment(np.diag([0.9, 0.95, 0.88, 1.0]), "affine", 0.9)
SUPERIOR_HALF = FRAME.shape[0] // 2


@cache
def template() -> np.ndarray:
    """Posterior (5, T, H, W) of background and the tissue labels, as the atlas has them."""
    atlas = head_atlas()
    order = StorageOrder.of(atlas.affine)
    white, grey, ventricles, sulcal = (
        resample(Volume(order.to_array(one), order.grid(one.shape, atlas.affine)), FRAME).array
        for one in atlas.maps[:4]
    )
    return np.stack([1 - white - grey - ventricles - sulcal, ventricles, grey, white, sulcal])


def reasons(posterior: np.ndarray, alignment: Alignment = USUAL) -> list[str]:
    return list(anatomy_reasons(Anatomy.of(posterior, TASKS["tissue"], alignment)))


def moved(posterior: np.ndarray, where: tuple[slice, ...], target: int, source: int | None = None) -> np.ndarray:
    """The posterior with all probability, or that of one class, given to another class within a box."""
    changed = posterior.copy()
    given = [one for one in range(len(posterior)) if one != target] if source is None else [source]
    for one in given:
        changed[(target, *where)] += changed[(one, *where)]
        changed[(one, *where)] = 0
    return changed


ALL = (slice(None),) * 3


def test_a_usual_brain_gives_no_reason() -> None:
    assert reasons(template()) == []


@pytest.mark.parametrize(
    ("scales", "words"),
    [
        ((0.9, 0.95, 0.5), "mm from bottom to top, outside the range of adults"),
        ((0.9, 0.6, 0.88), "mm from back to front, outside the range of adults"),
        ((1.5, 0.95, 0.88), "mm from left to right, outside the range of adults"),
        ((0.55, 0.55, 0.55), "mL, outside the range of adults"),
    ],
)
def test_a_size_that_no_adult_has(scales: tuple[float, float, float], words: str) -> None:
    found = reasons(template(), Alignment(np.diag([*scales, 1.0]), "affine", 0.9))
    assert any(words in reason for reason in found)


def test_a_missing_part_is_named_by_its_side() -> None:
    left = moved(template(), (slice(None), slice(None), slice(0, 60)), 0)
    (reason,) = [one for one in reasons(left) if "half" in one]
    assert reason.startswith("The left half of the brain is ")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: moved(p, ALL, 2, 3), "of the template's deep white matter is labelled as white matter"),
        (lambda p: moved(p, ALL, 3, 2), "as much grey matter as white matter"),
        (lambda p: moved(p, (slice(50, 110), slice(60, 130), slice(50, 110)), 1), "The ventricles fill"),
        (lambda p: np.roll(p, 40, axis=1), "agrees poorly with the template's"),
    ],
)
def test_each_fault_has_its_reason(change, words: str) -> None:
    assert any(words in reason for reason in reasons(change(template())))


def test_of_nothing_only_that_is_said() -> None:
    empty = np.zeros((5, *FRAME.shape), np.float32)
    empty[0] = 1
    assert Anatomy.of(empty, TASKS["tissue"], USUAL).brain_ml == 0
    assert not any("mL" in reason or "half" in reason for reason in reasons(empty))


@pytest.mark.parametrize(("radius", "doubts", "notes"), [(0, 0, 0), (12, 0, 1), (19, 1, 0)])
def test_a_hole_is_noted_or_doubted_by_its_size(radius: float, doubts: int, notes: int) -> None:
    matrix = true_matrix()
    scan = head(matrix, "t1", person=1, noise=0.005)
    centre = (matrix @ [28, 20, 30, 1])[:3]
    places = scan.grid.to_world(np.indices(scan.array.shape).reshape(3, -1).T)
    hole = (np.linalg.norm(places - centre, axis=1) < radius).reshape(scan.array.shape)
    series = {"t1": Series(scan.with_array(np.where(hole, 0, scan.array)), Alignment(matrix, "affine", 0.9))}
    found = hole_findings(series)
    assert (len(found[0]), len(found[1])) == (doubts, notes)
    assert all("gives no signal in the T1 image" in sentence for sentence in [*found[0], *found[1]])
    assert hole_findings({"flair": series["t1"]}) == ([], [])


def test_what_lies_outside_the_field_of_view_is_no_hole() -> None:
    matrix = true_matrix()
    scan = head(matrix, "t1", person=1, noise=0.005)
    cut = Volume(scan.array[:70], type(scan.grid)((70, *scan.grid.shape[1:]), scan.grid.affine))
    assert hole_ml(cut, Alignment(matrix, "affine", 0.9)) < 3


@pytest.mark.parametrize("axis", [1, 2])
def test_a_head_that_wraps_around_is_seen(axis: int) -> None:
    scan = head(true_matrix(), "t1", person=1)
    assert wrapped_axes(scan) == []
    inside = np.flatnonzero((scan.array > 100).sum(axis=tuple(n for n in range(3) if n != axis)) > 300)
    rolled = scan.with_array(np.roll(scan.array, -int(inside[0]) - 20, axis))
    assert wrapped_axes(rolled) == [axis]
    (reason,) = wrap_reasons("t1", rolled)
    assert ("from back to front" if axis == 1 else "from left to right") in reason and "wrap-around" in reason


def test_thick_slices_do_not_wrap_into_one_another() -> None:
    scan = head(true_matrix(), "t1", person=1)
    inside = np.flatnonzero((scan.array > 100).sum(axis=(1, 2)) > 300)
    rolled = np.roll(scan.array, -int(inside[0]) - 20, 0)
    assert wrapped_axes(scan.with_array(rolled)) == [0]
    step = int(np.ceil(6 / scan.grid.spacing[0]))
    thick = Grid((rolled[::step].shape[0], *scan.grid.shape[1:]), scan.grid.affine @ np.diag([step, 1, 1, 1]))
    assert wrapped_axes(Volume(rolled[::step], thick)) == []


def test_a_field_of_view_that_ears_and_neck_fill_is_no_wrap_around() -> None:
    scan = head(true_matrix(), "t1", person=1)
    shown = [np.flatnonzero((scan.array > 100).any(axis=other)) for other in ((1, 2), (0, 2), (0, 1))]
    inside = tuple(slice(int(found[0]) + 4, int(found[-1]) - 3) for found in shown)
    assert wrapped_axes(Volume(scan.array[inside], type(scan.grid)(scan.array[inside].shape, scan.grid.affine))) == []
