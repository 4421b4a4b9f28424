"""Split the spread of scores by source: folds and seeds.

Sources are the draw of folds, the pretraining seed and the split seed.

Folds are draws of classes and objects from one encoder; seeds are pretrainings; split seeds draw validation, folds and
part of the labels anew. A deviation over all values at once
mixes the two, and one over folds alone says nothing about another pretraining, so both are given apart.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from bench.stats.intervals import Scores, Unit, mean_error, run_means, standard_deviation


@dataclass(frozen=True)
class Components:
    """Deviations of one cell, as fractions.

    Attributes:
        folds: Standard deviation over the folds of one encoder, the variances of all seeds averaged; None where no
            seed has two folds.
        seeds: Standard deviation over pretraining seeds of their means over folds; None with one seed.
        splits: Standard deviation over split seeds; None with one.
        rest: Standard deviation of what seeds and split seeds do to each other; None unless both vary.
        n_folds: Folds of a run (the smallest count).
        n_seeds: Pretraining seeds.
    """

    folds: float | None
    seeds: float | None
    splits: float | None
    rest: float | None
    n_folds: int
    n_seeds: int


def variance_components(scores: Scores, means: Mapping[Unit, float] | None = None) -> Components:
    """Split the spread of a cell.

    Methods share their folds, so that the draw of folds cancels in a paired difference and remains in `folds` alone;
    what is left of it in `seeds` is the part in which encoders of different seeds disagree about the folds.

    Args:
        scores: Scores by run and fold; a run without folds has the fold None only.
        means: `bench.stats.intervals.run_means` of the scores; None to compute them.

    Raises:
        ValueError: There is no seed, or a seed has no value.
    """
    if not scores:
        raise ValueError("cannot split the spread of a cell without seeds")
    folds = {seed: [value for fold, value in own.items() if fold is not None] for seed, own in scores.items()}
    within = [standard_deviation(values) ** 2 for values in folds.values() if len(values) > 1]
    error = mean_error(run_means(scores) if means is None else means)
    return Components(
        folds=math.sqrt(statistics.fmean(within)) if within else None,
        seeds=error.seeds,
        splits=error.splits,
        rest=error.rest,
        n_folds=min(len(values) for values in folds.values()),
        n_seeds=len({unit.seed for unit in scores}),
    )
