"""Equivalence within a margin. If these fail, "no difference shown" is sold as "equal"."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bench.stats.comparisons import compare, judge_family
from bench.stats.equivalence import judge_together, of_comparison, tost
from bench.stats.intervals import Unit

quick = settings(max_examples=60, deadline=None, derandomize=True)


def by_seed(values: list[float]) -> dict[Unit, float]:
    return {Unit(seed): value for seed, value in enumerate(values)}


@quick
@given(st.lists(st.floats(-0.05, 0.05), min_size=5, max_size=12), st.floats(0.001, 0.2))
def test_it_is_two_one_sided_t_tests(values: list[float], margin: float) -> None:
    """p is the larger of scipy's two, and the verdict is the 90 % interval inside the margin."""
    found = tost(by_seed(values), margin)
    if found.p is None:
        assert np.std(values) < 1e-9
        assert found.verdict == "not shown"
        return
    above = stats.ttest_1samp(values, -margin, alternative="greater").pvalue
    below = stats.ttest_1samp(values, margin, alternative="less").pvalue
    assert found.p == pytest.approx(max(above, below), rel=1e-6, abs=1e-12)
    assert found.low is not None
    assert found.high is not None
    if abs(found.p - 0.05) > 1e-9:
        assert (found.verdict == "equivalent") == (-margin < found.low and found.high < margin)


def test_four_seeds_are_never_enough() -> None:
    """Four equal-looking seeds must not make a claim of equality."""
    values = [0.001, -0.001, 0.0005, 0.0]
    assert tost(by_seed(values), 0.01).verdict == "too few seeds"
    assert "there are 4" in tost(by_seed(values), 0.01).words
    assert tost(by_seed([*values, 0.0002]), 0.01).words == "equivalent within ± 1 points"
    one = {Unit(0, split): value for split, value in enumerate([*values, 0.0002])}
    assert tost(one, 0.01).verdict == "too few seeds"  # five split seeds of one encoder are one seed


def test_noise_is_not_equality() -> None:
    """A mean of 0 with wide scatter, or with none that is known, shows nothing."""
    assert tost(by_seed([0.05, -0.05, 0.04, -0.04, 0.0]), 0.01).words == "equivalence within ± 1 points not shown"
    for values in ([0.0] * 5, [0.002] * 5):
        found = tost(by_seed(values), 0.01)
        assert (found.verdict, found.low) == ("not shown", None)
        assert "variation of the difference is unknown" in found.words
    assert tost({}, 0.01).verdict == "too few seeds"


@pytest.mark.parametrize("margin", [0.0, -0.01, math.nan, math.inf])
def test_a_margin_that_is_none_is_refused(margin: float) -> None:
    """With a margin of 0 or of infinity the verdict would be decided beforehand."""
    with pytest.raises(ValueError, match="above 0"):
        tost(by_seed([0.0, 0.001, 0.002]), margin)


def test_a_judged_comparison_keeps_its_moderated_variance() -> None:
    """Alone it is the plain test; beside others, the interval behind both verdicts is the same one."""
    rng = np.random.default_rng(4)
    zero = {Unit(s): {None: 0.0} for s in range(6)}
    compared = [
        compare(("a", "b"), {Unit(s): {None: float(v)} for s, v in enumerate(rng.normal(0, 0.004, 6))}, zero)
        for _ in range(3)
    ]
    plain, direct = of_comparison(compared[0], 0.01), tost(compared[0].differences, 0.01)
    assert plain.p == pytest.approx(direct.p)
    assert plain.low == pytest.approx(direct.low)
    judged = [of_comparison(one, 0.01) for one in judge_family(compared)]
    assert judged[0].p != pytest.approx(direct.p, rel=1e-3)
    together = judge_together(judged)
    assert all(one.p_holm is not None and one.p is not None and one.p_holm >= one.p for one in together)


def test_equal_methods_are_rarely_called_equivalent_at_the_margin() -> None:
    """At a true difference of exactly the margin the error rate is at most 5 %."""
    rng = np.random.default_rng(0)
    draws = rng.normal(0.01, 0.01, (2000, 5))
    wrong = np.mean([tost(by_seed(list(row)), 0.01).verdict == "equivalent" for row in draws])
    assert wrong < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2000)
