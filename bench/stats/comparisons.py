"""Paired comparisons: two cells that share pretraining seeds, and within a seed the folds.

"A above B" means one thing: the 95 % Student-t interval of the paired difference lies above 0. Beside it
stands the p value after Holm's correction over the comparisons of the same table.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bench.stats.intervals import CONFIDENCE, Scores, fold_mean, student_interval

Verdict = Literal["above", "below", "none", "no-spread", "one-seed", "unpaired"]
_ROUNDING = 1e-12
"""Means of the same folds, summed in another order, differ by less."""


@dataclass(frozen=True)
class Comparison:
    """The paired difference of two cells (first minus second).

    Attributes:
        first: Name of the first cell.
        second: Name of the second cell.
        n: Pairs, i.e. pretraining seeds both cells have.
        difference: Mean difference, a fraction; None without pairs.
        low: Lower end of its interval, None with fewer than two pairs and where all differences are equal.
        high: Upper end of its interval.
        p: Two-sided p value of the paired t test; None where there is no interval, but 1 where nothing differs.
        p_holm: The same after Holm's correction over the family, filled in by `holm_family`.
        verdict: ``above``/``below`` when the interval excludes 0, ``none`` when it does not, ``no-spread`` (the same
            difference in every seed), ``one-seed`` and ``unpaired`` when there is no comparison to make.
        dropped: Seeds only one of the two cells has.
        notes: What the reader has to know besides, one sentence each.
    """

    first: str
    second: str
    n: int
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    verdict: Verdict
    dropped: tuple[int, ...]
    notes: tuple[str, ...]

    @property
    def words(self) -> str:
        """The verdict as a reader would say it."""
        return {
            "above": f"{self.first} above {self.second}",
            "below": f"{self.second} above {self.first}",
            "none": "no difference shown",
            "no-spread": "no spread over seeds: no comparison",
            "one-seed": "one seed: no comparison",
            "unpaired": "no seed in common: no comparison",
        }[self.verdict]

    @property
    def shown(self) -> bool:
        """Whether a difference is shown."""
        return self.verdict in ("above", "below")

    @property
    def survives_holm(self) -> bool:
        """Whether a shown difference also holds after the correction over its family."""
        return self.p_holm is not None and self.p_holm <= 1 - CONFIDENCE


def smallest_p(n: int) -> float:
    """Smallest two-sided p value a paired test without a distributional assumption can give.

    With n pairs the exact sign-flip test has 2**n equally likely outcomes, and the most extreme two of them
    carry probability 2**(1 - n). Below six pairs that exceeds 0.05: a verdict then rests on the normality
    the t interval assumes.
    """
    return min(1.0, 2.0 ** (1 - n))


def paired_differences(first: Scores, second: Scores) -> tuple[dict[int, float], tuple[int, ...], tuple[int, ...]]:
    """Difference per seed that both have, over the folds that both have in it.

    Returns:
        Differences by seed; the seeds left out because only one side has them (or they share no fold); the
        seeds in which folds had to be left out.
    """
    differences, dropped, trimmed = {}, sorted(set(first) ^ set(second)), []
    for seed in sorted(set(first) & set(second)):
        folds = set(first[seed]) & set(second[seed])
        if not folds:
            dropped.append(seed)
            continue
        numbered = {fold for fold in set(first[seed]) ^ set(second[seed]) if fold is not None}
        if numbered:
            trimmed.append(seed)
        a = fold_mean({fold: first[seed][fold] for fold in folds})
        b = fold_mean({fold: second[seed][fold] for fold in folds})
        differences[seed] = 0.0 if math.isclose(a, b, abs_tol=_ROUNDING) else a - b
    return differences, tuple(sorted(dropped)), tuple(trimmed)


def compare(names: tuple[str, str], first: Scores, second: Scores) -> Comparison:
    """Compare two cells, paired by pretraining seed and fold.

    Args:
        names: Names of the two cells.
        first: Scores of the first cell.
        second: Scores of the second cell.
    """
    by_seed, dropped, trimmed = paired_differences(first, second)
    values, n = list(by_seed.values()), len(by_seed)
    notes = _notes(values, dropped, trimmed)
    mean, interval = statistics.fmean(values) if values else None, student_interval(values)
    if interval is None:
        same = n > 1 and not any(values)
        verdict: Verdict = "unpaired" if n == 0 else "one-seed" if n == 1 else "none" if same else "no-spread"
        return Comparison(*names, n, mean, None, None, 1.0 if same else None, None, verdict, dropped, notes)
    from scipy import stats

    low, high = interval
    p = float(stats.ttest_1samp(values, 0.0).pvalue)
    verdict = "above" if low > 0 else "below" if high < 0 else "none"
    return Comparison(*names, n, mean, low, high, p, None, verdict, dropped, notes)


def _notes(values: Sequence[float], dropped: Sequence[int], trimmed: Sequence[int]) -> tuple[str, ...]:
    notes, n = [], len(values)
    if dropped:
        notes.append(f"seeds {_listed(dropped)} left out: not in both")
    if trimmed:
        notes.append(f"folds left out in seeds {_listed(trimmed)}: not in both")
    interval = student_interval(values)
    if n == 2 and interval is not None:
        half = 50 * (interval[1] - interval[0])
        notes.append(f"two seeds: t factor 12.7, the interval is ±{half:.1f} points wide")
    if interval is not None and smallest_p(n) > 1 - CONFIDENCE:
        notes.append(f"{n} seeds: without assuming normal differences no test could go below p = {smallest_p(n):.3g}")
    if n > 1 and interval is None and any(values):
        notes.append(
            "the difference is the same in every seed, so nothing tells how far it would vary: no interval and no "
            "verdict; run more seeds, and check that they differ"
        )
    return tuple(notes)


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (Holm 1979), in the order given.

    The i-th smallest of m values is multiplied by m - i (i from 0), made non-decreasing and cut at 1.
    """
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        running = max(running, min(1.0, p_values[index] * (len(p_values) - rank)))
        adjusted[index] = running
    return adjusted


def holm_family(family: Sequence[Comparison]) -> list[Comparison]:
    """Return the comparisons with `p_holm` filled in; those without a p value are no members of the family."""
    tested = [c.p for c in family if c.p is not None]
    corrected = iter(holm(tested))
    return [c if c.p is None else replace(c, p_holm=next(corrected)) for c in family]
