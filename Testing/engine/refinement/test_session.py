"""Properties of a refinement session that a user relies on, on a small head."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from Testing.engine.refined_heads import CENTRE, MISSED, SHAPE, Head, distance_from, mirrored, tumour_head

from asa.errors import InputError
from asa.metrics import dice
from asa.refinement import Mark, Refinement, Start
from asa.refinement import session as session_module
from asa.refinement.energy import CONSTANTS, Problem, log_odds
from asa.refinement.features import compute_features
from asa.tasks import TASKS
from asa.volume import Grid, Volume

REGIONS = {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)}


@pytest.fixture(scope="module")
def head() -> Head:
    return tumour_head()


@pytest.fixture
def session(head: Head) -> Refinement:
    return Refinement(head.start)


def score(labels: np.ndarray, head: Head, region: str = "WT") -> float:
    return float(dice(np.isin(labels, REGIONS[region]), np.isin(head.truth, REGIONS[region])))


def test_a_click_finds_a_missed_focus(head: Head, session: Refinement) -> None:
    before = score(session.labels, head)
    change = session.add(head.mark(MISSED))
    assert change.voxels > 300
    assert score(session.labels, head) > max(0.95, before + 0.1)


def test_a_click_removes_what_is_no_tumour(head: Head) -> None:
    labels = head.truth.copy()
    labels[distance_from((20, 36, 22)) < 5] = 2
    session = Refinement(replace(head.start, labels=head.start.labels.with_array(labels), posterior=None))
    session.add(head.mark((20, 36, 22), action="remove"))
    assert score(session.labels, head) > 0.97
    assert session.labels[CENTRE] == head.truth[CENTRE]


def test_an_empty_segment_is_made(head: Head, session: Refinement) -> None:
    assert not (session.labels == 3).any()
    session.add(head.mark((20, 25, 14), "ET"))
    assert score(session.labels, head, "ET") > 0.6


def test_nothing_is_needed_to_start_from(head: Head) -> None:
    empty = head.start.labels.with_array(np.zeros(SHAPE, np.uint8))
    session = Refinement(replace(head.start, labels=empty, posterior=None))
    session.add(head.mark(MISSED))
    found = session.labels > 0
    assert dice(found, distance_from(MISSED) < 5) > 0.8


def test_marks_are_always_honoured(head: Head) -> None:
    rng = np.random.default_rng(1)
    session, made = Refinement(head.start), []
    for _ in range(25):
        place = tuple(int(one) for one in rng.integers(8, [32, 40, 36]))
        region, action = str(rng.choice(list(REGIONS))), str(rng.choice(["add", "remove"]))
        try:
            session.add(head.mark(place, region, action))
        except InputError as error:
            assert "contradicts" in str(error)
            continue
        made.append((place, region, action))
        for earlier, segment, what in made:
            assert (session.labels[earlier] in REGIONS[segment]) == (what == "add"), (earlier, segment)
    assert len(made) > 15


def test_only_the_marked_way_and_only_near_the_mark(head: Head) -> None:
    session = Refinement(head.start)
    before = session.labels.copy()
    change = session.add(head.mark(MISSED))
    changed = session.labels != before
    box = tuple(slice(a, b) for a, b in zip(change.low, change.high, strict=True))
    assert np.count_nonzero(changed) == change.voxels == np.count_nonzero(changed[box])
    assert (before[changed] == 0).all()  # adding to WT takes nothing away from it, nor from TC or ET
    assert (session.labels[changed] == 2).all()


def test_a_satisfied_mark_changes_nothing(head: Head, session: Refinement) -> None:
    session.add(head.mark(MISSED))
    before = session.labels.copy()
    assert session.posterior is not None
    posterior = session.posterior.copy()
    for mark in (head.mark(MISSED), head.mark(CENTRE, "TC"), head.mark((20, 36, 22), action="remove")):
        assert session.add(mark).voxels == 0
    np.testing.assert_array_equal(session.labels, before)
    np.testing.assert_array_equal(session.posterior, posterior)


def test_undo_and_redo_are_exact(head: Head, session: Refinement) -> None:
    marks = [head.mark(MISSED), head.mark((20, 25, 14), "ET"), head.mark((15, 22, 14), action="remove")]
    states = [(session.labels.tobytes(), session.posterior.tobytes())]  # type: ignore[union-attr]
    for mark in marks:
        session.add(mark)
        states.append((session.labels.tobytes(), session.posterior.tobytes()))  # type: ignore[union-attr]
    for state in states[-2::-1]:
        assert session.undo()
        assert (session.labels.tobytes(), session.posterior.tobytes()) == state  # type: ignore[union-attr]
    assert not session.undo()
    while session.redo():
        pass
    assert (session.labels.tobytes(), session.posterior.tobytes()) == states[-1]  # type: ignore[union-attr]
    assert session.marks == tuple(marks)


def test_a_small_bright_focus_is_not_taken_for_tissue() -> None:
    rng = np.random.default_rng(0)
    head, focus = distance_from((32, 36, 40), (64, 72, 80)) < 31, distance_from((32, 36, 24), (64, 72, 80)) < 3
    image = np.where(head, 100 + rng.normal(0, 10, head.shape), 0) + 60 * focus
    grid = Grid(head.shape, np.diag([1.0, 1, 1, 1])[[2, 1, 0, 3]])
    labels = Volume(np.zeros(head.shape, np.uint8), grid)
    session = Refinement(Start([Volume(image.astype(np.float32), grid)], labels, TASKS["wmh"]))
    place = tuple(float(one) for one in grid.to_world((32, 36, 24)))
    session.add(Mark("point", "WMH", "add", (place,)))  # type: ignore[arg-type]
    assert dice(session.labels > 0, focus) > 0.8


def test_earlier_marks_hold_a_later_one_back(head: Head) -> None:
    """Between two marks that disagree lies a border, even in tissue that looks alike."""
    labels = np.where(distance_from(CENTRE) < 7, 2, 0).astype(np.uint8)
    start = replace(head.start, labels=head.start.labels.with_array(labels), posterior=None)
    alone, held = Refinement(start), Refinement(start)
    near, opposed = (20, 24, 24), head.mark((20, 24, 27), action="remove")
    assert held.add(opposed).voxels == 0  # it is satisfied, and remembered
    alone.add(head.mark(near))
    held.add(head.mark(near))
    assert not (held.labels.astype(bool) & ~alone.labels.astype(bool)).any()
    assert np.count_nonzero(held.labels) < np.count_nonzero(alone.labels)


def test_each_correction_leaves_less_to_be_changed(head: Head) -> None:
    seeds = distance_from(MISSED) == 0
    problem = Problem(
        box=tuple(slice(0, size) for size in SHAPE),  # type: ignore[arg-type]
        same=head.start.labels.array > 0,
        agreed=seeds,
        opposed=np.zeros(SHAPE, bool),
        seeds=seeds,
        against=np.zeros(SHAPE, bool),
        prior=None,
    )
    features = compute_features(head.start.images, CONSTANTS.contrast)
    odds = [log_odds(features, replace(problem, corrections=count), CONSTANTS) for count in (0, 1, 3, 5)]
    np.testing.assert_array_equal(odds[0], odds[1])
    for fewer, more in itertools.pairwise(odds[1:]):
        assert more[seeds] == fewer[seeds]
        assert (more < fewer)[features.shown & ~seeds].all()


def test_the_result_depends_on_the_marks_alone(head: Head, session: Refinement) -> None:
    session.add(head.mark((15, 22, 14), action="remove"))
    session.undo()
    session.add(head.mark(MISSED))
    other = Refinement(head.start)
    other.add(head.mark(MISSED))
    assert session.labels.tobytes() == other.labels.tobytes()


def test_distant_marks_commute(head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "MARGINS_MM", (8.0,))
    marks = [head.mark(MISSED), head.mark((20, 22, 10), action="remove")]
    results = []
    for order in (marks, marks[::-1]):
        session = Refinement(head.start)
        assert all(session.add(mark).voxels for mark in order)
        results.append((session.labels.tobytes(), session.posterior.tobytes()))  # type: ignore[union-attr]
    assert results[0] == results[1]


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("posterior", [True, False])
def test_a_mirrored_head_has_the_mirrored_result(axis: int, posterior: bool) -> None:
    head = tumour_head(posterior=posterior)
    other = mirrored(head, axis)
    one, two = Refinement(head.start), Refinement(other.start)
    for place, region, action in ((MISSED, "WT", "add"), ((20, 25, 14), "ET", "add"), ((15, 22, 14), "WT", "remove")):
        across = tuple(n - 1 - at if one_axis == axis else at for one_axis, (n, at) in enumerate(zip(SHAPE, place)))  # noqa: B905
        assert one.add(head.mark(place, region, action)).voxels == two.add(other.mark(across, region, action)).voxels
        np.testing.assert_array_equal(np.flip(one.labels, axis), two.labels)


def test_locked_segments_stay(head: Head) -> None:
    session = Refinement(head.start, locked=["TC"])
    core = np.isin(session.labels, REGIONS["TC"])
    session.add(head.mark((20, 28, 14), action="remove"))
    np.testing.assert_array_equal(np.isin(session.labels, REGIONS["TC"]), core)
    before = session.labels.copy()
    with pytest.raises(InputError, match=r"locked segment \(TC\); unlock it first"):
        session.add(head.mark(CENTRE, "TC", "remove"))
    with pytest.raises(InputError, match="locked"):
        session.add(head.mark(CENTRE, "WT", "remove"))
    np.testing.assert_array_equal(session.labels, before)


def test_what_was_edited_by_hand_stays(head: Head) -> None:
    edited = np.zeros(SHAPE, bool)
    edited[:, :, MISSED[2] :] = True
    session = Refinement(replace(head.start, edited=edited))
    before = session.labels.copy()
    assert session.add(head.mark((20, 24, 30))).voxels > 50
    changed = session.labels != before
    assert not (changed & edited).any()
    assert session.add(head.mark((20, 24, 34))).voxels >= 1  # a mark on it is the newer wish
    assert session.labels[20, 24, 34] == 2


def test_contradictory_marks_are_refused(head: Head, session: Refinement) -> None:
    session.add(head.mark(MISSED, "ET"))
    before = session.labels.copy()
    for mark in (head.mark(MISSED, "ET", "remove"), head.mark(MISSED, "WT", "remove"), head.mark(MISSED, "ED")):
        with pytest.raises(InputError, match="contradicts an earlier mark"):
            session.add(mark)
    np.testing.assert_array_equal(session.labels, before)
    assert len(session.marks) == 1


def test_the_posterior_follows(head: Head, session: Refinement) -> None:
    session.add(head.mark(MISSED))
    posterior = session.posterior
    assert posterior is not None
    np.testing.assert_allclose(posterior.astype(np.float32).sum(axis=0), 1, atol=5e-3)
    changed = session.labels != head.start.labels.array
    assert (posterior.argmax(axis=0)[changed] == 2).all()


def test_tissues_give_way_to_one_another() -> None:
    halves = np.where(np.arange(40) < 20, 2, 3).astype(np.uint8)
    truth = np.broadcast_to(halves, (32, 36, 40)).copy()
    image = np.where(truth == 2, 80, 140).astype(np.float32)
    image += np.random.default_rng(0).normal(0, 5, image.shape).astype(np.float32)
    labels = truth.copy()
    labels[:, :, 20:24] = 2
    grid = Grid((32, 36, 40), np.diag([1.0, 1, 1, 1])[[2, 1, 0, 3]])
    head = Head(Start([Volume(image, grid)], Volume(labels, grid), TASKS["tissue"]), truth)
    session = Refinement(head.start)
    session.add(head.mark((16, 18, 22), "GM", "remove"))
    assert (session.labels == truth).mean() > 0.99
    assert set(np.unique(session.labels)) == {2, 3}


def test_a_box_is_searched_and_nothing_outside_it_changes(head: Head, session: Refinement) -> None:
    grid = head.start.labels.grid
    corners = tuple(tuple(map(float, grid.to_world(place))) for place in ((13, 17, 26), (27, 31, 38)))
    box = replace(head.mark(MISSED), kind="box", points=corners)
    before = session.labels.copy()
    session.add(box)
    changed = np.argwhere(session.labels != before)
    assert (changed >= (13, 17, 26)).all() and (changed <= (27, 31, 38)).all()
    assert dice(session.labels[:, :, 26:] > 0, head.truth[:, :, 26:] > 0) > 0.85
    assert session.add(box).voxels == 0
    locked = Refinement(head.start, locked=["WT"])
    with pytest.raises(InputError, match="Nothing in mark 1 \\(box\\) may change"):
        locked.add(box)
    session.add(replace(box, action="remove"))
    assert not (session.labels[13:28, 17:32, 26:39] > 0).any()


@pytest.mark.parametrize("spacing", [0.3, 0.5, 2.0])
def test_other_voxel_sizes(spacing: float) -> None:
    head = tumour_head(spacing=spacing)
    session = Refinement(head.start)
    session.add(head.mark(MISSED))
    assert session.labels[MISSED] == 2
    assert score(session.labels, head) > 0.8


def test_what_does_not_fit_is_refused(head: Head) -> None:
    start = head.start
    grid = Grid(SHAPE, np.diag([2.0, 1, 1, 1]))
    holes = start.images[0].array.copy()
    holes[20, 20, 20] = np.nan
    assert start.posterior is not None
    for wrong, words in (
        (replace(start, posterior=start.posterior[:, 1:]), "posterior and the segmentation are on different grids"),
        (replace(start, images=[Volume(start.images[0].array, grid)]), "they do not match"),
        (replace(start, images=[start.images[0].with_array(holes)]), "NaN or infinite"),
        (replace(start, images=[start.images[0].with_array(np.zeros(SHAPE, np.float32))]), "almost constant"),
        (replace(start, labels=start.labels.with_array(np.full(SHAPE, 9, np.uint8))), "holds the value 9"),
        (replace(start, images=list(start.images) * 3), "1 to 4 images"),
    ):
        with pytest.raises(InputError, match=words):
            Refinement(wrong)
    with pytest.raises(InputError, match="'XX'; task 'tumour' has"):
        Refinement(start, locked=["XX"])


def test_bad_marks_change_nothing(head: Head, session: Refinement) -> None:
    before = session.labels.copy()
    outside = (9000.0, 0.0, 0.0)
    for mark, words in (
        (head.mark(MISSED, "liver"), "names the segment 'liver'"),
        (replace(head.mark(MISSED), points=(outside,)), "outside the image, at 9000.0"),
        (replace(head.mark(MISSED), kind="scribble", points=()), "has no points"),
        (replace(head.mark(MISSED), points=((float("nan"), 0.0, 0.0),)), "not finite"),
    ):
        with pytest.raises(InputError, match=words):
            session.add(mark)
    np.testing.assert_array_equal(session.labels, before)
    assert session.marks == ()


def test_the_threshold_brush_takes_what_looks_like_the_segment(head: Head, session: Refinement) -> None:
    session.add(head.mark(MISSED))
    before = session.labels.copy()
    change = session.add(head.mark((20, 27, 14), "WT", "add", kind="threshold", radius_mm=9.0))
    brush = distance_from((20, 27, 14)) <= 9
    changed = session.labels != before
    assert change.voxels == np.count_nonzero(changed) and not changed[~brush].any()
    assert (changed & (head.truth == 0)).sum() < 0.02 * brush.sum()
    assert session.undo() and (session.labels == before).all()


def test_the_threshold_brush_removes_what_looks_like_the_rest(head: Head) -> None:
    labels = head.truth.copy()
    labels[distance_from((20, 36, 22)) < 4] = 2
    session = Refinement(replace(head.start, labels=head.start.labels.with_array(labels), posterior=None))
    session.add(head.mark((20, 33, 20), action="remove", kind="threshold", radius_mm=12.0))
    assert score(session.labels, head) > 0.97
    assert (session.labels[head.truth > 0] > 0).mean() > 0.95


def test_a_threshold_brush_without_anything_to_compare_with_is_refused(head: Head) -> None:
    empty = head.start.labels.with_array(np.zeros(SHAPE, np.uint8))
    session = Refinement(replace(head.start, labels=empty, posterior=None))
    with pytest.raises(InputError, match="too few voxels near the brush"):
        session.add(head.mark(MISSED, kind="threshold", radius_mm=3.0))
    assert not session.labels.any() and not session.marks


def test_a_threshold_brush_over_nothing_that_fits_is_refused(head: Head, session: Refinement) -> None:
    before = session.labels.copy()
    with pytest.raises(InputError, match="nothing under the brush"):
        session.add(head.mark(CENTRE, action="remove", kind="threshold"))
    assert (session.labels == before).all()


def test_features_serve_another_session_on_the_same_images(head: Head, session: Refinement) -> None:
    again = Refinement(head.start, features=session.features)
    again.add(head.mark(MISSED))
    session.add(head.mark(MISSED))
    assert again.features is session.features and (again.labels == session.labels).all()


def test_far_from_a_mark_the_posterior_outweighs_similar_intensities() -> None:
    """A bar looks like the lesion at one end of it, but the network is sure that there is no lesion along the bar."""
    shape, grid = (24, 40, 120), Grid((24, 40, 120), np.eye(4))
    rows, columns, places = np.indices(shape)
    bar = (abs(rows - 12) < 4) & (abs(columns - 20) < 4) & (places > 5)
    lesion = bar & (places < 20)
    image = Volume(np.random.default_rng(0).normal(0, 0.3, shape).astype(np.float32) + 5 * bar + 10, grid)
    probability = np.where(lesion, 0.95, 0.02).astype(np.float32)
    start = Start(
        images=[image],
        labels=Volume(lesion.astype(np.uint8), grid),
        task=TASKS["wmh"],
        posterior=np.stack([1 - probability, probability]),
    )
    session = Refinement(start)
    session.add(Mark("point", "WMH", "add", (tuple(map(float, grid.to_world((12, 20, 28)))),)))
    added = (session.labels == 1) & ~lesion
    assert added[12, 20, 28]
    assert not added[..., 60:].any()
