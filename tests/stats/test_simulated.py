"""Simulated rates. If these fail, a report finds differences that are none, or none that are there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.stats.comparisons import Comparison, Lost, compare, judge_family
from bench.stats.intervals import Unit, crossed_error, mean_error
from bench.stats.moderation import effective_degrees, moderate
from tests.stats.simulate import coverage, differences, family, same_method

HOUSEHOLD = (0.050, -0.029, -0.030, -0.005, 0.002, 0.027)
"""Measured: one ReCon encoder against scratch on household7 5w10s, split seeds 0 to 5."""


def compared(differences: dict[Unit, float], lost: tuple[Lost, ...] = ()) -> Comparison:
    zero: dict[Unit, dict[int | None, float]] = {unit: {None: 0.0} for unit in differences}
    return compare(("a", "b"), {unit: {None: value} for unit, value in differences.items()}, zero, lost)


def test_gains_of_fifteen_points_are_found_with_three_seeds_and_equal_methods_are_not() -> None:
    """On each row's own deviation Holm found a quarter of such gains in a table of ten."""
    found = family(40, 10, 3)
    assert found["own"]["power"] < 0.55
    assert found["moderated"]["power"] > 0.9
    assert found["moderated"]["family"] <= 0.06
    assert found["moderated"]["alarms"] <= 0.06


@pytest.mark.parametrize(("seeds", "shared"), [(3, 0.6), (5, 0.0)])
def test_unequal_variances_and_shared_seeds_raise_no_alarms(seeds: int, shared: float) -> None:
    """Plain pooling is wrong where variances differ: in a fifth of large tables of equal methods it finds something."""
    found = family(40, 6, seeds, spread=0.5, shared=shared)
    assert found["moderated"]["family"] <= 0.15
    assert found["moderated"]["alarms"] <= 0.1


def test_interval_verdict_and_p_rest_on_one_variance() -> None:
    """An interval that excludes 0 beside "no difference shown" is a report that contradicts itself."""
    table = differences(np.random.default_rng(3), 6, 3) + 0.04
    judged = judge_family([compared({Unit(s): float(v) for s, v in enumerate(row)}) for row in table])
    for c in judged:
        assert c.moderated
        assert c.low is not None
        assert c.high is not None
        assert c.p is not None
        assert c.p_holm is not None
        assert (c.low > 0 or c.high < 0) == c.shown == (c.p < 0.05)
        assert c.p_holm >= c.p
    alone = compared({Unit(s): float(v) for s, v in enumerate(table[0])})
    assert judge_family([alone])[0].low == alone.low, "nothing to moderate with"


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(2, 6), st.integers(2, 5), st.integers(0, 99), st.floats(0.1, 30.0))
def test_moderated_variances_lie_between_their_own_and_the_common_one(m: int, n: int, seed: int, scale: float) -> None:
    """Points or fractions must not change a verdict, nor may the order of rows."""
    table = differences(np.random.default_rng(seed), m, n, spread=0.7, shared=0.3)
    found, scaled = moderate(table), moderate(scale * table)
    own = table.var(1, ddof=1)
    assert all(a.df == pytest.approx(b.df, rel=1e-6) for a, b in zip(found, scaled, strict=True))
    assert all(b.variance == pytest.approx(scale**2 * a.variance) for a, b in zip(found, scaled, strict=True))
    assert [one.variance for one in moderate(table[::-1])] == pytest.approx([one.variance for one in found[::-1]])
    assert (
        np.argsort([one.variance for one in found]).tolist() == np.argsort(own).tolist() or found[0].df == found[1].df
    )
    assert all(n - 1 <= one.df <= m * (n - 1) + 1e-9 for one in found)
    assert n - 1 - 1e-9 <= effective_degrees(table) <= m * (n - 1) + 1e-9


@pytest.mark.parametrize(("seeds", "splits"), [(3, 3), (5, 3)])
@pytest.mark.parametrize("spreads", [(1.0, 1.0, 1.0), (2.0, 0.0, 1.0), (0.0, 0.0, 1.0)])
def test_intervals_over_seeds_and_split_seeds_cover(
    seeds: int, splits: int, spreads: tuple[float, float, float]
) -> None:
    """Three seeds on three splits are not nine independent runs."""
    assert coverage(400, seeds, splits, *spreads) >= 0.91


def test_crossed_components_are_those_of_a_hand_worked_table() -> None:
    """Rows 1, 2, 4 and columns 0, 6 without interaction: components are the variances of rows and of columns."""
    error = mean_error({Unit(s, p): a + b for s, a in enumerate((1, 2, 4)) for p, b in enumerate((0, 6))})
    assert (error.over, error.rest) == ("both", 0.0)
    assert error.seeds == pytest.approx(np.std([1, 2, 4], ddof=1))
    assert error.splits == pytest.approx(np.std([0, 6], ddof=1))
    assert error.variance == pytest.approx(np.var([1, 2, 4], ddof=1) / 3 + np.var([0, 6], ddof=1) / 2)
    assert 1 < error.df < 2
    assert crossed_error([[0.5, 0.5], [0.5, 0.5]]).variance is None


def test_one_encoder_on_six_splits_shows_nothing_about_household() -> None:
    """+5.0 on split seed 0 was a gain in a table; over six draws of the split it is none."""
    found = compared({Unit(0, split): value for split, value in enumerate(HOUSEHOLD)})
    assert (found.error.over, found.verdict, found.n) == ("splits", "none", 1)
    assert found.words == "no difference shown with this one pretraining"
    assert any("for this encoder and no other" in note for note in found.notes)


def test_a_table_with_gaps_is_no_interval_over_both() -> None:
    """Five seeds on one split and one seed on six are no crossed table."""
    runs = {**{Unit(s): 0.1 + s / 100 for s in range(5)}, **{Unit(0, p): 0.1 + p / 50 for p in range(1, 6)}}
    found = compared(runs)
    assert (found.verdict, found.low, found.p) == ("gaps", None, None)
    assert any("1/1" in note for note in found.notes)


@pytest.mark.parametrize("side", ["a", "b"])
def test_lost_seeds_take_the_verdict_away(side: str) -> None:
    """Two diverged seeds of five left "above scratch" over the three that did not."""
    lost = Lost(side, {Unit(3): "diverged", Unit(4): "diverged"}, 5)
    found = compared({Unit(s): 0.2 + s / 100 for s in range(3)}, (lost,))
    assert (found.verdict, found.low, found.p) == ("lost", None, None)
    assert found.words.endswith("2 of 5 seeds diverged: no verdict")
    assert judge_family([found, found])[0].p_holm is None
    assert Lost("a", {Unit(0): "diverged", Unit(1, 1): "failed"}, 6).words == "1 of 6 runs diverged, 1 of 6 runs failed"


@pytest.mark.parametrize("spreads", [(0.0, 1.0), (0.3, 0.5)])
def test_other_seeds_of_one_method_are_no_other_method(spreads: tuple[float, float]) -> None:
    """The test over objects called them different in 6 to 60 % of the cases."""
    found = same_method(100, 3, 200, *spreads)
    assert found["methods"] <= 0.1
    assert spreads[0] == 0 or found["objects"] > 0.25
