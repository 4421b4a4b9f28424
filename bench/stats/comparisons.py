"""Paired comparisons of two cells over shared seeds and folds.

"A above B" means one thing: the 95 % interval of the paired difference lies above 0. Comparisons of one table are
judged together (`judge_family`): the variance behind interval and p value is moderated over them
(`bench.stats.moderation`), and beside it stands the p value after Holm's correction over the same comparisons.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bench.stats import student
from bench.stats.intervals import CONFIDENCE, MeanError, Scores, Unit, fold_mean, mean_error
from bench.stats.moderation import moderate

Verdict = Literal["above", "below", "none", "no-spread", "one-seed", "unpaired", "gaps", "lost"]
_ROUNDING = 1e-12
"""Largest difference that rounding makes between means of the same folds summed in another order."""


@dataclass(frozen=True)
class Lost:
    """Runs of a cell that ended without a score.

    Attributes:
        cell: Name of the cell.
        runs: Outcome (``diverged``, ``failed``) by run.
        total: Runs of the cell, those with a number included.
    """

    cell: str
    runs: Mapping[Unit, str]
    total: int

    @property
    def words(self) -> str:
        """Return a count in words: ``2 of 5 seeds diverged``."""
        several = len({unit.split for unit in self.runs}) > 1
        counts = [f"{n} of {self.total} {'runs' if several else 'seeds'} {what}" for what, n in self.counts]
        return ", ".join(counts)

    @property
    def counts(self) -> list[tuple[str, int]]:
        """Count runs by outcome."""
        return sorted(Counter(self.runs.values()).items())


@dataclass(frozen=True)
class Comparison:
    """Paired difference of two cells (first minus second).

    Attributes:
        first: Name of the first cell.
        second: Name of the second cell.
        differences: Difference by run both cells have.
        error: Variance of the mean difference, estimated from these differences alone.
        difference: Mean difference, a fraction; None without pairs.
        low: Lower end of its interval, None where there is none.
        high: Upper end of its interval.
        p: Two-sided p value of the paired t test; None where there is no interval, but 1 where nothing differs.
        p_holm: The same after Holm's correction over the family, filled in by `judge_family`.
        verdict: ``above``/``below`` when the interval excludes 0, ``none`` when it does not, ``no-spread`` (the same
            difference in every run), ``one-seed``, ``unpaired`` and ``gaps`` (seeds and split seeds are not crossed)
            when there is no comparison to make, ``lost`` when runs of a cell ended without a number.
        dropped: Runs only one of the two cells has.
        notes: Remarks for the reader, one sentence each.
        lost: Runs that ended without a number, by cell.
        moderated: Whether interval and p value rest on the family's variances, too.
        df: Degrees of freedom of interval and p value.
    """

    first: str
    second: str
    differences: Mapping[Unit, float]
    error: MeanError
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    verdict: Verdict
    dropped: tuple[Unit, ...]
    notes: tuple[str, ...]
    lost: tuple[Lost, ...] = ()
    moderated: bool = False
    df: float = 0.0

    @property
    def n(self) -> int:
        """Number of pretraining seeds that both cells have."""
        return len({unit.seed for unit in self.differences})

    @property
    def words(self) -> str:
        """The verdict as a phrase, e.g. ``above scratch``."""
        one = " with this one pretraining" if self.error.over == "splits" else ""
        return {
            "above": f"{self.first} above {self.second}{one}",
            "below": f"{self.second} above {self.first}{one}",
            "none": f"no difference shown{one}",
            "no-spread": "no spread over seeds: no comparison",
            "one-seed": "one seed: no comparison",
            "unpaired": "no seed in common: no comparison",
            "gaps": "seeds and split seeds not crossed: no comparison",
            "lost": f"{self.lost_words}: no verdict",
        }[self.verdict]

    @property
    def lost_words(self) -> str:
        """Describe lost runs; those of the second with its name."""
        return "; ".join(one.words if one.cell == self.first else f"{one.cell}: {one.words}" for one in self.lost)

    @property
    def shown(self) -> bool:
        """Whether the interval excludes 0."""
        return self.verdict in ("above", "below")

    @property
    def survives_holm(self) -> bool:
        """Whether a difference also holds after Holm's correction."""
        return self.p_holm is not None and self.p_holm <= 1 - CONFIDENCE


def smallest_p(n: int) -> float:
    """Return the smallest p value of an exact sign-flip test.

    Two-sided, for n pairs; it needs no assumption about distributions.

    With n pairs the exact sign-flip test has 2**n equally likely outcomes, and the most extreme two of them
    carry probability 2**(1 - n). Below six pairs that exceeds 0.05: a verdict then rests on the normality
    the t interval assumes.
    """
    return min(1.0, 2.0 ** (1 - n))


Means = tuple[Mapping[Unit, float], Mapping[Unit, float]]
"""Means over folds of the runs of two cells, where they are known already."""


def paired_differences(
    first: Scores, second: Scores, means: Means | None = None
) -> tuple[dict[Unit, float], tuple[Unit, ...], tuple[Unit, ...]]:
    """Return the difference of each run that both cells have.

    Averaged over the folds that both have in it.

    Returns:
        Differences by run; the runs left out because only one side has them (or they share no fold); the
        runs in which folds had to be left out.
    """
    differences, dropped, trimmed = {}, sorted(set(first) ^ set(second)), []
    for unit in sorted(set(first) & set(second)):
        if means is not None and first[unit].keys() == second[unit].keys():
            a, b = means[0][unit], means[1][unit]
            differences[unit] = 0.0 if math.isclose(a, b, abs_tol=_ROUNDING) else a - b
            continue
        folds = set(first[unit]) & set(second[unit])
        if not folds:
            dropped.append(unit)
            continue
        numbered = {fold for fold in set(first[unit]) ^ set(second[unit]) if fold is not None}
        if numbered:
            trimmed.append(unit)
        a = fold_mean({fold: first[unit][fold] for fold in folds})
        b = fold_mean({fold: second[unit][fold] for fold in folds})
        differences[unit] = 0.0 if math.isclose(a, b, abs_tol=_ROUNDING) else a - b
    return differences, tuple(sorted(dropped)), tuple(trimmed)


def compare(
    names: tuple[str, str],
    first: Scores,
    second: Scores,
    lost: Sequence[Lost] = (),
    means: Means | None = None,
) -> Comparison:
    """Compare two cells, paired by seed, split seed and fold.

    Without a verdict if runs were lost.

    Args:
        names: Names of the two cells.
        first: Scores of the first cell.
        second: Scores of the second cell.
        lost: Runs of the two that ended without a number: what is left of them is a choice that nobody made.
        means: `bench.stats.intervals.run_means` of both; None to compute them.
    """
    by_run, dropped, trimmed = paired_differences(first, second, means)
    values, error = list(by_run.values()), mean_error(by_run)
    found = Comparison(
        *names,
        differences=by_run,
        error=error,
        difference=statistics.fmean(values) if values else None,
        low=None,
        high=None,
        p=None,
        p_holm=None,
        verdict="lost",
        dropped=dropped,
        notes=_notes(by_run, error, dropped, trimmed),
        lost=tuple(one for one in lost if one.runs),
    )
    if found.lost:
        return found
    if error.variance is not None:
        return _judged(found, error.variance, error.df)
    if len(values) > 1 and not error.missing and not any(values):
        return replace(found, p=1.0, verdict="none")
    return replace(found, verdict=_no_comparison(len(values), error))


def _no_comparison(n: int, error: MeanError) -> Verdict:
    return "unpaired" if n == 0 else "one-seed" if n == 1 else "gaps" if error.missing else "no-spread"


def _judged(found: Comparison, variance: float, df: float, moderated: bool = False) -> Comparison:
    """Fill in interval, p value and verdict."""
    assert found.difference is not None
    scale = math.sqrt(variance)
    half = student.quantile((1 + CONFIDENCE) / 2, df) * scale
    low, high = found.difference - half, found.difference + half
    return replace(
        found,
        low=low,
        high=high,
        p=student.two_sided(found.difference / scale, df),
        verdict="above" if low > 0 else "below" if high < 0 else "none",
        moderated=moderated,
        df=df,
    )


def _notes(
    by_run: Mapping[Unit, float], error: MeanError, dropped: Sequence[Unit], trimmed: Sequence[Unit]
) -> tuple[str, ...]:
    notes, n = [], len(by_run)
    if dropped:
        notes.append(f"seeds {_listed(dropped)} left out: not in both")
    if trimmed:
        notes.append(f"folds left out in seeds {_listed(trimmed)}: not in both")
    if error.missing:
        notes.append(
            f"not every seed was judged with every split seed (missing: seed/split {_listed(error.missing)}): no "
            "interval and no verdict; run what is missing"
        )
    elif error.over == "splits":
        notes.append("one pretraining seed: the interval holds over split seeds, for this encoder and no other")
    elif n > 1 and error.variance is None and any(by_run.values()):
        notes.append(
            "the difference is the same in every seed, so its variation is unknown: no interval and no "
            "verdict; run more seeds, and check that they differ"
        )
    elif error.over == "seeds" and error.variance is not None and smallest_p(n) > 1 - CONFIDENCE:
        notes.append(
            f"{n} seeds: without assuming normally distributed differences no test goes below p = {smallest_p(n):.3g}"
        )
    return tuple(notes)


def _listed(units: Sequence[Unit]) -> str:
    shown = ", ".join(map(str, units[:8]))
    return f"{shown} and {len(units) - 8} more" if len(units) > 8 else shown


def judge_family(family: Sequence[Comparison]) -> list[Comparison]:
    """Judge comparisons together: moderated variances and Holm's correction.

    The correction is over all of them.

    Moderated are comparisons over pretraining seeds (or over split seeds) that were made on the same runs; one that is
    over both keeps its own variance, and so does one whose runs no other comparison shares.
    """
    import numpy as np

    judged = list(family)
    groups: dict[tuple[Unit, ...], list[int]] = {}
    for at, c in enumerate(judged):
        if c.low is not None and c.error.over != "both":
            groups.setdefault(tuple(c.differences), []).append(at)
    for places in groups.values():
        if len(places) > 1:
            table = np.array([list(judged[at].differences.values()) for at in places])
            for at, found in zip(places, moderate(table), strict=True):
                judged[at] = _judged(judged[at], found.variance / table.shape[1], found.df, moderated=True)
    return holm_family(judged)


def holm(p_values: Sequence[float]) -> list[float]:
    """Apply Holm's step-down correction (Holm 1979), in input order.

    The i-th smallest of m values is multiplied by m - i (i from 0), made non-decreasing and cut at 1.
    """
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        running = max(running, min(1.0, p_values[index] * (len(p_values) - rank)))
        adjusted[index] = running
    return adjusted


def holm_family(family: Sequence[Comparison]) -> list[Comparison]:
    """Return the comparisons with Holm-corrected p values.

    Those without a p value do not count.
    """
    tested = [c.p for c in family if c.p is not None]
    corrected = iter(holm(tested))
    return [c if c.p is None else replace(c, p_holm=next(corrected)) for c in family]
