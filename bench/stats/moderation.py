"""Moderate variances of comparisons by those of their table.

Empirical Bayes (Smyth 2004).

With three seeds a comparison's own variance has two degrees of freedom: it may be far too small or far too large, and
after a correction over twenty comparisons almost nothing is found. All comparisons of a table are made on the same
seeds with the same number of them, so their variances are alike, and each is drawn towards their common value as far
as they are (empirical Bayes: Smyth, *Linear models and empirical Bayes methods*, 2004, section 6). Rows of a table
share their seeds, so that their variances are no independent draws; the degrees of freedom are therefore at most the
effective number of the table (Greenhouse and Geisser, *On methods in the analysis of profile data*, 1959).
`tests/stats/simulate.py` prints false alarms and power of this choice and of others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_STEPS = 50
"""Newton steps towards the inverse of the trigamma function; fewer than ten are needed."""


@dataclass(frozen=True)
class Moderated:
    """A moderated variance.

    Attributes:
        variance: Of a single difference.
        df: Its degrees of freedom.
    """

    variance: float
    df: float


def moderate(differences: npt.NDArray[np.floating[Any]], means: int = 1) -> list[Moderated]:
    """Moderate the variances of comparisons over the same seeds.

    Args:
        differences: Paired differences ``[comparisons, seeds]``, at least two seeds; no row may be constant.
        means: Number of means estimated in each row: more than one where a row joins several measurements, each
            with its own mean already subtracted.

    Returns:
        One variance per comparison; its own where there is only one.
    """
    m, n = differences.shape
    own, df = differences.var(1, ddof=means), n - means
    if m < 2:
        return [Moderated(float(value), df) for value in own]
    prior, common = common_variance(own, df)
    weight = 1.0 if math.isinf(prior) else prior / (prior + df)
    most = max(float(df), effective_degrees(differences, means))
    return [
        Moderated(float(weight * common + (1 - weight) * value), float(min(prior + df, df * m, most))) for value in own
    ]


def effective_degrees(differences: npt.NDArray[np.floating[Any]], means: int = 1) -> float:
    """Return the pooled variance's effective degrees of freedom.

    Comparisons on the same seeds are not independent.

    That is ``(n - 1) m^2 / sum r_ij^2`` with the correlations r over seeds: ``n - 1`` where all comparisons move alike.

    Args:
        differences: ``[m comparisons, n seeds]``, no row constant.
        means: Number of means estimated in each row, as in `moderate`.
    """
    m, n = differences.shape
    correlations = np.atleast_2d(np.corrcoef(differences))
    return float((n - means) * m**2 / (correlations**2).sum())


def common_variance(variances: npt.NDArray[np.floating[Any]], df: int) -> tuple[float, float]:
    """Estimate the prior variance and its degrees of freedom.

    Smyth 2004, section 6.2.

    The degrees are infinite where the variances differ no more than draws of one variance do; then it is their mean.
    """
    from scipy import special

    logs = np.log(variances) - special.digamma(df / 2) + math.log(df / 2)
    excess = float(logs.var(ddof=1) - special.polygamma(1, df / 2))
    if excess <= 0:
        return math.inf, float(variances.mean())
    half = _inverse_trigamma(excess)
    return 2 * half, math.exp(float(logs.mean()) + float(special.digamma(half)) - math.log(half))


def _inverse_trigamma(value: float) -> float:
    """Solve ``trigamma(x) = value`` (Smyth 2004, appendix).

    By Newton's method on the reciprocal, which is convex.
    """
    from scipy import special

    x = 0.5 + 1 / value
    for _ in range(_STEPS):
        now = float(special.polygamma(1, x))
        step = now * (1 - now / value) / float(special.polygamma(2, x))
        x += step
        if -step < 1e-8 * x:
            break
    return x
