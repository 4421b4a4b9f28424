"""Student's t. If these fail, every interval and p value of a report is another one."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from bench.stats import student


@pytest.mark.parametrize("df", [0.5, 1, 2.37, 9, 1e6, math.inf])
def test_quantiles_and_tails_are_those_of_scipy(df: float) -> None:
    """Intervals leave `scipy.stats` out to start sooner; not one digit may change."""
    for probability in (0.6, 0.95, 0.975, 0.9995):
        assert student.quantile(probability, df) == stats.t.ppf(probability, df)
    for statistic in (-3.1, 0.0, 1e-9, 2.2, 40.0, math.inf):
        assert student.two_sided(statistic, df) == 2 * stats.t.sf(abs(statistic), df)
