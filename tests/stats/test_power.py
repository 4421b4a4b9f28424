"""Power and seeds. If these fail, a plan promises to show what its seeds cannot show."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bench.stats.comparisons import Comparison, compare, judge_family
from bench.stats.intervals import Unit
from bench.stats.power import MOST_SEEDS, Spread, pooled_spread, power, seeds_needed, smallest_effect

quick = settings(max_examples=20, deadline=None, derandomize=True)


def table(rng: np.random.Generator, comparisons: int, seeds: int, correlation: float, effect: float = 0.0) -> list:
    """Judge one table of comparisons of deviation 1 point, the first of which has an effect."""
    common, own = rng.normal(size=seeds), rng.normal(size=(comparisons, seeds))
    values = 0.01 * (math.sqrt(correlation) * common + math.sqrt(1 - correlation) * own)
    values[0] += effect
    zero = {Unit(s): {None: 0.0} for s in range(seeds)}
    rows = [{Unit(s): {None: float(v)} for s, v in enumerate(row)} for row in values]
    found: list[Comparison] = judge_family([compare(("a", "b"), row, zero) for row in rows])
    return found


@pytest.mark.parametrize(("effect", "seeds", "expected"), [(0.5, 34, 0.8078), (0.8, 15, 0.8213), (0.2, 199, 0.8017)])
def test_one_comparison_has_the_published_power(effect: float, seeds: int, expected: float) -> None:
    """Sizes of the paired t test (G*Power's manual and Cohen's d of 0.2, 0.5 and 0.8: 199, 34 and 15 pairs)."""
    assert power(Spread(1.0), effect, seeds) == pytest.approx(expected, abs=5e-4)
    assert seeds_needed(Spread(1.0), effect) == seeds


@quick
@given(st.floats(0.005, 0.3), st.floats(0.005, 0.1), st.integers(2, 40))
def test_it_is_the_noncentral_t_of_scipy(effect: float, deviation: float, seeds: int) -> None:
    """Two-sided, at any distance; far away scipy gives no number, and the power is 1."""
    df, centre = seeds - 1, effect / deviation * math.sqrt(seeds)
    critical = stats.t.ppf(0.975, df)
    expected = stats.nct.sf(critical, df, centre) + stats.nct.cdf(-critical, df, centre)
    if math.isfinite(expected):
        assert power(Spread(deviation), effect, seeds) == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize(
    ("comparisons", "seeds", "correlation"), [(1, 3, 0.0), (6, 3, 0.5), (6, 5, 0.5), (12, 5, 0.5), (4, 8, 0.0)]
)
def test_predicted_power_is_that_of_simulated_reports(comparisons: int, seeds: int, correlation: float) -> None:
    """The report's own judgement (moderated variances, Holm) finds the effect as often as predicted."""
    spread = Spread(0.01, comparisons, correlation**2)
    effect = smallest_effect(spread, seeds)
    assert effect is not None
    rng = np.random.default_rng(comparisons * 100 + seeds)
    found = np.mean([table(rng, comparisons, seeds, correlation, effect)[0].survives_holm for _ in range(250)])
    assert found == pytest.approx(0.8, abs=0.09)


def test_stored_tables_give_their_own_spread_back() -> None:
    """Over many tables the pooled variance is the true one, and so is the correlation of the rows."""
    rng = np.random.default_rng(5)
    spreads = [pooled_spread(table(rng, 8, 4, 0.5)) for _ in range(80)]
    known = [one for one in spreads if one is not None]
    assert len(known) == 80
    assert np.mean([one.deviation**2 for one in known]) == pytest.approx(1e-4, rel=0.15)
    assert np.mean([one.shared for one in known]) == pytest.approx(0.25, abs=0.1)
    inside = [low < 0.01 < high for low, high in filter(None, (one.interval() for one in known))]
    assert np.mean(inside) > 0.85


@quick
@given(st.floats(0.001, 0.1), st.integers(1, 30), st.floats(0, 1), st.integers(2, 30))
def test_seeds_and_differences_answer_each_other(deviation: float, comparisons: int, shared: float, seeds: int) -> None:
    """The difference that n seeds can show needs n seeds, and fewer do not show it."""
    spread = Spread(deviation, comparisons, shared)
    effect = smallest_effect(spread, seeds)
    if effect is None:
        assert power(spread, 1.0, seeds) < 0.8
        return
    needed = seeds_needed(spread, effect)
    assert needed is not None
    assert needed <= seeds
    assert power(spread, effect, needed) >= 0.8
    assert needed == 2 or power(spread, effect, needed - 1) < 0.8


def test_what_no_seed_shows_is_none() -> None:
    """One seed, or a difference too small for a thousand seeds, must not get a number."""
    assert smallest_effect(Spread(0.03), 1) is None
    assert seeds_needed(Spread(0.5), 0.0001) is None
    assert power(Spread(0.5), 0.0001, MOST_SEEDS) < 0.8
    one = compare(("a", "b"), {Unit(0): {None: 0.5}}, {Unit(0): {None: 0.4}})
    assert pooled_spread([one]) is None
    assert pooled_spread([]) is None
