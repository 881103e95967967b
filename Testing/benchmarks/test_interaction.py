"""The interaction benchmark on a small head: the simulated user, every system, the page."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from Testing.benchmarks.interaction.__main__ import play
from Testing.benchmarks.interaction.report import Record, clicks_to, page
from Testing.benchmarks.interaction.systems import SYSTEMS, GrowFromSeeds, Task
from Testing.benchmarks.interaction.user import next_click
from Testing.engine.refined_heads import MISSED, tumour_head

HEAD = tumour_head()


def test_the_user_clicks_into_the_middle_of_the_largest_error() -> None:
    current = np.isin(HEAD.start.labels.array, (1, 2, 3))
    truth = HEAD.truth > 0
    mark = next_click(current, truth, "WT", HEAD.start.labels.grid)
    assert mark is not None and mark.adds and mark.segment == "WT"
    place = HEAD.start.labels.grid.to_index(mark.points[0])
    assert np.abs(place - MISSED).max() <= 1
    assert next_click(truth, truth, "WT", HEAD.start.labels.grid) is None
    excess = next_click(np.ones_like(truth), truth, "WT", HEAD.start.labels.grid)
    assert excess is not None and excess.action == "remove"


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("given", [True, False])
def test_every_system_follows_the_clicks(name: str, given: bool) -> None:
    if name == GrowFromSeeds.name:
        pytest.importorskip("slicer", reason="slicer-core is not installed (extra 'slicer-core')")
    if "walker" in name:
        pytest.importorskip("skimage")
    start = HEAD.start
    if not given:
        start = replace(start, labels=start.labels.with_array(np.zeros_like(start.labels.array)), posterior=None)
    played = play(name, Task(start, "WT", given, shown=1), HEAD.truth > 0, clicks=4)
    assert len(played.dice) == len(played.seconds) + 1 == len(played.marks) + 1
    # from nothing, ours misses single voxels: of this head the noise is as large as the spread of the tissue
    ours = 0.95 if given else 0.9
    assert played.dice[-1] > (ours if name.startswith("ASA") else 0.5)


def test_the_page_tells_clicks_and_means() -> None:
    def record(system: str, *dice: float) -> Record:
        return Record(
            task="tumour", case="a", segment="WT", start="model", marks="own", system=system, dice=list(dice),
            seconds=[0.5] * (len(dice) - 1), processor_s=[0.25] * (len(dice) - 1), peak_gib=1.0, commit="1a2b3c4",
        )  # fmt: skip

    ours, peer = record("ASA", 0.7, 0.88, 0.93), record("peer", 0.7, 0.71, 0.72)
    assert [clicks_to(ours, goal) for goal in (0.85, 0.90)] == [1, 2]
    assert clicks_to(peer, 0.9) == 3
    text = page([ours, peer], "command")
    assert "Measured at 1a2b3c4, on" in text
    assert "## tumour, WT, from the model’s result, own marks" in text
    assert "| ASA | 1 | 0.700 | 0.880 | 0.930 | +0.230 | 1.0 | 2.0 | 0.25 (0.50) | 0.25 (0.50) | 1.00 |" in text
