"""What a store of cases holds."""

from __future__ import annotations

import numpy as np
from Testing.engine.labelled_files import tumour_head

from asa.data.case_store import prepare_cases
from asa.data.datasets import DATASETS

SHAPE = (32, 64, 32)


def test_what_is_kept_of_a_head_does_not_change_its_intensities(tmp_path):
    """At use a head is normalised over the whole frame; a store of its middle must hold the same numbers."""
    tumour_head(tmp_path / "brats", "BraTS2021_00000", 0)
    brats = DATASETS["brats2021"]
    whole = prepare_cases(brats, tmp_path / "brats", tmp_path / "whole", align=False)
    part = prepare_cases(brats, tmp_path / "brats", tmp_path / "part", shape=SHAPE, align=False)
    box = tuple(slice((n - k) // 2, (n - k) // 2 + k) for n, k in zip(whole.shape, SHAPE, strict=True))
    assert np.array_equal(whole.read(0)[0][(slice(None), *box)], part.read(0)[0])
