"""Which cases of a store a run is trained, validated and tested on."""

from __future__ import annotations

from pathlib import Path

from asa.data.case_store import CaseStore
from asa.data.cases import LabelledCase
from asa.data.splits import PARTS, Recipe, split_file
from asa.errors import InputError
from asa.training.finetuning.settings import FinetuneSettings


def choose_split(settings: FinetuneSettings, store: CaseStore) -> dict[str, list[str]]:
    """Names of the cases of each part; the split file is written where it does not exist.

    Raises:
        InputError: the file does not fit, there is no such fold, or nothing to train on.
    """
    path = Path(settings.split) if settings.split else store.folder / "split.json"
    cases = [LabelledCase(case.name, case.subject, {}, None) for case in store.cases]
    folds = split_file(path, cases, Recipe(settings.shares, settings.folds, settings.split_seed))
    if settings.fold >= len(folds):
        raise InputError(f"{path} has {len(folds)} folds; fold {settings.fold} (from 0) is not one of them")
    fold = folds[settings.fold]
    if not fold["train"]:
        raise InputError(f"{path} leaves no case to train on")
    return {part: fold[part] for part in PARTS}
