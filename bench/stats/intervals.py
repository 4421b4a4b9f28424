"""Summaries of a cell: the unit is the pretraining seed, folds are averaged within it first.

Values are fractions in 0..1; turning them into percent is the report's business.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95

Folds = Mapping[int | None, float]
"""Score by fold; the fold None stands for a run that has no folds."""
Scores = Mapping[int, Folds]
"""Scores by pretraining seed."""


@dataclass(frozen=True)
class Summary:
    """What is reported about one cell.

    Attributes:
        n: Pretraining seeds.
        mean: Mean over seeds of the seeds' values.
        low: Lower end of the Student-t interval over seeds, None with one seed or equal values.
        high: Upper end of it, None likewise.
        minimum: Smallest seed value.
        maximum: Largest seed value.
        deviation: Standard deviation over seeds (n - 1 in the denominator), None with one seed.
        fold_deviation: With one seed only: standard deviation over the folds of that one encoder. It says how
            much the draw of classes and objects moves the number and nothing about another pretraining.
        folds: Folds averaged within each seed (the smallest count over seeds); 0 when there are none.
    """

    n: int
    mean: float
    low: float | None
    high: float | None
    minimum: float
    maximum: float
    deviation: float | None
    fold_deviation: float | None
    folds: int

    @property
    def half_width(self) -> float | None:
        """Half the width of the interval, None where there is none."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


def fold_mean(folds: Folds) -> float:
    """Average the folds of one encoder; a value without folds stands for itself.

    Raises:
        ValueError: There is no value, or one of them is not finite.
    """
    numbered = [value for fold, value in sorted_folds(folds) if fold is not None]
    values = numbered or list(folds.values())
    if not values or not all(map(math.isfinite, values)):
        raise ValueError(f"cannot average {values}: at least one finite value is needed, and only finite ones")
    return statistics.fmean(values)


def sorted_folds(folds: Folds) -> list[tuple[int | None, float]]:
    """Return (fold, value) pairs in the order of the folds, the fold None first."""
    return sorted(folds.items(), key=lambda item: -1 if item[0] is None else item[0])


def seed_means(scores: Scores) -> dict[int, float]:
    """Average folds within each seed, in the order of the seeds."""
    return {seed: fold_mean(scores[seed]) for seed in sorted(scores)}


def student_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float] | None:
    """Student-t interval of the mean of independent values.

    Args:
        values: One value per pretraining seed (or one difference per pair of seeds).
        confidence: Coverage in 0..1.

    Returns:
        Lower and upper end; None for fewer than two values and for equal ones (accuracies are multiples of 1/n), which
        carry no information about their spread.
    """
    n = len(values)
    if n < 2 or (spread := standard_deviation(values)) == 0:
        return None
    from scipy import stats

    low, high = stats.t.interval(confidence, n - 1, loc=statistics.fmean(values), scale=spread / math.sqrt(n))
    return float(low), float(high)


def standard_deviation(values: Sequence[float]) -> float:
    """Sample standard deviation; rounding noise around equal values counts as no spread at all.

    Raises:
        statistics.StatisticsError: Fewer than two values.
    """
    spread = statistics.stdev(values)
    return 0.0 if spread <= 1e-12 * max(map(abs, values)) else spread


def summarise(scores: Scores, confidence: float = CONFIDENCE) -> Summary:
    """Summarise the scores of one cell.

    Args:
        scores: Scores by pretraining seed and fold.
        confidence: Coverage of the interval over seeds.

    Raises:
        ValueError: There is no seed, a seed has no value, or a value is not finite.
    """
    if not scores:
        raise ValueError("cannot summarise a cell without seeds")
    values = list(seed_means(scores).values())
    interval = student_interval(values, confidence)
    only = next(iter(scores.values())) if len(scores) == 1 else {}
    within = [value for fold, value in only.items() if fold is not None]
    return Summary(
        n=len(values),
        mean=statistics.fmean(values),
        low=interval[0] if interval else None,
        high=interval[1] if interval else None,
        minimum=min(values),
        maximum=max(values),
        deviation=standard_deviation(values) if len(values) > 1 else None,
        fold_deviation=standard_deviation(within) if len(within) > 1 else None,
        folds=min(sum(fold is not None for fold in folds) for folds in scores.values()),
    )
