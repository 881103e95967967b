"""Splits by subject: drawn once, written to a file, and read from it afterwards."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asa.data.cases import LabelledCase, raise_problems
from asa.errors import InputError
from asa.files import read_json, write_json

FORMAT = 1
PARTS = ("train", "validation", "test")
Fold = dict[str, list[str]]  # part -> names of cases


@dataclass(frozen=True)
class Recipe:
    """How a split is drawn.

    Attributes:
        shares: of the subjects for training, validation and test. Ratios such as (7, 1, 2); or, if they add up to the
            number of subjects, counts such as (12, 0, 6).
        folds: 0 draws one split. k draws k-fold cross-validation: each subject is tested once, and ``shares`` only
            says how much of the rest validates.
        seed: of the shuffle.
    """

    shares: tuple[int, int, int] = (7, 1, 2)
    folds: int = 0
    seed: int = 0


def draw(cases: Sequence[LabelledCase], recipe: Recipe) -> list[Fold]:
    """Folds (one, unless ``recipe.folds`` asks for more); all cases of a subject go to one part.

    Raises:
        InputError: fewer subjects than folds, or shares that are none.
    """
    subjects = sorted({case.subject for case in cases})
    random.Random(recipe.seed).shuffle(subjects)
    train, validation, _ = recipe.shares
    if min(recipe.shares) < 0 or train == 0:
        raise InputError(f"A split needs shares of training, validation and test, not {recipe.shares}.")
    if not recipe.folds:
        counts = _counts(len(subjects), recipe.shares)
        ends = (counts[0], counts[0] + counts[1])
        sides = [dict(zip(PARTS, (subjects[: ends[0]], subjects[ends[0] : ends[1]], subjects[ends[1] :]), strict=True))]
    else:
        if not 2 <= recipe.folds <= len(subjects):
            raise InputError(f"{len(subjects)} subjects cannot be split into {recipe.folds} folds.")
        sides = []
        for number in range(recipe.folds):
            test = subjects[number :: recipe.folds]
            rest = [subject for subject in subjects if subject not in test]
            count, _, _ = _counts(len(rest), (train, validation, 0))
            sides.append({"train": rest[:count], "validation": rest[count:], "test": test})
    return [{part: sorted(c.name for c in cases if c.subject in set(side[part])) for part in PARTS} for side in sides]


def _counts(total: int, shares: Sequence[int]) -> list[int]:
    """Whole numbers in the ratio of ``shares`` that add up to ``total``; a share above zero gets one where it can."""
    exact = [total * share / sum(shares) for share in shares]
    counts = [max(int(value), int(share > 0)) for value, share in zip(exact, shares, strict=True)]
    while sum(counts) != total:
        step = 1 if sum(counts) < total else -1
        gaps = [(value - count) * step for value, count in zip(exact, counts, strict=True)]
        counts[gaps.index(max(gaps))] += step
    return counts


def load_or_draw_split(path: Path, cases: Sequence[LabelledCase], recipe: Recipe) -> list[Fold]:
    """Return the folds in ``path``; drawn and written there if it does not exist yet.

    Raises:
        InputError: the file was drawn by another recipe, names absent cases, leaves new ones out, or mixes subjects;
            all offenders are listed.
        OutputError: the file cannot be written.
    """
    if not path.exists():
        write_json(path, {"format": FORMAT, "recipe": dataclasses.asdict(recipe), "folds": draw(cases, recipe)})
    stored = read_case_split(path)
    if stored.get("recipe") not in (None, json.loads(json.dumps(dataclasses.asdict(recipe)))):
        raise InputError(
            f"{path} was drawn with {stored['recipe']}, but {dataclasses.asdict(recipe)} was requested. Splits are "
            "never redrawn silently: request the same recipe, or choose another file."
        )
    folds: list[Fold] = stored["folds"]
    raise_problems(split_problems(folds, {case.name: case.subject for case in cases}), f"split {path}")
    return folds


def read_case_split(path: Path) -> dict[str, Any]:
    """Return the contents of a split file, its folds in order under ``folds``.

    Raises:
        InputError: it cannot be read, or is no split.
    """
    try:
        stored: dict[str, Any] = read_json(path)
        folds = [{part: [str(name) for name in fold[part]] for part in PARTS} for fold in stored["folds"]]
        if not folds:
            raise ValueError("No fold is listed.")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"Split {path} cannot be read; it needs 'folds' with {', '.join(PARTS)} ({error}).") from error
    return {**stored, "folds": folds}


def split_problems(folds: Sequence[Fold], subject_of: Mapping[str, str]) -> list[str]:
    """What is wrong with a split of these cases (name -> subject), a line for each offender."""
    problems = []
    for number, fold in enumerate(folds, start=1):
        where = f"fold {number}: " if len(folds) > 1 else ""
        listed = [name for part in PARTS for name in fold[part]]
        problems += [f"{where}{name} is not among the cases" for name in sorted(set(listed) - set(subject_of))]
        problems += [f"{where}{name} is in no part" for name in sorted(set(subject_of) - set(listed))]
        problems += [f"{where}{name} is listed twice" for name in sorted({n for n in listed if listed.count(n) > 1})]
        parts: dict[str, set[str]] = {}
        for part in PARTS:
            for name in fold[part]:
                parts.setdefault(subject_of.get(name, name), set()).add(part)
        problems += [
            f"{where}subject {subject} is in {' and '.join(sorted(sides))}"
            for subject, sides in sorted(parts.items())
            if len(sides) > 1
        ]
    return problems
