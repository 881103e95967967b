"""The table of the ablation."""

from __future__ import annotations

from Testing.benchmarks.models.ablation import ARMS, table

BASE, OURS = "Baseline", "w/ ASA"


def test_gains_are_of_the_same_seed_with_what_could_have_been_detected() -> None:
    done = {}
    for seed, (low, gained) in enumerate([(0.5, 0.1), (0.6, 0.12), (0.7, 0.08), (0.4, 0.1), (0.5, 0.09), (0.6, 0.11)]):
        done[BASE, seed] = {"WT": low, "mean": low}
        done[OURS, seed] = {"WT": low + gained, "mean": low + gained}
    rows = [line.split("|")[1:-1] for line in table(done, ["WT"]).splitlines()[2:]]
    baseline, ours = ([cell.strip() for cell in row] for row in rows)
    assert baseline[:3] == [BASE, "6", "0.550 ± 0.105"] and baseline[4:] == ["", ""]
    # t of 5 degrees of freedom: (2.571 + 0.920) x 0.01414 / sqrt(6)
    assert ours[4] == "+0.100 ± 0.014 (detectable 0.020)"
    assert ours[5] == "0.031 (0.031)"  # the least that six pairs can give


def test_parts_of_the_ablation_make_a_table() -> None:
    done = {(BASE, 0): {"WT": 0.5, "mean": 0.5}, (OURS, 3): {"WT": 0.6, "mean": 0.6}}
    text = table(done, ["WT"])
    assert "| w/ ASA | 1 | 0.600 | 0.600 |" in text
    assert len(ARMS) == 6 and text.count("\n|") == 3
