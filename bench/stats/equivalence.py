"""Equivalence of two methods by two one-sided t tests (TOST).

"No difference shown" is no evidence of equality: few or noisy seeds show nothing either way. Two methods are equivalent
within a margin when the difference is shown to lie above minus the margin and below the margin, each by a one-sided t
test at 5 %: equally, when its 90 % interval lies between the two (Schuirmann, *A comparison of the two one-sided tests
procedure and the power approach*, 1987). Whoever asks states the margin, before looking at the result.

Values are fractions, as everywhere in `bench.stats`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from bench.stats import student
from bench.stats.comparisons import Comparison, holm
from bench.stats.intervals import CONFIDENCE, Unit, mean_error

if TYPE_CHECKING:
    from bench.stats.objects import Crossed

FEWEST_SEEDS = 5
"""Least number of paired seeds for a statement of equivalence: fewer estimate the deviation too badly."""
LEVEL = 1 - CONFIDENCE
"""Level of each of the two one-sided tests."""
Verdict = Literal["equivalent", "not shown", "too few seeds"]


@dataclass(frozen=True)
class Equivalence:
    """Whether two methods differ by less than a margin.

    Attributes:
        margin: Largest difference that counts as none, a fraction above 0.
        seeds: Paired pretraining seeds.
        difference: Mean difference; None without pairs.
        low: Lower end of its 90 % interval; None where its variation is unknown.
        high: Upper end of it.
        p: Larger p value of the two one-sided tests; None where there is no interval.
        p_holm: The same after Holm's correction over what is shown together (`judge_together`); None for one alone.
    """

    margin: float
    seeds: int
    difference: float | None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_holm: float | None = None

    @property
    def verdict(self) -> Verdict:
        """Whether equivalence is shown, with Holm where it applies."""
        if self.seeds < FEWEST_SEEDS:
            return "too few seeds"
        p = self.p if self.p_holm is None else self.p_holm
        return "equivalent" if p is not None and p <= LEVEL else "not shown"

    @property
    def words(self) -> str:
        """The verdict as a phrase with its margin."""
        within = f"within ± {100 * self.margin:g} points"
        if self.verdict == "equivalent":
            return f"equivalent {within}"
        shown = f"equivalence {within} not shown"
        if self.verdict == "too few seeds":
            return f"{shown}: it needs {FEWEST_SEEDS} paired seeds, there are {self.seeds}"
        return shown if self.p is not None else f"{shown}: the variation of the difference is unknown"


def tost(differences: Mapping[Unit, float], margin: float) -> Equivalence:
    """Test whether the mean of paired differences is within a margin.

    Args:
        differences: Difference of two methods by run (`bench.stats.comparisons.Comparison.differences`), fractions.
        margin: Largest difference that counts as none, a fraction.

    Raises:
        ValueError: The margin is not a finite number above 0.
    """
    error = mean_error(differences)
    mean = statistics.fmean(differences.values()) if differences else None
    seeds = len({unit.seed for unit in differences})
    scale = None if error.variance is None else math.sqrt(error.variance)
    return _tested(margin, seeds, mean, scale, error.df)


def of_comparison(found: Comparison | Crossed, margin: float) -> Equivalence:
    """Test a comparison that was made, on its own variance.

    That is the moderated one where the comparison was judged with others; runs that were lost, or missing in a table
    of seeds and split seeds, leave no interval and so no equivalence.

    Args:
        found: The comparison over seeds, or over seeds and objects.
        margin: As in `tost`.

    Raises:
        ValueError: The margin is not a finite number above 0.
    """
    seeds = found.n if isinstance(found, Comparison) else found.seeds
    scale = None
    if found.low is not None and found.high is not None:
        scale = (found.high - found.low) / 2 / student.quantile((1 + CONFIDENCE) / 2, found.df)
    return _tested(margin, seeds, found.difference, scale, found.df)


def judge_together(family: Sequence[Equivalence]) -> list[Equivalence]:
    """Return tests with Holm's correction over all of them.

    Those without a p value do not count.
    """
    tested = [one.p for one in family if one.p is not None]
    corrected = iter(holm(tested))
    return [one if one.p is None else replace(one, p_holm=next(corrected)) for one in family]


def _tested(margin: float, seeds: int, mean: float | None, scale: float | None, df: float) -> Equivalence:
    if not 0 < margin < math.inf:
        raise ValueError(f"margin {margin}: expected a finite number above 0")
    if mean is None or not scale:
        return Equivalence(margin, seeds, mean)
    half = student.quantile(1 - LEVEL, df) * scale
    p = student.upper_tail((margin - abs(mean)) / scale, df)
    return Equivalence(margin, seeds, mean, mean - half, mean + half, p)
