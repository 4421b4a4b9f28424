"""Tests and intervals for two methods on the same objects.

A claim about methods is one about other pretrainings and other objects (`cross`). The tests of single objects are about
these trained models and no others: three seeds against three other seeds of one method differ at p < 0.05 in 6 to 60 %
of the cases (`tests/stats/simulate.py`). Their unit is the test object. Runs of different pretraining seeds, the folds
of few-shot and the views of one thing all ask about the same objects, so their answers are no independent draws: what
they say about one object is summed before anything is tested.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.stats import student
from bench.stats.intervals import crossed_error

Right = npt.NDArray[np.bool_]
Index = npt.NDArray[np.int64]

FEWEST_SEEDS = 3
"""Least number of seed pairs for a statement about methods: two say almost nothing about variation over seeds."""
EXACT_UP_TO = 1000
"""Most differing units for an exact test; beyond, the normal approximation gives the same printed digits."""
_Z = 1.959963984540054
"""Normal quantile of a two-sided 95 % interval."""


@dataclass(frozen=True)
class Test:
    """Result of a test of "neither is better".

    Attributes:
        name: Name of the test.
        p: Two-sided p value.
        n: Units that differ, on which it rests.
    """

    __test__ = False  # keeps pytest from collecting this class

    name: str
    p: float
    n: int


@dataclass(frozen=True)
class Table:
    """The 2x2 table of two methods' answers.

    Attributes:
        both: Both right.
        only_first: Only the first right.
        only_second: Only the second right.
        neither: Both wrong.
    """

    both: int
    only_first: int
    only_second: int
    neither: int

    @property
    def odds(self) -> float | None:
        """Odds that the first is right where exactly one is.

        None if they never differ.
        """
        if not self.only_first and not self.only_second:
            return None
        return self.only_first / self.only_second if self.only_second else math.inf


@dataclass(frozen=True)
class Paired:
    """Two methods compared on the same questions.

    Attributes:
        table: Answers of the two, counted over all questions and seeds; None where answers are no right or wrong.
        first: Accuracy of the first (or the mean of its numbers).
        second: Of the second.
        low: Lower end of the 95 % interval of the difference over test objects.
        high: Upper end.
        units: Test objects.
        better: Objects on which the first is better, seeds and folds together.
        worse: Objects on which the second is.
        test: Of the difference, with the object as the unit.
    """

    table: Table | None
    first: float
    second: float
    low: float
    high: float
    units: int
    better: int
    worse: int
    test: Test

    @property
    def difference(self) -> float:
        """Difference of the accuracies, first minus second."""
        return self.first - self.second


@dataclass(frozen=True)
class Crossed:
    """Difference of two methods over other seeds and other objects.

    Both are treated as random draws.

    Attributes:
        difference: Of the accuracies, first minus second.
        low: Lower end of its 95 % interval; None where no answer differs.
        high: Upper end.
        p: Two-sided p value; 1 where no answer differs.
        df: Degrees of freedom (Satterthwaite's).
        seeds: Pairs of seeds.
        objects: Test objects.
        of_seeds: Standard deviation of the difference over seeds.
        of_objects: Standard deviation over objects.
    """

    difference: float
    low: float | None
    high: float | None
    p: float | None
    df: float
    seeds: int
    objects: int
    of_seeds: float | None
    of_objects: float | None


def cross(
    first: npt.NDArray[Any], second: npt.NDArray[Any], objects: Sequence[str], weights: npt.NDArray[np.float64]
) -> Crossed | None:
    """Compare two methods, generalising over seeds and objects.

    Differences by seed and object make up a two-way table whose rows and columns are random
    (`bench.stats.intervals.crossed_error`); an object's value is what all its questions contribute to the accuracy.

    Args:
        first: Whether the first answers right (or its numbers), ``[seeds, n]``.
        second: The same for the second, seeds paired.
        objects: Test object behind each question ``[n]``.
        weights: Weight of every question ``[n]``, together 1.

    Returns:
        The comparison; None with fewer than `FEWEST_SEEDS` seeds or two objects.
    """
    names, unit = np.unique(np.asarray(objects), return_inverse=True)
    if len(first) < FEWEST_SEEDS or len(names) < 2:
        return None
    differences = first.astype(np.float64) - second.astype(np.float64)
    each = [np.bincount(unit, weights * row, len(names)).astype(np.float64) for row in differences]
    table = len(names) * np.stack(each)
    error, mean = crossed_error(table), float(table.mean())
    half = error.half_width()
    return Crossed(
        difference=mean,
        low=None if half is None else mean - half,
        high=None if half is None else mean + half,
        p=1.0 if error.variance is None else student.two_sided(mean / math.sqrt(error.variance), error.df),
        df=error.df,
        seeds=len(first),
        objects=len(names),
        of_seeds=error.seeds,
        of_objects=error.splits,
    )


@dataclass(frozen=True)
class ClassDifference:
    """Scores of two methods on one class.

    Attributes:
        label: The class.
        n: Questions about its objects, per seed.
        first: Share of right answers of the first, all seeds.
        second: Of the second.
        gained: Right answers of the first more than the second, per seed.
    """

    label: int
    n: int
    first: float
    second: float
    gained: float


def mcnemar(only_first: int, only_second: int) -> Test:
    """McNemar's test: exact for few discordant pairs, else chi-square.

    Exact (binomial) up to `EXACT_UP_TO` pairs.

    The latter with Edwards' continuity correction, (|b - c| - 1)^2 / (b + c).

    Args:
        only_first: Objects only the first got right.
        only_second: Objects only the second got right.
    """
    from scipy import stats

    n = only_first + only_second
    if n == 0:
        return Test("McNemar, exact", 1.0, 0)
    if n <= EXACT_UP_TO:
        return Test("McNemar, exact", float(stats.binomtest(only_first, n).pvalue), n)
    statistic = max(0, abs(only_first - only_second) - 1) ** 2 / n
    return Test("McNemar, chi-square", float(stats.chi2.sf(statistic, 1)), n)


def flip_test(differences: npt.NDArray[np.integer]) -> Test:
    """Sign-flip test of per-object differences (first minus second).

    Tests whether whole-number differences sum to more or less than chance gives.

    Were the two methods exchangeable, each object's difference would be as likely with the other sign: the sum is
    compared with its distribution over all 2**n choices of signs (Fisher 1935), computed exactly by adding one object
    after the other, or by its normal approximation above `EXACT_UP_TO` objects that differ. Where every difference is
    1, 0 or -1 this is McNemar's test.
    """
    from scipy import stats

    signed = differences[differences != 0].astype(np.int64)
    sizes = np.abs(signed)
    if not len(sizes) or sizes.max() == 1:
        return mcnemar(int((signed > 0).sum()), int((signed < 0).sum()))
    step = int(np.gcd.reduce(sizes))
    observed, sizes = abs(int(signed.sum())) // step, sizes // step
    if len(sizes) > EXACT_UP_TO:
        z = max(0, observed - 1) / math.sqrt(float((sizes.astype(np.float64) ** 2).sum()))
        return Test("sign flips of objects, normal", float(2 * stats.norm.sf(z)), len(sizes))
    # Distribution of the sum of values with sign +, from 0 to the total; the signed sum is twice that minus the total.
    chances = np.ones(1)
    for size, count in zip(*np.unique(sizes, return_counts=True), strict=True):
        own = np.zeros(size * count + 1)
        own[::size] = stats.binom.pmf(np.arange(count + 1), count, 0.5)
        chances = np.convolve(chances, own)
    total = int(sizes.sum())
    sums = np.abs(2 * np.arange(total + 1) - total)
    return Test("sign flips of objects, exact", min(1.0, float(chances[sums >= observed].sum())), len(sizes))


def pair_answers(
    first: Right, second: Right, objects: Sequence[str], weights: npt.NDArray[np.float64] | None = None
) -> Paired:
    """Compare two methods on the same questions and seeds.

    Args:
        first: Whether the first answers right, ``[seeds, n]``.
        second: The same for the second, its seeds paired with the first's.
        objects: Test object behind each question ``[n]``; questions about one object make up one unit.
        weights: Weight of every question in the accuracy ``[n]``, together 1; equal ones by default. The test counts
            every question once.

    Raises:
        ValueError: The shapes do not fit, or there is no question.
    """
    if first.shape != second.shape or first.ndim != 2 or first.shape[1] != len(objects) or not first.size:
        raise ValueError(f"answers {first.shape} and {second.shape} do not fit {len(objects)} questions")
    share = np.full(len(objects), 1 / len(objects)) if weights is None else weights
    table = Table(
        int((first & second).sum()),
        int((first & ~second).sum()),
        int((~first & second).sum()),
        int((~first & ~second).sum()),
    )
    names, unit = np.unique(np.asarray(objects), return_inverse=True)
    won = first.sum(0, dtype=np.int64) - second.sum(0, dtype=np.int64)
    per_object = np.bincount(unit, won, len(names)).round().astype(np.int64)
    accuracies = float(first.mean(0) @ share), float(second.mean(0) @ share)
    low, high = _interval(won / len(first), share, unit, accuracies[0] - accuracies[1])
    return Paired(
        table=table,
        first=accuracies[0],
        second=accuracies[1],
        low=low,
        high=high,
        units=len(names),
        better=int((per_object > 0).sum()),
        worse=int((per_object < 0).sum()),
        test=flip_test(per_object),
    )


def _interval(
    differences: npt.NDArray[np.float64], share: npt.NDArray[np.float64], unit: Index, mean: float
) -> tuple[float, float]:
    """Return a normal 95 % interval of a weighted mean.

    The sampling unit is the object; by linearisation.
    """
    residual = np.bincount(unit, share * (differences - mean))
    n = len(residual)
    if n < 2:
        return -1.0, 1.0
    half = _Z * math.sqrt(n / (n - 1) * float((residual**2).sum()))
    return mean - half, mean + half


def class_differences(labels: Index, first: npt.NDArray[Any], second: npt.NDArray[Any]) -> list[ClassDifference]:
    """Compare class by class, largest effect on accuracy first.

    Args:
        labels: True class ``[n]``.
        first: Whether the first answers right (or its numbers), ``[seeds, n]``.
        second: The same for the second.
    """
    found = []
    for label in np.unique(labels):
        own = labels == label
        n = int(own.sum())
        a, b = float(first[:, own].mean()), float(second[:, own].mean())
        found.append(ClassDifference(int(label), n, a, b, n * (a - b)))
    return sorted(found, key=lambda one: (-round(abs(one.gained), 9), one.label))


def pair_values(first: npt.NDArray[np.floating], second: npt.NDArray[np.floating], objects: Sequence[str]) -> Paired:
    """Compare per-object scores by Wilcoxon's signed-rank test.

    Args:
        first: Numbers of the first, ``[seeds, n]``.
        second: Of the second, seeds paired.
        objects: Test object behind each number ``[n]``; an object's numbers are averaged.

    Raises:
        ValueError: The shapes do not fit, or there is no object.
    """
    from scipy import stats

    if first.shape != second.shape or first.ndim != 2 or first.shape[1] != len(objects) or not first.size:
        raise ValueError(f"values {first.shape} and {second.shape} do not fit {len(objects)} objects")
    a, b = first.mean(0, dtype=np.float64), second.mean(0, dtype=np.float64)
    names, unit, counts = np.unique(np.asarray(objects), return_inverse=True, return_counts=True)
    each = np.bincount(unit, a - b, len(names)) / counts
    differing = each[each != 0]
    p = float(stats.wilcoxon(differing).pvalue) if len(differing) else 1.0
    low, high = _interval(a - b, np.full(len(a), 1 / len(a)), unit, float((a - b).mean()))
    return Paired(
        table=None,
        first=float(a.mean()),
        second=float(b.mean()),
        low=low,
        high=high,
        units=len(names),
        better=int((each > 0).sum()),
        worse=int((each < 0).sum()),
        test=Test("Wilcoxon, signed ranks", p, len(differing)),
    )
