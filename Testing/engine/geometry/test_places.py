"""Parts of the brain by their place: well-known points of MNI152 space lie where anatomy has them."""

from __future__ import annotations

import numpy as np
import pytest

from asa.geometry.places import is_cortical, is_infratentorial

BELOW = {
    "pons": (0, -28, -32), "medulla": (0, -40, -50), "hemisphere": (30, -65, -40), "vermis": (0, -60, -20),
    "middle peduncle": (22, -48, -34), "lateral hemisphere": (45, -60, -40), "dentate nucleus": (-16, -56, -34),
}  # fmt: skip
ABOVE = {
    "occipital pole": (10, -95, 2), "lingual": (12, -75, 0), "fusiform": (35, -50, -15), "hippocampus": (28, -20, -16),
    "temporal pole": (40, 10, -35), "temporal white matter": (38, -30, -8), "thalamus": (10, -18, 8),
    "occipital white matter": (20, -80, 5), "splenium": (0, -38, 14),
}  # fmt: skip
CORTEX = {
    "insula": (38, 5, 0), "precentral": (-35, -22, 60), "cingulate": (5, 20, 30), "calcarine": (8, -80, 5),
    "temporal": (55, -20, 0), "orbitofrontal": (10, 40, -18),
}  # fmt: skip
DEEP = {"thalamus": (-10, -18, 8), "caudate": (12, 12, 10), "putamen": (26, 5, 0), "pallidum": (20, -5, 0)}


@pytest.mark.parametrize(("places", "below"), [(BELOW, True), (ABOVE, False)])
def test_the_tentorium(places: dict[str, tuple[int, int, int]], below: bool) -> None:
    found = is_infratentorial(np.array(list(places.values()), float))
    assert [name for name, one in zip(places, found, strict=True) if one != below] == []


@pytest.mark.parametrize(("places", "cortical"), [(CORTEX, True), (DEEP, False)])
def test_cortex_and_deep_nuclei(places: dict[str, tuple[int, int, int]], cortical: bool) -> None:
    found = is_cortical(np.array(list(places.values()), float))
    assert [name for name, one in zip(places, found, strict=True) if one != cortical] == []


def test_left_and_right_are_alike() -> None:
    points = np.random.default_rng(0).uniform(-70, 70, (200, 3))
    for rule in (is_infratentorial, is_cortical):
        np.testing.assert_array_equal(rule(points), rule(points * (-1, 1, 1)))
