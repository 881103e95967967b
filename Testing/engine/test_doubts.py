"""Sentences about a result agree in number, whatever the image or the region is called, and stand in one place."""

from __future__ import annotations

import ast
import inspect
import itertools
import re
from pathlib import Path

import pytest

from asa import doubts
from asa.tasks import TASKS, TITLES

REGIONS = [region.title for task in TASKS.values() for region in task.regions]
VALUES = {"axis": 1, "share": 0.72, "other": "flair", "likely": "t2", "lies": "face towards the right"}
HELPERS = (doubts.image, doubts.listed, doubts.inside)
# What a sentence never holds whose parts agree.
WRONG = (r"image image", r"agent image", r"\b(\w+) \1\b", r"  ", r"nan|None", r"lesions.* its ")


def sentences() -> dict[str, str]:
    """Every sentence of the module, about each modality and each region."""
    found = {}
    for name, function in inspect.getmembers(doubts, inspect.isfunction):
        if function.__module__ != doubts.__name__ or function in HELPERS:
            continue
        names = inspect.signature(function).parameters
        for key, title in itertools.product(TITLES if "key" in names else [""], REGIONS):
            known = {**VALUES, "key": key, "title": title, "titles": [title]}
            found[f"{name} {key} {title}"] = function(**{one: known.get(one, 0.42) for one in names})
    return found


@pytest.mark.parametrize(("where", "sentence"), sentences().items())
def test_each_is_a_sentence(where: str, sentence: str) -> None:
    assert re.fullmatch(r"[A-Z].*[.?]", sentence), sentence
    assert not [pattern for pattern in WRONG if re.search(pattern, sentence)], (where, sentence)


def test_number_follows_the_regions() -> None:
    one = doubts.unreliable_without("flair", ["Whole tumour"])
    two = doubts.unreliable_without("t1gd", ["Tumour core", "Enhancing tumour"])
    assert one.startswith("Without a FLAIR image the model cannot segment the whole tumour reliably;")
    assert one.endswith("do not interpret this volume.")
    assert two.startswith("Without a T1 image with contrast agent the model cannot segment the tumour core and the ")
    assert two.endswith("the enhancing tumour reliably; do not interpret these volumes.")
    assert doubts.listed(["a", "b", "c"]) == "a, b and c"


def test_abbreviations_keep_their_capitals() -> None:
    assert doubts.inside("CSF") == "CSF" and doubts.inside("White-matter lesions") == "white-matter lesions"


@pytest.mark.parametrize("folder", ["inference", "geometry"])
def test_no_sentence_is_written_elsewhere(folder: str) -> None:
    for path in (Path(doubts.__file__).parent / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Yield) and isinstance(node.value, ast.Constant | ast.JoinedStr):
                pytest.fail(f"{path.name}:{node.lineno} yields a sentence of its own; write it in asa/doubts.py.")
