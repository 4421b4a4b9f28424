"""Objective of a search: the validation score of its runs.

No test object has a part in it.

`ValidationScore` is the only thing a search is given of a run. It is made from rows of ``split == "val"`` alone, so
that no test number can reach a choice.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from bench.errors import BenchError


class Row(Protocol):
    """Fields read of a stored number.

    `bench.store.queries.MetricRow` and `bench.store.records.Metric` have them.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def value(self) -> float: ...  # noqa: D102
    @property
    def split(self) -> str: ...  # noqa: D102
    @property
    def selection(self) -> str: ...  # noqa: D102
    @property
    def headline(self) -> bool: ...  # noqa: D102
    @property
    def fold(self) -> int | None: ...  # noqa: D102


@dataclass(frozen=True)
class ValidationScore:
    """Headline validation score of one run.

    Attributes:
        name: Name of the metric.
        value: A fraction, higher is better.
    """

    name: str
    value: float


def validation_score(rows: Iterable[Row], metric: str) -> ValidationScore | None:
    """Find the validation score of what one run reports.

    That is the row of the candidate and epoch that validation chose, over all folds. Rows in brackets, such as
    ``accuracy[C=10]``, are of settings that were tried on the way. A protocol may validate by another metric than it
    is judged by (semantic segmentation: blocks instead of rooms); then there is one such metric only.

    Args:
        rows: Rows of one run, of any split.
        metric: The protocol's metric.

    Returns:
        The score; None where the run validated nothing.
    """
    held = [row for row in rows if row.split == "val"]  # from here on there is no test number
    found = {
        row.name: row.value
        for row in held
        if row.headline and row.selection == "val" and row.fold is None and "[" not in row.name
    }
    name = metric if metric in found else next(iter(found)) if len(found) == 1 else ""
    return ValidationScore(name, found[name]) if name else None


def objective(scores: Sequence[ValidationScore]) -> float:
    """Return the mean score over a trial's runs.

    A trial has one run per setting and split seed.

    Raises:
        BenchError: There is none, they are of different metrics, or one is not a number.
    """
    names = {score.name for score in scores}
    if len(names) != 1:
        raise BenchError(f"a trial needs one validation metric, found {', '.join(sorted(names)) or 'none'}")
    value = statistics.fmean(score.value for score in scores)
    if not math.isfinite(value):
        raise BenchError(f"validation {names.pop()} is not a number")
    return value
