"""Changes of volumes and lesions, and the point half-way between two visits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from asa.geometry.midway import halfway, mean_matrix
from asa.geometry.search import rotation_matrix
from asa.longitudinal import volumes
from asa.longitudinal.lesions import Rules, brightness, compare_lesions, near_lesions
from asa.longitudinal.overlay import lesion_overlay, tissue_overlay
from asa.longitudinal.picture import lesion_slices, write_picture
from asa.longitudinal.shading import even_shading
from asa.longitudinal.volumes import compare_volumes, expected_volumes, noise_of
from asa.tasks import TISSUE, WMH
from asa.volume import Grid

GRID = Grid((24, 30, 28), np.array([[0, 0, 1, -14], [0, 1, 0, -15], [1, 0, 0, -12], [0, 0, 0, 1]], float))


def test_half_a_movement_twice_is_the_movement() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        matrix = np.eye(4)
        matrix[:3, :3] = rotation_matrix(*rng.uniform(-60, 60, 3))
        matrix[:3, 3] = rng.uniform(-80, 80, 3)
        half = halfway(matrix)
        np.testing.assert_allclose(half @ half, matrix, atol=1e-8)
        np.testing.assert_allclose(half[:3, :3] @ half[:3, :3].T, np.eye(3), atol=1e-8)
        other = np.diag([1.1, 0.9, 1.05, 1.0])
        np.testing.assert_allclose(mean_matrix(matrix, other), mean_matrix(other, matrix), atol=1e-8)


def test_volumes_are_sums_of_probabilities() -> None:
    posterior = np.zeros((1 + len(TISSUE.labels), 2, 2, 2), np.float16)
    posterior[1:, 0, 0, 0] = 0.25
    found = expected_volumes(posterior, TISSUE, 0.001)
    assert found["brain"] == pytest.approx(0.00075), "without sulcal CSF"
    assert found["GM"] == pytest.approx(0.00025)
    assert found["CSF"] == pytest.approx(0.0005), "ventricles and sulci"
    assert "brain" not in expected_volumes(np.zeros((2, 2, 2, 2), np.float16), WMH, 0.001)


def test_a_change_is_compared_with_its_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    first = dict.fromkeys([one.name for one in (*TISSUE.labels, *TISSUE.regions)], 100.0)
    second = {**first, "GM": 103.0, "WM": 99.0, "CSF": 110.0}
    rows = {row.name: row for row in compare_volumes(first, second, TISSUE, {"GM": 1.0, "WM": 1.0})}
    assert rows["GM"].verdict == "increase" and rows["GM"].change_percent == pytest.approx(2.956, abs=1e-3)
    assert rows["WM"].verdict == "within noise" and rows["CSF"].verdict == "noise unknown"
    reverse = {row.name: row for row in compare_volumes(second, first, TISSUE, {"GM": 1.0})}
    assert reverse["GM"].verdict == "decrease"
    assert reverse["GM"].change_percent == pytest.approx(-(rows["GM"].change_percent or 0))
    nothing = dict.fromkeys(first, 0.0)
    assert {row.change_percent for row in compare_volumes(nothing, nothing, TISSUE, {})} == {None}
    known = {"tissue": {"version": "1", "noise_percent": {"GM": 0.5}}}
    monkeypatch.setattr(volumes, "_measured", lambda: known)
    assert noise_of("tissue", "1") == {"GM": 0.5}
    assert noise_of("tissue", "2") == {} and noise_of("other", "1") == {}


def ball(centre: tuple[int, int, int], radius: float) -> np.ndarray:
    away = np.indices(GRID.shape) - np.reshape(centre, (3, 1, 1, 1))
    return np.sqrt((away**2).sum(axis=0)) <= radius


def test_what_became_of_each_lesion() -> None:
    places = {"new": (4, 5, 5), "enlarging": (4, 22, 6), "stable": (12, 8, 20), "shrinking": (18, 22, 8)}
    places["gone"] = (19, 6, 6)
    first, second = np.zeros(GRID.shape, bool), np.zeros(GRID.shape, bool)
    for state, before, after in (
        ("new", 0, 2.5), ("enlarging", 2, 4), ("stable", 3, 3), ("shrinking", 4, 2), ("gone", 2.5, 0)
    ):  # fmt: skip
        first |= ball(places[state], before) if before else False
        second |= ball(places[state], after) if after else False
    dim, speck = (12, 22, 20), (20, 15, 24)  # the model was not quite sure before; too small to count
    second |= ball(dim, 2.5) | ball(speck, 1)
    chances = (first * 0.9 + ball(dim, 2.5) * 0.4, second * 0.9)
    brightening = np.where(second, 3.0, 0.0) - np.where(first | ball(dim, 2.5), 3.0, 0.0)
    lesions, numbers = compare_lesions((first, second), chances, brightening, GRID)
    found = {state: [one for one in lesions if one.state == state] for state in places}
    assert {state: len(ones) for state, ones in found.items()} == {
        "new": 1, "enlarging": 1, "stable": 3, "shrinking": 1, "gone": 1
    }  # fmt: skip
    for state, place in places.items():
        number = numbers[place]
        (lesion,) = [one for one in lesions if one.number == number]
        assert lesion.state == state
        np.testing.assert_allclose(lesion.centre_mm, GRID.to_world(place), atol=0.5)
    assert [one.number for one in lesions] == list(range(1, 8)) and lesions[0].state == "new"
    assert lesions[0].first_ml == 0 and lesions[0].second_ml == pytest.approx(ball(places["new"], 2.5).sum() / 1000)
    shown = lesion_slices(lesions, numbers)
    assert shown == sorted(shown) and 4 in shown and len(shown) <= 4

    unsure = compare_lesions((first, second), chances, np.zeros(GRID.shape), GRID)[0]
    assert not [one for one in unsure if one.state in ("new", "gone")], "nothing became brighter or darker"
    back = compare_lesions((second, first), chances[::-1], -brightening, GRID, rules=Rules())[0]
    assert sorted(one.state for one in back) == sorted(
        {"new": "gone", "gone": "new", "enlarging": "shrinking", "shrinking": "enlarging"}.get(one.state, one.state)
        for one in lesions
    )


def test_what_one_visit_does_not_show_is_no_change() -> None:
    first, second = np.zeros(GRID.shape, bool), ball((4, 5, 5), 2.5) | ball((18, 22, 8), 3)
    chances, brightening = (first * 0.0, second * 0.9), np.where(second, 3.0, 0.0)
    covered = ball((12, 15, 14), 6)  # neither of them; then one
    assert compare_lesions((first, second), chances, brightening, GRID, covered)[0] == []
    (lesion,), numbers = compare_lesions((first, second), chances, brightening, GRID, covered | ball((18, 22, 8), 4))
    assert lesion.state == "new" and numbers[18, 22, 8] == 1 and numbers[4, 5, 5] == 0


def test_the_volume_of_lesions_is_counted_at_lesions() -> None:
    lesion, covered = ball((12, 15, 14), 2), ball((12, 15, 14), 9)
    near = near_lesions((lesion, ball((12, 15, 14), 3) | ball((3, 3, 3), 1)), covered)
    assert near[12, 15, 18] and not near[12, 15, 20], "a voxel around the larger of both"
    assert not near[3, 3, 3], "one visit does not show it"


def test_the_map_of_changes() -> None:
    first, second = np.zeros(GRID.shape, bool), ball((12, 8, 20), 3)
    lesions, numbers = compare_lesions((first, second), (first * 0.0, second * 0.9), second * 3.0, GRID)
    shown, parts = lesion_overlay(lesions, numbers, 0.001)
    assert [part.name for part in parts] == ["new", "enlarging", "stable", "shrinking", "gone"]
    np.testing.assert_array_equal(shown == 1, second)
    assert parts[0].volume_ml == pytest.approx(second.sum() / 1000) and parts[4].volume_ml == 0
    before = np.where(ball((12, 15, 14), 8), 0.9, 0.0)
    after = np.where(ball((12, 15, 14), 6), 0.9, np.where(ball((12, 15, 14), 8), 0.5, 0.0)) + ball((3, 3, 3), 1) * 0.8
    shown, (lost, gained) = tissue_overlay(before, after, "Brain tissue", 0.001)
    assert lost.title == "Brain tissue lost" and lost.volume_ml == 0, "less than half of a voxel"
    assert (shown == gained.value).sum() == ball((3, 3, 3), 1).sum()


def test_no_lesions() -> None:
    nothing = np.zeros(GRID.shape, bool)
    lesions, numbers = compare_lesions((nothing, nothing), (nothing * 0.0, nothing * 0.0), nothing * 0.0, GRID)
    assert lesions == [] and not numbers.any()


def test_brightness_does_not_depend_on_the_scale_of_a_scan() -> None:
    rng = np.random.default_rng(0)
    image, brain = rng.normal(100, 10, GRID.shape), ball((12, 15, 14), 10)
    np.testing.assert_allclose(brightness(3 * image + 50, brain), brightness(image, brain), rtol=1e-6)
    assert np.std(brightness(image, brain)[brain]) == pytest.approx(1, abs=0.1)


def test_the_picture(tmp_path: Path) -> None:
    first = ball((12, 15, 14), 10) * 1.0
    second, outline = first + ball((12, 20, 14), 2) * 3, ball((12, 20, 14), 3).astype(np.uint8)
    path = tmp_path / "changes.png"
    write_picture(path, (first, second), (outline * 0, outline), {1: (213, 94, 0)}, [12], [("new", (213, 94, 0))],
                  "Lesions", ["A sentence."])  # fmt: skip
    picture = np.asarray(Image.open(path).convert("RGB"))
    drawn = np.argwhere((picture == (213, 94, 0)).all(axis=2))
    assert len(drawn) > 50
    assert (drawn[:, 0] > 90 + 60).any(), "in the row of the second visit"


def test_shading_that_differs_is_shared_and_a_lesion_stays() -> None:
    shape = (90, 120, 90)
    away = np.indices(shape) - np.reshape([45, 60, 45], (3, 1, 1, 1))
    inside, lesion = (np.sqrt((away**2).sum(axis=0)) < radius for radius in (44, 4))
    head = np.where(inside, np.random.default_rng(0).uniform(90, 110, shape), 0)
    tilt = np.exp(0.005 * away[1])
    first, second = even_shading(head, np.where(lesion, 2 * head, head) * tilt, inside)
    rest = inside & ~lesion
    ratio = second[rest] / first[rest]
    assert np.std(np.log(ratio)) < 0.6 * np.std(np.log(tilt[rest]))
    assert np.median(second[lesion] / first[lesion]) > 1.7 * np.median(ratio)
    np.testing.assert_allclose(first * second, head * np.where(lesion, 2 * head, head) * tilt, rtol=1e-5)
    apart = even_shading(head, np.zeros_like(head), inside)
    np.testing.assert_array_equal(apart[0], head)
