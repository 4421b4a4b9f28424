"""Sources of variation of a score, one by one, with intervals.

What a run's score owes to its pretraining seed, split seed, draw of folds, draw of test objects and teacher seed
(Bouthillier et al., *Accounting for Variance in Machine Learning Benchmarks*, 2021). Each is told where the stored runs
vary it, as the standard deviation of one run's score if only this source were drawn anew.

Sources that all runs of a table have in common are crossed random effects. Their variances come from the mean squares
of the two-way table, their intervals from Williams (*A confidence interval for variance components*, Biometrika 49,
1962), for normal effects; a source that varies alone has the chi-square interval.

Values are fractions, as everywhere in `bench.stats`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.stats.intervals import CONFIDENCE, Scores, Unit, run_means

_ROUNDING = 1e-24
"""Mean squares up to this are rounding of equal values, which are accuracies between 0 and 1."""


@dataclass(frozen=True)
class Source:
    """Standard deviation of a score through one source.

    Attributes:
        levels: Levels of the source that the stored runs have.
        deviation: Of one run's score, a fraction; None where the source was not varied.
        low: Lower end of its 95 % interval.
        high: Upper end of it; infinite where the runs do not bound it.
    """

    levels: int = 1
    deviation: float | None = None
    low: float | None = None
    high: float | None = None

    def over(self, n: int) -> Source:
        """Return the deviation of a mean over n independent levels."""
        if self.deviation is None or self.low is None or self.high is None:
            return self
        root = math.sqrt(n)
        return Source(self.levels, self.deviation / root, self.low / root, self.high / root)


NOT_VARIED = Source()


@dataclass(frozen=True)
class Anatomy:
    """Sources of variation of one cell.

    Attributes:
        seeds: Pretraining seed.
        splits: Split seed.
        folds: Draw of folds, of the mean over a run's folds.
        rest: What seeds do to splits or folds, and everything else that is drawn anew in each run.
    """

    seeds: Source
    splits: Source
    folds: Source
    rest: Source


def anatomy(scores: Scores) -> Anatomy:
    """Split the variation of a cell's scores by source.

    Where seeds and split seeds both vary and are crossed, they are taken from the means over folds; else seeds and the
    folds that all runs have in common make up the table. Folds of several split seeds are other folds: each split seed
    has its table, and their mean squares are added.

    Args:
        scores: Scores by run and fold.
    """
    units = sorted(scores)
    seeds, splits = sorted({unit.seed for unit in units}), sorted({unit.split for unit in units})
    whole = len(units) == len(seeds) * len(splits)
    by_fold = [_fold_table(scores, seeds, split) for split in splits] if whole else []
    tables = [table for table in by_fold if table is not None]
    folds = _folds(tables) if len(tables) == len(splits) else NOT_VARIED
    if len(seeds) > 1 and len(splits) > 1:
        if not whole:
            return Anatomy(NOT_VARIED, NOT_VARIED, folds, NOT_VARIED)
        means = run_means(scores)
        row, column, rest = two_way(np.array([[means[Unit(s, p)] for p in splits] for s in seeds]))
        return Anatomy(row, column, folds, rest)
    if len(seeds) > 1 and len(tables) == 1:
        row, _, rest = two_way(tables[0])
        return Anatomy(row, NOT_VARIED, folds, rest.over(tables[0].shape[1]))
    values = list(run_means(scores).values())
    alone = one_way(values) if len(values) > 1 else NOT_VARIED
    several = len(seeds) > 1
    return Anatomy(alone if several else NOT_VARIED, NOT_VARIED if several else alone, folds, NOT_VARIED)


def _fold_table(scores: Scores, seeds: Sequence[int], split: int) -> npt.NDArray[np.float64] | None:
    """Return scores ``[seeds, folds]``; None without two common folds."""
    rows = [scores[Unit(seed, split)] for seed in seeds]
    folds = sorted(set.intersection(*({fold for fold in row if fold is not None} for row in rows)))
    return np.array([[row[fold] for fold in folds] for row in rows]) if len(folds) > 1 else None


def _folds(tables: Sequence[npt.NDArray[np.float64]]) -> Source:
    """Return what folds do to the mean over folds."""
    squares = [_squares(table) for table in tables]
    count = tables[0].shape[1]
    of_folds, df = sum(one[1] for one in squares), sum(table.shape[1] - 1 for table in tables)
    if len(tables[0]) == 1:
        return component(of_folds, df, None, 0, 1, count).over(count)
    rest, df_rest = sum(one[2] for one in squares), sum((len(table) - 1) * (table.shape[1] - 1) for table in tables)
    return component(of_folds, df, rest, df_rest, len(tables[0]), count).over(count)


def one_way(values: Sequence[float]) -> Source:
    """Return the deviation of independent values, with its interval."""
    return component(float(np.var(values) * len(values)), len(values) - 1, None, 0, 1, len(values))


def two_way(table: npt.NDArray[np.float64]) -> tuple[Source, Source, Source]:
    """Return what rows, columns and the rest do to one value.

    Args:
        table: Values ``[rows, columns]``, at least two of each, complete.
    """
    (rows, columns), (of_rows, of_columns, left) = table.shape, _squares(table)
    df = (rows - 1) * (columns - 1)
    return (
        component(of_rows, rows - 1, left, df, columns, rows),
        component(of_columns, columns - 1, left, df, rows, columns),
        component(left, df, None, 0, 1, rows * columns),
    )


def _squares(table: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the sums of squares of rows, of columns and of the rest."""
    grand = table.mean()
    by_row, by_column = table.mean(1) - grand, table.mean(0) - grand
    left = table - grand - by_row[:, None] - by_column
    rows, columns = table.shape
    return float(columns * (by_row**2).sum()), float(rows * (by_column**2).sum()), float((left**2).sum())


def component(squares: float, df: int, rest: float | None, df_rest: int, repeats: int, levels: int) -> Source:
    """Return a source's deviation from sums of squares.

    Args:
        squares: Sum of squares of the source.
        df: Its degrees of freedom.
        rest: Sum of squares of what is left; None where the source varies alone.
        df_rest: Degrees of freedom of that.
        repeats: Values of each level.
        levels: Levels of the source.
    """
    from scipy.special import chdtri, fdtri

    tails = (1 + CONFIDENCE) / 2, (1 - CONFIDENCE) / 2
    mean = squares / df
    if mean <= _ROUNDING:
        return Source(levels, 0.0, 0.0, 0.0) if rest is not None else Source(levels, 0.0, 0.0, math.inf)
    error = 0.0 if rest is None else rest / df_rest
    ends = []
    for tail in tails:
        # The upper tail of the chi-square bounds the variance from below.
        share = 1.0 if error <= _ROUNDING else 1 - float(fdtri(df, df_rest, tail)) * error / mean
        ends.append(math.sqrt(max(0.0, share * squares / float(chdtri(df, 1 - tail)) / repeats)))
    return Source(levels, math.sqrt(max(0.0, (mean - error) / repeats)), ends[0], ends[1])


def of_objects(right: npt.NDArray[np.float64], unit: npt.NDArray[np.int64], weights: npt.NDArray[np.float64]) -> Source:
    """Return what the draw of test objects does to one run's score.

    Args:
        right: Score of each question of one run ``[n]``.
        unit: Object behind each question ``[n]``, from 0.
        weights: Weight of every question ``[n]``, together 1.
    """
    objects = int(unit.max()) + 1
    if objects < 2:
        return NOT_VARIED
    mean = float(weights @ right)
    each = np.bincount(unit, weights * (right - mean), objects) * objects
    return component(float((each**2).sum()), objects - 1, None, 0, 1, objects).over(objects)


def of_teachers(scores: Mapping[int, Scores]) -> Source:
    """Return what the teacher's seed does to one run's score.

    Args:
        scores: Scores of cells that differ in the teacher's seed only, by that seed; pretraining seeds and split seeds
            that all of them have are compared.
    """
    if len(scores) < 2:
        return NOT_VARIED
    means = {teacher: run_means(own) for teacher, own in scores.items()}
    units = sorted(set.intersection(*(set(own) for own in means.values())))
    if not units:
        return NOT_VARIED
    table = np.array([[own[unit] for unit in units] for own in means.values()])
    return one_way(table[:, 0].tolist()) if len(units) == 1 else two_way(table)[0]
