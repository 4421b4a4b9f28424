"""Power of the report's paired comparisons, and the seeds a difference needs.

The test is the report's own: Student-t over paired differences, their variance moderated over the comparisons of a
table (`bench.stats.moderation`), Holm's correction over the same comparisons. Power is that of one comparison in which
the effect is real, at Holm's first and strictest step (0.05 over the number of comparisons); it is a lower bound where
several differences are real. The statistic is a noncentral t with the degrees of freedom that the moderated variance
can be expected to have (`Spread.degrees`). `tests/stats/test_power.py` holds the prediction against simulated tables.

Values are fractions, as everywhere in `bench.stats`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from bench.stats import student
from bench.stats.comparisons import Comparison
from bench.stats.intervals import CONFIDENCE, Unit
from bench.stats.moderation import common_variance

TARGET = 0.8
"""Power that plans ask for."""
MOST_SEEDS = 1000
"""Most seeds that are tried; a difference that needs more needs another experiment."""
ASSUMED_DEVIATION = 0.03
"""Deviation of a paired difference where no run is stored: of the order of nano's on the embedded sets."""
ASSUMED_SHARED = 0.25
"""Squared correlation of comparisons with one opponent whose runs scatter as the others do."""


@dataclass(frozen=True)
class Spread:
    """Variation of the paired differences of one table.

    Attributes:
        deviation: Standard deviation over seeds, pooled over the comparisons.
        comparisons: Comparisons in Holm's correction.
        shared: Mean squared correlation of two comparisons over seeds.
        prior: Degrees of freedom of the prior of their variances (infinite: they have one variance in common).
        df: Degrees of freedom of `deviation`; 0 where it is assumed.
    """

    deviation: float
    comparisons: int = 1
    shared: float = ASSUMED_SHARED
    prior: float = math.inf
    df: float = 0.0

    def degrees(self, seeds: int) -> float:
        """Return the expected degrees of freedom of a comparison.

        Those of `bench.stats.moderation.moderate`, with the squared correlations that this many seeds would show:
        chance adds ``(1 - shared)^2 / (seeds - 1)``.
        """
        own, m = seeds - 1, self.comparisons
        if m < 2:
            return float(own)
        seen = min(1.0, self.shared + (1 - self.shared) ** 2 / own)
        effective = own * m / (1 + (m - 1) * seen)
        return min(self.prior + own, max(float(own), effective))

    def interval(self) -> tuple[float, float] | None:
        """Return the 95 % interval of the deviation.

        None where it is assumed.
        """
        if not self.df:
            return None
        from scipy.special import chdtri

        tails = (1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2
        low, high = (self.deviation * math.sqrt(self.df / float(chdtri(self.df, tail))) for tail in tails)
        return low, high


def power(spread: Spread, effect: float, seeds: int) -> float:
    """Return the chance that an effect is shown after Holm.

    Args:
        spread: Variation of the differences.
        effect: True difference, a fraction.
        seeds: Paired seeds; fewer than two show nothing.
    """
    from scipy.special import ndtr

    if seeds < 2:
        return 0.0
    df = spread.degrees(seeds)
    critical = _quantile(1 - (1 - CONFIDENCE) / spread.comparisons / 2, df)
    centre = abs(effect) / spread.deviation * math.sqrt(seeds)
    # Tails of the noncentral t: a normal's tails, averaged over what the deviation is estimated to be. scipy's own
    # function gives no number where the centre is far away, and `scipy.stats` takes seconds to import.
    estimated = _estimated(df)
    tails = ndtr(centre - critical * estimated) + ndtr(-centre - critical * estimated)
    return float(tails.mean())


_NODES = 400
"""Equally likely values of the estimated deviation; they give power to three digits."""


_quantile = lru_cache(256)(student.quantile)


@lru_cache(256)
def _estimated(df: float) -> npt.NDArray[np.float64]:
    """Return estimates of a deviation of 1, equally likely ones."""
    from scipy.special import chdtri

    found: npt.NDArray[np.float64] = np.sqrt(chdtri(df, (np.arange(_NODES) + 0.5) / _NODES) / df)
    return found


def seeds_needed(spread: Spread, effect: float, target: float = TARGET) -> int | None:
    """Return the fewest seeds that show an effect; None beyond `MOST_SEEDS`.

    Args:
        spread: Variation of the differences.
        effect: True difference, a fraction above 0.
        target: Power, between 0 and 1.
    """
    if power(spread, effect, MOST_SEEDS) < target:
        return None
    low, high = 1, MOST_SEEDS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(spread, effect, middle) >= target else (middle, high)
    return high


def smallest_effect(spread: Spread, seeds: int, target: float = TARGET) -> float | None:
    """Return the smallest difference that some seeds can show.

    None where no difference of two accuracies (up to 1) can be shown with this power.
    """
    if power(spread, 1.0, seeds) < target:
        return None
    low, high = 0.0, 1.0
    while high - low > _PRECISION:
        middle = (low + high) / 2
        low, high = (low, middle) if power(spread, middle, seeds) >= target else (middle, high)
    return high


_PRECISION = 1e-5


def pooled_spread(family: Sequence[Comparison]) -> Spread | None:
    """Pool the variation of comparisons that were made together.

    As `bench.stats.comparisons.judge_family` does: those over pretraining seeds that have an interval, on the same
    runs; several such groups are weighted by their degrees of freedom.

    Returns:
        Their spread; None where none has an interval. Its family counts every comparison that has a p value.
    """
    groups: dict[tuple[Unit, ...], list[list[float]]] = {}
    for one in family:
        if one.low is not None and one.error.over == "seeds":
            groups.setdefault(tuple(one.differences), []).append(list(one.differences.values()))
    if not groups:
        return None
    tables = [np.array(rows) for rows in groups.values()]
    found = [_spread(table) for table in tables]
    total = sum(one.df for one in found)
    largest = max(found, key=lambda one: (one.comparisons, one.df))
    variance = sum(one.df * one.deviation**2 for one in found) / total
    tested = sum(one.p is not None for one in family)
    return replace(largest, deviation=math.sqrt(variance), comparisons=tested, df=total)


_MOST_CORRELATED = 500
"""Comparisons whose correlations are computed: the matrix grows with their square."""


def _spread(table: npt.NDArray[np.float64]) -> Spread:
    """Return the spread of comparisons ``[comparisons, seeds]``."""
    (m, n), own = table.shape, table.var(1, ddof=1)
    deviation = math.sqrt(float(own.mean()))
    if m < 2:
        return Spread(deviation, 1, df=n - 1)
    prior, _ = common_variance(own, n - 1)
    shared = ASSUMED_SHARED
    if n > 2:
        some = table[:_MOST_CORRELATED]
        seen = float(((np.corrcoef(some) ** 2).sum() - len(some)) / (len(some) * (len(some) - 1)))
        by_chance = 1 / (n - 1)
        shared = min(1.0, max(0.0, (seen - by_chance) / (1 - by_chance)))
    return Spread(deviation, m, shared, prior, df=(n - 1) * m / (1 + (m - 1) * shared))
