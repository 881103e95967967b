"""Splits by subject, written once."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asa.data.cases import LabelledCase
from asa.data.splits import PARTS, Recipe, draw, load_or_draw_split, split_problems
from asa.errors import InputError


def cases(subjects: int, sessions: int = 1) -> list[LabelledCase]:
    return [LabelledCase(f"s{i:03d}-{j}", f"s{i:03d}", {}, None) for i in range(subjects) for j in range(sessions)]


@pytest.mark.parametrize(
    ("count", "shares", "wanted"),
    [
        (1251, (7, 1, 2), (876, 125, 250)),
        (18, (12, 0, 6), (12, 0, 6)),
        (60, (36, 0, 24), (36, 0, 24)),
        (6, (7, 1, 2), (4, 1, 1)),
    ],
)
def test_the_papers_splits(count, shares, wanted):
    (fold,) = draw(cases(count), Recipe(shares))
    assert tuple(len(fold[part]) for part in PARTS) == wanted


@given(st.integers(3, 40), st.integers(1, 3), st.integers(0, 5))
def test_every_case_is_in_one_part_and_subjects_stay_together(subjects, sessions, seed):
    all_cases = cases(subjects, sessions)
    subject_of = {c.name: c.subject for c in all_cases}
    assert not split_problems(draw(all_cases, Recipe(seed=seed)), subject_of)
    folds = draw(all_cases, Recipe(folds=3, seed=seed))
    assert not split_problems(folds, subject_of)
    tested = [name for fold in folds for name in fold["test"]]
    assert sorted(tested) == sorted(subject_of)


def test_the_seed_decides_and_the_order_of_files_does_not():
    some = cases(20)
    assert draw(some, Recipe(seed=1)) == draw(some[::-1], Recipe(seed=1)) != draw(some, Recipe(seed=2))


def test_a_split_is_written_once_and_never_drawn_again_silently(tmp_path):
    path = tmp_path / "split.json"
    first = load_or_draw_split(path, cases(10), Recipe(seed=3))
    before = path.read_bytes()
    assert load_or_draw_split(path, cases(10), Recipe(seed=3)) == first
    with pytest.raises(InputError, match="never redrawn silently"):
        load_or_draw_split(path, cases(10), Recipe(seed=4))
    assert path.read_bytes() == before


def test_a_split_written_by_hand_needs_no_recipe(tmp_path):
    path = tmp_path / "split.json"
    fold = {"train": ["s000-0"], "validation": [], "test": ["s001-0"]}
    path.write_text(json.dumps({"folds": [fold]}))
    assert load_or_draw_split(path, cases(2), Recipe()) == [fold]


def test_one_error_names_every_offender(tmp_path):
    path = tmp_path / "split.json"
    fold = {"train": ["s000-0", "gone"], "validation": ["s000-1"], "test": ["lost", "s001-0", "s001-0"]}
    path.write_text(json.dumps({"folds": [fold]}))
    with pytest.raises(InputError) as caught:
        load_or_draw_split(path, cases(3, 2), Recipe())
    for part in (
        "gone is not among the cases",
        "lost is not among the cases",
        "s001-1 is in no part",
        "s002-0 is in no part",
        "s001-0 is listed twice",
        "subject s000 is in train and validation",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize("text", ["", "{}", '{"folds": []}', '{"folds": [{"train": []}]}'])
def test_a_file_that_is_no_split(tmp_path, text):
    path = tmp_path / "split.json"
    path.write_text(text)
    with pytest.raises(InputError, match="cannot be read"):
        load_or_draw_split(path, cases(3), Recipe())


def test_shares_and_folds_must_make_sense():
    with pytest.raises(InputError, match="shares"):
        draw(cases(5), Recipe((0, 1, 2)))
    with pytest.raises(InputError, match="3 subjects cannot be split into 5 folds"):
        draw(cases(3), Recipe(folds=5))
