"""Whether there is a head around the brain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from Testing.engine.atlas_heads import head, true_matrix

from asa.geometry import Alignment, is_stripped
from asa.geometry.register import working_copy
from asa.geometry.search import Foreground
from asa.volume import Volume

LYING = Alignment(true_matrix(3, 2, 4), "affine", 1.0)


def short_head() -> Volume:
    """A whole head in zeros that ends above the skull base, as thick slices often do."""
    scan = head(LYING.matrix, person=1)
    height = scan.grid.to_world(np.indices(scan.grid.shape).reshape(3, -1).T)[:, 2].reshape(scan.grid.shape)
    lowest = (LYING.matrix @ [0, 0, -25, 1])[2]
    return scan.with_array(np.where((height < lowest) | (scan.array < 0.1 * scan.array.max()), 0, scan.array))


def test_a_small_head_in_zeros_is_no_stripped_brain() -> None:
    scan = short_head()
    assert Foreground.of(working_copy(scan), None).stripped, "by its size it may be a brain"
    assert not is_stripped(scan, LYING)
    assert is_stripped(scan, replace(LYING, method="estimate")), "where the brain lies is not known"


def test_a_stripped_brain_and_a_head_in_noise() -> None:
    assert is_stripped(head(LYING.matrix, person=1, stripped=True), LYING)
    assert not is_stripped(head(LYING.matrix, person=1), LYING)
