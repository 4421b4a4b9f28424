"""Facts about hyperparameter searches for a report."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrialFacts:
    """One trial.

    Attributes:
        number: Its number in the search, from 0; trials that were lost and do not count have numbers, too.
        value: Validation score; None where it failed.
        values: Values tried: (assignment, value as text).
        error: Why it failed; empty where it did not.
    """

    number: int
    value: float | None
    values: tuple[tuple[str, str], ...]
    error: str = ""


@dataclass(frozen=True)
class StudyFacts:
    """A search: one method, one protocol, one data set.

    Attributes:
        name: Name of the search.
        method: Method, for ``scratch`` with its architecture.
        protocol: Protocol it was scored by.
        dataset: Data set it was scored on.
        preset: Preset.
        settings: Settings of the protocol; a score is the mean over them.
        what: ``downstream``, ``pretrain`` or ``both``.
        seed: Seed of the search and of its runs.
        metric: Metric of the score.
        space: Digest of the space.
        dimensions: The space, one line each.
        trials: Trials that count, in their order.
        best: Number of the best one; None where all failed.
        importance: Share of each parameter in what sets the best trials apart; empty where that cannot be told.
        shipped: Number of the trial of the values as shipped; None where they were not tried.
    """

    name: str
    method: str
    protocol: str
    dataset: str
    preset: str
    settings: tuple[str, ...]
    what: str
    seed: int
    metric: str
    space: str
    dimensions: tuple[str, ...]
    trials: tuple[TrialFacts, ...]
    best: int | None
    importance: tuple[tuple[str, float], ...] = ()
    shipped: int | None = None

    def trial(self, number: int | None) -> TrialFacts | None:
        """Return a trial by its number."""
        return next((trial for trial in self.trials if trial.number == number), None)
