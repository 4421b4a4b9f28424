"""Average ranks. If these fail, a ranking of methods rests on another test than the one that is named."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bench.stats.ranks import (
    against_best,
    cliques,
    critical_difference,
    friedman,
    improvement,
    rank_error,
    ranks,
    stability,
)

DEMSAR = np.array(
    [
        [4, 3, 2, 1], [1, 2, 3, 4], [4, 1, 2, 3], [4, 1, 3, 2], [4, 2, 3, 1], [1, 2.5, 4, 2.5], [3, 2, 4, 1],
        [2.5, 2.5, 4, 1], [4, 3, 2, 1], [2.5, 2.5, 2.5, 2.5], [4, 2.5, 1, 2.5], [3, 2, 4, 1], [4, 1, 2, 3],
        [3, 1, 4, 2],
    ]
).T  # fmt: skip
"""Ranks of C4.5, C4.5+m, C4.5+cf and C4.5+m+cf on 14 data sets (Demsar 2006, Table 6)."""


def test_the_published_example_comes_out() -> None:
    """Demsar 2006, sections 3.2.2 and 3.2.4: chi-square 9.28, F 3.69, critical difference 1.25."""
    average = DEMSAR.mean(1)
    assert average == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=5e-4)
    found = friedman(DEMSAR)
    assert found.chi_square == pytest.approx(9.28, abs=0.01)
    assert found.f == pytest.approx(3.69, abs=0.01)
    assert found.p == pytest.approx(stats.f.sf(3.69, 3, 39), abs=2e-4)
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=0.01)
    assert rank_error(4, 14) == pytest.approx(0.488, abs=5e-4)
    # Against C4.5 as the control z is (3.143 - 1.964) / 0.488 = 2.416 with p = 0.016; here the best is the control.
    holm = against_best(list(average), 14)
    assert holm[3] is None
    assert holm[0] == pytest.approx(3 * 0.016, abs=2e-3)


@pytest.mark.parametrize(("methods", "q"), [(2, 1.960), (3, 2.343), (5, 2.728), (10, 3.164)])
def test_critical_values_are_the_published_ones(methods: int, q: float) -> None:
    """Demsar 2006, Table 5a, at 5 %."""
    found = critical_difference(methods, 20) / rank_error(methods, 20)
    assert found == pytest.approx(q, abs=1e-3)


def test_ranks_and_friedman_are_scipys_without_ties() -> None:
    """Rank 1 is the highest score, equal scores share; the statistic is that of scipy."""
    rng = np.random.default_rng(0)
    scores = rng.random((5, 12))
    assert ranks(scores) == pytest.approx(stats.rankdata(-scores, axis=0))
    assert friedman(ranks(scores)).chi_square == pytest.approx(stats.friedmanchisquare(*scores).statistic)
    assert ranks(np.array([[0.5], [0.7], [0.5]]))[:, 0].tolist() == [2.5, 1.0, 2.5]
    assert friedman(ranks(np.arange(3.0)[:, None] + np.zeros((3, 10)))).p == 0.0


def test_groups_are_those_within_the_critical_difference() -> None:
    """Two overlapping groups, and one method apart from all."""
    assert cliques([1.0, 1.8, 2.6, 5.0], 1.0) == [(0, 1), (1, 2)]
    assert cliques([2.6, 1.0, 1.8, 5.0], 2.0) == [(1, 2, 0)]
    assert cliques([1.0, 3.0], 1.0) == []


def test_resampled_seeds_shake_what_seeds_decide() -> None:
    """A method better in every seed stays first; two that differ by luck change places."""
    rng = np.random.default_rng(1)
    scores = rng.normal(0.5, 0.02, (3, 12, 5))
    scores[0] += 0.3
    scores[1] = scores[2] + np.array([0.05, -0.05, 0.05, -0.04, 0.0])
    first, second, third = stability(scores)
    assert (first.low, first.high, first.best) == (1.0, 1.0, 1.0)
    assert second.low < 2.5 < third.high
    assert second.best == third.best == 0.0
    equal = stability(np.full((2, 10, 3), 0.4))
    assert [one.best for one in equal] == [0.5, 0.5]


def test_probability_of_improvement_is_mann_whitneys() -> None:
    """The mean over cells of U / (n m), as rliable defines it; who is first only mirrors it."""
    rng = np.random.default_rng(2)
    first, second = rng.integers(0, 6, (11, 5)) / 10 + 0.1, rng.integers(0, 6, (11, 6)) / 10
    expected = np.mean([stats.mannwhitneyu(a, b).statistic / 30 for a, b in zip(first, second, strict=True)])
    found, back = improvement(first, second), improvement(second, first)
    assert found.value == pytest.approx(expected)
    assert back.value == pytest.approx(1 - expected)
    assert found.low < found.value < found.high
    sure = improvement(first + 1, second)
    assert (sure.value, sure.low, sure.high) == pytest.approx((1.0, 1.0, 1.0))
