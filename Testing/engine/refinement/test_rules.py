"""Nesting, disjointness and locks."""

from __future__ import annotations

import numpy as np
import pytest

from asa.refinement.rules import Rules
from asa.tasks import TASKS


@pytest.mark.parametrize(
    ("task", "segment", "added", "removed"),
    [
        ("tumour", "WT", (2,), (0,)),
        ("tumour", "TC", (1,), (2,)),
        ("tumour", "ET", (3,), (1,)),
        ("tumour", "ED", (2,), (0, 1, 3)),
        ("tissue", "GM", (2,), (0, 1, 3, 4)),
        ("tissue", "CSF", (1, 4), (0, 2, 3)),
        ("wmh", "WMH", (1,), (0,)),
    ],
)
def test_the_values_that_a_voxel_may_take(
    task: str, segment: str, added: tuple[int, ...], removed: tuple[int, ...]
) -> None:
    rules = Rules(TASKS[task])
    found = rules.segment(segment, "A test")
    assert rules.targets(found, adds=True) == added
    assert rules.targets(found, adds=False) == removed


def test_a_lock_keeps_membership() -> None:
    permitted = Rules(TASKS["tumour"], ["TC"]).permitted
    assert permitted[1, 3] and permitted[3, 1] and permitted[0, 2] and permitted[2, 0]
    assert not permitted[2, 1] and not permitted[1, 0] and not permitted[0, 3]


def test_members() -> None:
    rules = Rules(TASKS["tumour"])
    labels = np.arange(4, dtype=np.uint8)
    assert rules.member(labels, rules.segment("TC", "A test")).tolist() == [False, True, False, True]
    assert rules.segment("TC", "A test").bits == 0b1010
