"""Student's t distribution: its quantiles and tails.

Those of `scipy.stats.t` to the last digit, which calls the same functions and takes over a second to import.
"""

from __future__ import annotations


def quantile(probability: float, df: float) -> float:
    """Return the value that a draw stays below with a probability; `df` may be infinite."""
    from scipy.special import stdtrit

    return float(stdtrit(df, probability))


def two_sided(statistic: float, df: float) -> float:
    """Return how probable a draw is that is at least as far from 0."""
    from scipy.special import stdtr

    return 2 * float(stdtr(df, -abs(statistic)))
