"""Split of a store into training, validation and test cases."""

from __future__ import annotations

from pathlib import Path

from asa.data.case_store import CaseStore
from asa.data.cases import LabelledCase
from asa.data.splits import PARTS, Recipe, load_or_draw_split
from asa.errors import InputError
from asa.training.finetuning.settings import FinetuneSettings


def choose_split(settings: FinetuneSettings, store: CaseStore) -> dict[str, list[str]]:
    """Return the names of the cases of each part; the split file is written where it does not exist.

    Raises:
        InputError: the file does not fit, there is no such fold, or nothing to train on.
    """
    path = Path(settings.split) if settings.split else store.folder / "split.json"
    cases = [LabelledCase(case.name, case.subject, {}, None) for case in store.cases]
    folds = load_or_draw_split(path, cases, Recipe(settings.shares, settings.folds, settings.split_seed))
    if settings.fold >= len(folds):
        raise InputError(f"{path} has {len(folds)} folds; fold {settings.fold} (from 0) is not one of them.")
    fold = folds[settings.fold]
    if not fold["train"]:
        raise InputError(f"{path} leaves no cases for training.")
    return {part: fold[part] for part in PARTS}
