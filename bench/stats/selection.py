"""Compare selection rules, and the gain from choosing on test.

A cell's score is the one at the setting validation chose. Runs may also hold scores at the last epoch, at what the
test split itself liked best (as much of the literature reports), with votes, and the maximum over repeated votes.
Their distance to the first is inflation, measured on the same trained networks. Reporting the best of several seeds
inflates on top of that.
"""

from __future__ import annotations

import math
import re
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.stats.cells import Cell, whole_runs
from bench.stats.intervals import FoldScores, Scores, Summary, Unit, mean_error, run_means, summarise

if TYPE_CHECKING:
    from bench.store.queries import RunNumbers
    from bench.store.records import MetricPath

_MAXIMUM = re.compile(r"(?P<metric>.+)\[max of (?P<repeats>\d+) repeats\]")
"""Name of the maximum over repeated votes (`bench.protocols.ledger.best_of_name`)."""


@dataclass(frozen=True, order=True)
class Rule:
    """A rule by which a score was selected.

    Attributes:
        voted: Whether it is a vote.
        repeats: Repeats of the vote that the maximum was taken over; 1 for none.
        selection: ``val``, ``last`` or ``test``.
    """

    voted: bool = False
    repeats: int = 1
    selection: str = "val"


VAL, LAST, TEST = Rule(), Rule(selection="last"), Rule(selection="test")


@dataclass(frozen=True)
class Inflation:
    """Mean difference of two rules on the same runs.

    Attributes:
        n: Seeds.
        mean: Mean difference.
        low: Lower end of the Student-t interval, None with one seed or equal differences.
        high: Upper end of it.
    """

    n: int
    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class LedgerLine:
    """Scores of one cell under every selection rule.

    Attributes:
        cell: The cell.
        scores: Summary by rule; `VAL` is always there.
        votes: Votes of the voted rules; 1 without any.
        inflation: Chosen on test minus chosen on validation; None where nothing was chosen on test.
        best_of_seeds: Best seed minus the mean over seeds, both chosen on validation; None with one seed.
        together: Best seed under the rule that flatters most, minus the honest mean: what all habits of the
            literature together add to the number.
    """

    cell: Cell
    scores: Mapping[Rule, Summary]
    votes: int
    inflation: Inflation | None
    best_of_seeds: float | None
    together: float


def selection_ledger(cells: Iterable[Cell], runs: Iterable[RunNumbers]) -> tuple[LedgerLine, ...]:
    """Compare the selection rules of each cell.

    Args:
        cells: Cells of `bench.stats.cells.group_cells`.
        runs: The runs they were grouped from.

    Returns:
        A line per cell that has more than the score chosen on validation, in the order of the cells.
    """
    by_key = {run.run_key: run for run in whole_runs(run for run in runs if run.status == "done")}
    ruled: dict[tuple[int, str, int], list[_Place]] = {}
    lines = []
    for cell in cells:
        own = [by_key[key] for key in cell.runs.values()]
        for run in own:
            if (kind := (id(run.paths), cell.metric, cell.votes)) not in ruled:
                ruled[kind] = list(_places(run.paths, cell))
        places = [ruled[id(run.paths), cell.metric, cell.votes] for run in own]
        if any(place[0] != VAL for found in places for place in found):
            lines.append(_line(cell, own, places))
    return tuple(lines)


def headline_lines(lines: Sequence[LedgerLine]) -> tuple[LedgerLine, ...]:
    """Drop other metrics of runs that have an accuracy."""
    accuracies = {tuple(sorted(line.cell.runs.values())) for line in lines if line.cell.metric == "accuracy"}
    return tuple(
        line
        for line in lines
        if line.cell.metric == "accuracy" or tuple(sorted(line.cell.runs.values())) not in accuracies
    )


_Place = tuple[Rule, int, "MetricPath"]
"""A number of a run that a rule selects: its place and path."""


def _places(paths: Sequence[MetricPath], cell: Cell) -> Iterator[_Place]:
    """Yield the chosen candidate's test numbers, with their rules.

    The candidate is the one that validation chose.
    """
    tested = [(at, path) for at, path in enumerate(paths) if path.split == "test"]
    chosen = [path.variant for _, path in tested if path.headline and path.selection == "val"]
    for at, path in tested:
        if (rule := _rule(path, cell)) is not None and path.variant == chosen[-1]:
            yield rule, at, path


def _line(cell: Cell, runs: Sequence[RunNumbers], places: Sequence[Sequence[_Place]]) -> LedgerLine:
    found: dict[Rule, dict[Unit, FoldScores]] = defaultdict(lambda: defaultdict(dict))
    for run, own in zip(runs, places, strict=True):
        for rule, at, path in own:
            found[rule][Unit(run.seed, run.split_seed)][path.fold] = run.values[at]
    votes = max((path.votes for own in places for rule, _, path in own if rule.voted), default=1)
    scores: dict[Rule, Scores] = {VAL: cell.scores, **{r: s for r, s in sorted(found.items()) if r != VAL}}
    honest = list(run_means(cell.scores).values())
    highest = max(max(run_means(values).values()) for values in scores.values())
    return LedgerLine(
        cell=cell,
        scores={rule: summarise(values) for rule, values in scores.items()},
        votes=votes,
        inflation=inflation(scores[TEST], cell.scores) if TEST in scores else None,
        best_of_seeds=best_of(honest, len(honest)) - statistics.fmean(honest) if len(honest) > 1 else None,
        together=highest - statistics.fmean(honest),
    )


def _rule(path: MetricPath, cell: Cell) -> Rule | None:
    """Return the rule of a number; None for another metric."""
    maximum = _MAXIMUM.fullmatch(path.name)
    if maximum is not None:
        same = maximum["metric"] == cell.metric
        return Rule(True, int(maximum["repeats"]), path.selection) if same else None
    return Rule(path.votes > cell.votes, 1, path.selection) if path.name == cell.metric else None


def inflation(generous: Scores, honest: Scores) -> Inflation | None:
    """Return the mean difference of two rules, paired by seed.

    None without a seed in common.

    Args:
        generous: Scores under the rule that looks at the test split.
        honest: Scores of the same runs chosen on validation.
    """
    first, second = run_means(generous), run_means(honest)
    differences = {unit: first[unit] - second[unit] for unit in sorted(first.keys() & second.keys())}
    if not differences:
        return None
    mean, half = statistics.fmean(differences.values()), mean_error(differences).half_width()
    n = len({unit.seed for unit in differences})
    return Inflation(n, mean, None if half is None else mean - half, None if half is None else mean + half)


def best_of(values: Sequence[float], k: int) -> float:
    """Return the expected maximum of k values without replacement.

    This is what reporting the best of k seeds gives.

    Args:
        values: One score per seed.
        k: Seeds to report the best of, from 1 (their mean) to all (their maximum).

    Raises:
        ValueError: There are fewer than k values, or k is below 1.
    """
    n = len(values)
    if not 1 <= k <= n:
        raise ValueError(f"best of {k} of {n} seeds: expected between 1 and {n}")
    ordered = sorted(values)
    # The i-th smallest is the maximum of comb(i, k - 1) of the comb(n, k) subsets.
    weights = [math.comb(i, k - 1) / math.comb(n, k) for i in range(n)]
    return math.fsum(weight * value for weight, value in zip(weights, ordered, strict=True))
