"""Summaries and tests over cases."""

from __future__ import annotations

import numpy as np
import pytest

from asa.metrics import compare, holm, paired_wilcoxon, summarise


def test_summary_of_known_values():
    summary = summarise([1.0, 2.0, 3.0, 4.0, 10.0])
    assert (summary.count, summary.mean, summary.median) == (5, 4.0, 3.0)
    assert summary.sd == pytest.approx(np.sqrt(50 / 4))
    assert 1.0 <= summary.low < summary.mean < summary.high <= 10.0
    assert summary == summarise([1.0, 2.0, 3.0, 4.0, 10.0])
    single = summarise([0.5])
    assert (single.sd, single.low, single.high) == (0.0, 0.5, 0.5)


def test_bootstrap_interval_covers_the_mean_of_normal_samples():
    generator = np.random.default_rng(1)
    hits = 0
    for seed in range(200):
        summary = summarise(list(generator.normal(2.0, 1.0, 40)), resamples=1000, seed=seed)
        hits += summary.low <= 2.0 <= summary.high
    # 95 % nominal; the percentile bootstrap is a little short at n = 40. Four binomial SDs are allowed.
    assert 0.87 <= hits / 200 <= 0.995


@pytest.mark.parametrize("values", [[], [0.5, np.nan], [np.inf]])
def test_summary_refuses_what_has_no_mean(values):
    with pytest.raises(ValueError, match="finite"):
        summarise(values)


def test_wilcoxon_small_sample_is_exact():
    # Five pairs that all differ in one direction: the smallest two-sided p is 2 / 2^5.
    first = [0.1, 0.2, 0.3, 0.4, 0.5]
    second = [0.11, 0.22, 0.33, 0.44, 0.55]
    assert paired_wilcoxon(first, second) == pytest.approx(2 / 32)
    assert paired_wilcoxon(first, first) == 1.0
    with pytest.raises(ValueError, match="same cases"):
        paired_wilcoxon(first, second[:3])


def test_holm_known_answer():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_comparison_of_systems():
    generator = np.random.default_rng(0)
    own = generator.normal(0.9, 0.02, 30)
    scores = {"ours": list(own), "worse": list(own - 0.05), "same": list(own)}
    worse, same = compare(scores, "ours")
    assert (worse.system, same.system) == ("worse", "same")
    assert worse.difference == pytest.approx(0.05)
    assert worse.p_holm == pytest.approx(2 * worse.p)
    assert (same.p, same.difference) == (1.0, 0.0)
