"""Summaries of cells: means and Student-t intervals over seeds.

The unit is the pretraining seed, and the split seed where it varies; folds are averaged first.

Values are fractions in 0..1; turning them into percent is the report's business.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from bench.stats import student

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

CONFIDENCE = 0.95
_ROUNDING = 1e-12
"""A deviation below this share of the largest value counts as rounding of equal values."""


class Unit(NamedTuple):
    """One run of a cell: pretraining seed and split seed."""

    seed: int
    split: int = 0

    def __str__(self) -> str:
        return f"{self.seed}/{self.split}" if self.split else str(self.seed)


Over = Literal["nothing", "seeds", "splits", "both"]
"""Seeds that vary between the runs of a cell; an interval generalises over these."""

FoldScores = dict[int | None, float]
Folds = Mapping[int | None, float]
"""Score by fold; the fold None stands for a run that has no folds."""
Scores = Mapping[Unit, Folds]
"""Scores by run."""


@dataclass(frozen=True)
class MeanError:
    """Variance of a cell's mean, with degrees of freedom.

    Attributes:
        over: Seeds that vary between the runs.
        variance: Variance of the mean; None where it cannot be told: one run, equal values, or a table with gaps.
        df: Degrees of freedom of `variance`; 0 without one.
        missing: Runs that a complete table of seeds and split seeds would have and this one lacks.
        seeds: Standard deviation over pretraining seeds; None where they do not vary or it cannot be told.
        splits: Standard deviation over split seeds; None likewise.
        rest: Standard deviation of what seeds and split seeds do to each other; None unless both vary.
    """

    over: Over
    variance: float | None = None
    df: float = 0.0
    missing: tuple[Unit, ...] = ()
    seeds: float | None = None
    splits: float | None = None
    rest: float | None = None

    def half_width(self, confidence: float = CONFIDENCE) -> float | None:
        """Return half the interval's width; None without a variance."""
        if self.variance is None:
            return None
        return student.quantile((1 + confidence) / 2, self.df) * math.sqrt(self.variance)


def mean_error(values: Mapping[Unit, float]) -> MeanError:
    """Estimate the variance of a mean over further seeds.

    Where one of the two varies, the runs are independent draws of it: s^2/n with n - 1 degrees of freedom. Where both
    do and every seed has every split seed, they are crossed random effects: the variance of the mean is
    ``s_seed^2/S + s_split^2/P + s_rest^2/(S P)``, its components from the mean squares of the two-way table, its
    degrees of freedom Satterthwaite's (Searle, Casella and McCulloch, *Variance Components*, 1992, chapters 4 and 2).

    Args:
        values: One value per run.
    """
    seeds, splits = sorted({unit.seed for unit in values}), sorted({unit.split for unit in values})
    if len(seeds) > 1 and len(splits) > 1:
        missing = tuple(unit for s in seeds for p in splits if (unit := Unit(s, p)) not in values)
        table = [] if missing else [[values[Unit(s, p)] for p in splits] for s in seeds]
        return crossed_error(table) if table else MeanError("both", missing=missing)
    over: Over = "seeds" if len(seeds) > 1 else "splits" if len(splits) > 1 else "nothing"
    if over == "nothing":
        return MeanError(over)
    n, spread = len(values), standard_deviation(list(values.values()))
    of_seeds, of_splits = (spread, None) if over == "seeds" else (None, spread)
    if spread == 0:
        return MeanError(over, seeds=of_seeds, splits=of_splits)
    return MeanError(over, spread**2 / n, n - 1, seeds=of_seeds, splits=of_splits)


def crossed_error(table: Sequence[Sequence[float]] | npt.NDArray[np.float64]) -> MeanError:
    """Estimate the variance of a two-way table's mean.

    Rows and columns are random effects, and the table is complete.

    Args:
        table: Values ``[rows, columns]``, at least two of each; rows are pretraining seeds.
    """
    import numpy as np

    values = np.asarray(table, np.float64)
    (rows, columns), grand = values.shape, values.mean()
    by_row, by_column = values.mean(1) - grand, values.mean(0) - grand
    left = values - grand - by_row[:, None] - by_column
    degrees = (rows - 1, columns - 1, (rows - 1) * (columns - 1))
    sums = (columns * (by_row**2).sum(), rows * (by_column**2).sum(), (left**2).sum())
    # Deviations at the level of rounding count as 0.
    floor = (_ROUNDING * np.abs(values).max()) ** 2
    row, column, rest = (0.0 if s <= d * floor else float(s / d) for s, d in zip(sums, degrees, strict=True))
    # A variance component cannot be negative: its mean square is then set to that of the rest.
    terms = [(square, d) for square, d in ((row, degrees[0]), (column, degrees[1])) if square > rest]
    weighted = [*terms, ((1 - len(terms)) * rest, degrees[2])]
    total = sum(square for square, _ in weighted)
    df = total**2 / sum(square**2 / d for square, d in weighted) if total > 0 else 0.0
    return MeanError(
        over="both",
        variance=total / values.size if total > 0 else None,
        df=df,
        seeds=math.sqrt(max(0.0, row - rest) / columns),
        splits=math.sqrt(max(0.0, column - rest) / rows),
        rest=math.sqrt(rest),
    )


@dataclass(frozen=True)
class Summary:
    """Summary statistics of one cell.

    Attributes:
        n: Pretraining seeds.
        splits: Split seeds.
        mean: Mean over the runs' values.
        low: Lower end of the interval over what varies (`mean_error`), None where nothing tells how far.
        high: Upper end of it, None likewise.
        minimum: Smallest value of a run.
        maximum: Largest value of a run.
        error: Variance of the mean, with deviations over seeds and split seeds.
        fold_deviation: With one run only: standard deviation over the folds of that one encoder. It says how
            much the draw of classes and objects moves the number and nothing about another pretraining.
        folds: Folds averaged within each run (the smallest count); 0 when there are none.
    """

    n: int
    splits: int
    mean: float
    low: float | None
    high: float | None
    minimum: float
    maximum: float
    error: MeanError
    fold_deviation: float | None
    folds: int

    @property
    def deviation(self) -> float | None:
        """Standard deviation over pretraining seeds; None with one seed."""
        return self.error.seeds

    @property
    def half_width(self) -> float | None:
        """Half the width of the interval, or None."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


def fold_mean(folds: Folds) -> float:
    """Average the folds of one run.

    A value without folds stands for itself.

    Raises:
        ValueError: There is no value, or one of them is not finite.
    """
    numbered = [value for fold, value in folds.items() if fold is not None]
    values = numbered or list(folds.values())
    if not values or not all(map(math.isfinite, values)):
        raise ValueError(f"cannot average {values}: at least one finite value is needed, and only finite ones")
    return statistics.fmean(values)


def sorted_folds(folds: Folds) -> list[tuple[int | None, float]]:
    """Return (fold, value) pairs sorted by fold, None first."""
    return sorted(folds.items(), key=lambda item: -1 if item[0] is None else item[0])


def run_means(scores: Scores) -> dict[Unit, float]:
    """Average folds within each run, sorted by seed."""
    return {unit: fold_mean(scores[unit]) for unit in sorted(scores)}


def seed_means(scores: Scores) -> dict[int, float]:
    """Average folds and split seeds within each pretraining seed."""
    by_seed: dict[int, list[float]] = {}
    for unit, value in run_means(scores).items():
        by_seed.setdefault(unit.seed, []).append(value)
    return {seed: statistics.fmean(values) for seed, values in by_seed.items()}


def standard_deviation(values: Sequence[float]) -> float:
    """Return the sample standard deviation; rounding noise counts as 0.

    `statistics.stdev` calculates in fractions and takes twenty times as long, for a last digit.

    Raises:
        ValueError: Fewer than two values.
    """
    if len(values) < 2:
        raise ValueError(f"the standard deviation of {len(values)} values is not defined: two are needed")
    mean = statistics.fmean(values)
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
    return 0.0 if spread <= _ROUNDING * max(map(abs, values)) else spread


def summarise(scores: Scores, confidence: float = CONFIDENCE, means: Mapping[Unit, float] | None = None) -> Summary:
    """Summarise the scores of one cell.

    Args:
        scores: Scores by run and fold.
        confidence: Coverage of the interval.
        means: `run_means` of the scores; None to compute them.

    Raises:
        ValueError: There is no run, a run has no value, or a value is not finite.
    """
    if not scores:
        raise ValueError("cannot summarise a cell without seeds")
    means = run_means(scores) if means is None else means
    values, error = list(means.values()), mean_error(means)
    mean, half = statistics.fmean(values), error.half_width(confidence)
    only = next(iter(scores.values())) if len(scores) == 1 else {}
    within = [value for fold, value in only.items() if fold is not None]
    return Summary(
        n=len({unit.seed for unit in means}),
        splits=len({unit.split for unit in means}),
        mean=mean,
        low=None if half is None else mean - half,
        high=None if half is None else mean + half,
        minimum=min(values),
        maximum=max(values),
        error=error,
        fold_deviation=standard_deviation(within) if len(within) > 1 else None,
        folds=min(sum(fold is not None for fold in folds) for folds in scores.values()),
    )
