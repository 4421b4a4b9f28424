"""Intervals over pretraining seeds. If these fail, every ± in a report is wrong."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.stats.intervals import Unit, fold_mean, mean_error, standard_deviation, summarise

fractions = st.floats(0.0, 1.0, allow_nan=False)


def student_interval(values: list[float]) -> tuple[float, float] | None:
    half = mean_error({Unit(seed): value for seed, value in enumerate(values)}).half_width()
    mean = statistics.fmean(values)
    return None if half is None else (mean - half, mean + half)


def test_interval_matches_a_hand_worked_example() -> None:
    """Mean 0.6, deviation 0.1, n 4: half-width 3.182446 * 0.1 / 2 (t table, 3 degrees of freedom)."""
    values = [0.6 - 0.1 * math.sqrt(1.5), 0.6, 0.6, 0.6 + 0.1 * math.sqrt(1.5)]
    interval = student_interval(values)
    assert interval is not None
    assert interval == pytest.approx((0.6 - 0.1591223, 0.6 + 0.1591223), abs=1e-6)


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Simulated: of 2,000 cells of five seeds, 95 % (within 4 standard errors) hold the true mean."""
    draws = np.random.default_rng(0).normal(0.7, 0.02, size=(2000, 5))
    intervals = [student_interval(list(map(float, row))) for row in draws]
    covered = statistics.fmean(low <= 0.7 <= high for low, high in filter(None, intervals))
    assert abs(covered - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 2000)


def test_one_seed_has_no_interval_but_the_deviation_of_its_folds() -> None:
    """A single pretraining must never be shown with a ±."""
    summary = summarise({Unit(0): {None: 0.5, 0: 0.4, 1: 0.6}})
    assert (summary.n, summary.low, summary.high, summary.half_width, summary.deviation) == (1, None, None, None, None)
    assert summary.fold_deviation == pytest.approx(statistics.stdev([0.4, 0.6]))
    assert summary.folds == 2


def test_folds_are_averaged_within_a_seed_first() -> None:
    """Counting ten folds of two encoders as twenty runs would make intervals far too narrow."""
    scores = {Unit(0): {f: 0.5 + 0.01 * f for f in range(10)}, Unit(1): {f: 0.6 + 0.01 * f for f in range(10)}}
    summary = summarise(scores)
    assert summary.n == 2
    assert summary.mean == pytest.approx(0.595)
    assert summary.half_width == pytest.approx(12.7062047 * statistics.stdev([0.545, 0.645]) / math.sqrt(2))
    assert summary.fold_deviation is None


def test_a_run_value_without_folds_counts_as_it_is() -> None:
    """Protocols without folds store one value per run."""
    assert fold_mean({None: 0.25}) == 0.25
    assert summarise({Unit(0): {None: 0.25}, Unit(1): {None: 0.75}}).folds == 0


@pytest.mark.parametrize("scores", [{}, {Unit(0): {}}, {Unit(0): {0: math.nan}}, {Unit(0): {0: 0.5, 1: math.inf}}])
def test_nothing_and_not_a_number_are_refused(scores: dict[Unit, dict[int | None, float]]) -> None:
    """A NaN averaged in silently would poison a table."""
    with pytest.raises(ValueError, match="cannot"):
        summarise(scores)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(fractions, min_size=2, max_size=8))
def test_interval_surrounds_the_mean_and_ignores_order(values: list[float]) -> None:
    """The order in which runs finished must not change a report."""
    a = summarise({Unit(i): {None: v} for i, v in enumerate(values)})
    b = summarise({Unit(i): {None: v} for i, v in enumerate(reversed(values))})
    assert a.mean == pytest.approx(b.mean)
    assert (a.low is None) == (b.low is None) == (a.deviation == 0)
    if a.low is not None and a.high is not None:
        assert a.low <= a.mean + 1e-12
        assert a.high >= a.mean - 1e-12
        assert (a.low, a.high) == pytest.approx((b.low, b.high))
    assert a.minimum <= a.mean + 1e-12 <= a.maximum + 2e-12


def test_equal_values_have_no_interval() -> None:
    """Two seeds that happen to agree, or a teacher that never varies, would read as known without error (± 0.0)."""
    assert student_interval([0.1 + 0.2, 0.3, 0.3]) is None
    assert summarise({Unit(0): {None: 0.8}, Unit(1): {None: 0.8}}).half_width is None


@given(st.lists(fractions, min_size=2, max_size=20))
def test_standard_deviation_is_that_of_exact_fractions(values: list[float]) -> None:
    """Sums of squares in floats lose a small spread around a large mean; `statistics` calculates exactly."""
    assert standard_deviation(values) == pytest.approx(statistics.stdev(values), rel=1e-9, abs=1e-12)
    with pytest.raises(ValueError, match="two are needed"):
        standard_deviation(values[:1])
