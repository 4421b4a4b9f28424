"""Average ranks of methods over many cells, and how sure they are.

Friedman's test with Iman and Davenport's correction, Holm's step-down procedure against the best method and Nemenyi's
critical difference are those of Demsar, *Statistical Comparisons of Classifiers over Multiple Data Sets* (2006); the
probability of improvement is that of Agarwal et al., *Deep Reinforcement Learning at the Edge of the Statistical
Precipice* (2021). What is ranked are means over seeds; rank 1 is the best, and equal means share their ranks.

The tests take cells as independent draws, with at least `FEWEST_CELLS`. Where one encoder is judged in many cells they
are not, and p values are too small: stability under resampled seeds keeps an encoder's cells together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.stats.comparisons import holm
from bench.stats.intervals import CONFIDENCE

FEWEST_CELLS = 10
"""Least number of cells (protocol, data set, setting) that ranks are averaged over."""
FEWEST_METHODS = 3
FEWEST_SEEDS = 5
"""Least number of seeds of each method for a probability of improvement."""
DRAWS = 2000
"""Resamples of the seeds."""
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Friedman:
    """Friedman's test of "all methods are equal".

    Attributes:
        chi_square: Friedman's statistic.
        f: Iman and Davenport's statistic; infinite where all cells agree.
        p: p value of `f`.
        cells: Cells.
        methods: Methods.
    """

    chi_square: float
    f: float
    p: float
    cells: int
    methods: int


@dataclass(frozen=True)
class Stability:
    """Average rank of one method under resampled seeds.

    Attributes:
        low: Lower end of the central 95 % of its average ranks.
        high: Upper end.
        best: Share of the resamples in which it has the best average rank; shared first places count in part.
    """

    low: float
    high: float
    best: float


@dataclass(frozen=True)
class Improvement:
    """Probability that a run of one method beats one of another.

    Attributes:
        value: Averaged over cells; equal scores count half.
        low: Lower end of its 95 % interval, seeds resampled.
        high: Upper end.
    """

    value: float
    low: float
    high: float


def ranks(means: Numbers) -> Numbers:
    """Return each method's rank in each cell, 1 for the best.

    Args:
        means: Scores ``[..., methods, cells]``; higher is better.
    """
    above = (means[..., None, :, :] > means[..., :, None, :]).sum(-2)
    equal = (means[..., None, :, :] == means[..., :, None, :]).sum(-2)
    found: Numbers = above + (equal + 1) / 2
    return found


def friedman(ranked: Numbers) -> Friedman:
    """Test whether average ranks differ (Demsar 2006, section 3.2.1).

    Args:
        ranked: Ranks ``[methods, cells]``.
    """
    from scipy.special import fdtrc

    k, n = ranked.shape
    average = ranked.mean(1)
    chi_square = 12 * n / (k * (k + 1)) * (float((average**2).sum()) - k * (k + 1) ** 2 / 4)
    left = n * (k - 1) - chi_square
    f = (n - 1) * chi_square / left if left > 1e-9 * n else math.inf
    p = 0.0 if math.isinf(f) else float(fdtrc(k - 1, (k - 1) * (n - 1), f))
    return Friedman(chi_square, f, p, n, k)


def critical_difference(methods: int, cells: int) -> float:
    """Return Nemenyi's critical difference of average ranks.

    At 5 %, between all pairs of methods.
    """
    from scipy.stats import studentized_range

    return float(studentized_range.ppf(CONFIDENCE, methods, math.inf)) / math.sqrt(2) * rank_error(methods, cells)


def rank_error(methods: int, cells: int) -> float:
    """Return the standard error of a difference of average ranks."""
    return math.sqrt(methods * (methods + 1) / (6 * cells))


def against_best(average: Sequence[float], cells: int) -> list[float | None]:
    """Return p of each method against the best, after Holm.

    None for the best itself, which was chosen after looking: the values are a guide.

    Args:
        average: Average rank of every method.
        cells: Cells they are averaged over.
    """
    from scipy.special import ndtr

    best = min(range(len(average)), key=lambda at: average[at])
    others = [at for at in range(len(average)) if at != best]
    error = rank_error(len(average), cells)
    raw = [2 * float(ndtr(-(average[at] - average[best]) / error)) for at in others]
    found: list[float | None] = [None] * len(average)
    for at, p in zip(others, holm(raw), strict=True):
        found[at] = p
    return found


def cliques(average: Sequence[float], difference: float) -> list[tuple[int, ...]]:
    """Group methods whose average ranks are not told apart.

    The longest groups of neighbours within a critical difference, none of which is part of another; single methods are
    left out.
    """
    order = sorted(range(len(average)), key=lambda at: average[at])
    found: list[tuple[int, ...]] = []
    for start in range(len(order)):
        group = tuple(at for at in order[start:] if average[at] - average[order[start]] <= difference)
        if len(group) > 1 and not (found and set(group) <= set(found[-1])):
            found.append(group)
    return found


def stability(scores: Numbers, draws: int = DRAWS) -> list[Stability]:
    """Resample seeds and rank again.

    Seeds are paired: all methods and cells are resampled together.

    Args:
        scores: ``[methods, cells, seeds]``, at least two seeds.
        draws: Resamples.
    """
    rng = np.random.default_rng(0)
    seeds = scores.shape[2]
    counts = rng.multinomial(seeds, [1 / seeds] * seeds, draws) / seeds
    average = np.concatenate([ranks(_weighted(scores, part)).mean(-1) for part in np.array_split(counts, _PARTS)])
    first = average == average.min(1, keepdims=True)
    best = (first / first.sum(1, keepdims=True)).mean(0)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(average, [tail, 1 - tail], axis=0)
    return [Stability(float(a), float(b), float(c)) for a, b, c in zip(low, high, best, strict=True)]


_PARTS = 20
"""Parts in which resamples are ranked: all at once would need much memory."""


def _weighted(scores: Numbers, counts: Numbers) -> Numbers:
    """Return means ``[draws, methods, cells]`` of resampled seeds.

    Rounded, so that equal scores stay equal.
    """
    means: Numbers = np.einsum("mcs,ds->dmc", scores, counts).round(12)
    return means


def improvement(first: Numbers, second: Numbers, draws: int = DRAWS) -> Improvement:
    """Return the probability that the first method is better.

    A run of each is drawn, in a cell drawn at random (Agarwal et al. 2021, section 4.3). A seed is one encoder, judged
    in all cells: each method's seeds are resampled for all cells together.

    Args:
        first: Scores ``[cells, seeds]``.
        second: Of the other, ``[cells, its seeds]``.
        draws: Resamples.
    """
    won = (first[:, :, None] > second[:, None, :]) + 0.5 * (first[:, :, None] == second[:, None, :])
    each = won.mean(0)
    rng = np.random.default_rng(0)
    a, b = (rng.multinomial(n, [1 / n] * n, draws) / n for n in each.shape)
    drawn = np.einsum("di,ij,dj->d", a, each, b)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Improvement(float(each.mean()), float(low), float(high))
