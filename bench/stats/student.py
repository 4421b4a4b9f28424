"""Student's t distribution without the slow import of `scipy.stats`.

Those of `scipy.stats.t` to the last digit, which calls the same functions and takes over a second to import.
"""

from __future__ import annotations


def quantile(probability: float, df: float) -> float:
    """Return a quantile; `df` may be infinite."""
    from scipy.special import stdtrit

    return float(stdtrit(df, probability))


def two_sided(statistic: float, df: float) -> float:
    """Return the two-sided p value of a statistic."""
    from scipy.special import stdtr

    return 2 * float(stdtr(df, -abs(statistic)))


def upper_tail(statistic: float, df: float) -> float:
    """Return the one-sided p value: chance of a larger statistic."""
    from scipy.special import stdtr

    return float(stdtr(df, -statistic))
