"""Selection ledger: scores by the rule that chose the epoch.

Choosing on test needs what a network says about the test split after every epoch. That is noted down while it trains,
without a label; labels are revealed once, when every other choice is made, and the notes are compared with them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.protocols.selection import mean_class_accuracy
from bench.store.records import Metric

Scores = npt.NDArray[np.floating]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Answers:
    """Predictions of one trained network on the test split.

    Attributes:
        best: Epoch validation chose, from 1.
        last: Last epoch.
        logits: Logits ``[m, K]`` at these two.
        predicted: Class ``[m]`` by epoch, of every epoch where choosing on test is asked for; else empty.
        voted: Gives the mean logits ``[m, K]`` of the votes of (epoch, repeat); None without votes.
    """

    best: int
    last: int
    logits: Mapping[int, Scores]
    predicted: Mapping[int, Labels]
    voted: Callable[[int, int], Scores] | None = None

    def of(self, epoch: int) -> Labels:
        """Return the predicted classes ``[m]`` of an epoch."""
        if epoch in self.logits:
            predicted: Labels = self.logits[epoch].argmax(-1)
            return predicted
        return self.predicted[epoch]

    def chosen_on_test(self, labels: Labels) -> int:
        """Return the first epoch with the highest test accuracy."""
        epochs = sorted({*self.predicted, *self.logits})
        return max(epochs, key=lambda epoch: (float((self.of(epoch) == labels).mean()), -epoch))


@dataclass(frozen=True)
class Voting:
    """Number of votes, and of repeats of the whole vote.

    Attributes:
        votes: Draws of points averaged for one prediction.
        repeats: Repetitions of the whole vote, of which releases report the maximum; 1 for none.
    """

    votes: int
    repeats: int = 1


def ledger_rows(
    answers: Answers, labels: Labels, variant: str, headline: bool, voting: Voting | None = None
) -> list[Metric]:
    """Return every score of one candidate on the test split.

    Args:
        answers: Its predictions.
        labels: The revealed labels ``[m]``.
        variant: Name of the candidate; empty for the only one.
        headline: Whether validation chose it.
        voting: Settings of its votes, if any. Voted rows are never the headline.

    Returns:
        ``accuracy`` and ``mean_class_accuracy`` under each selection rule, the same with votes, and the best of the
        repeated votes at the epoch chosen on test, which is the number the releases print.
    """
    chosen = {"val": answers.best, "last": answers.last}
    if answers.predicted:
        chosen["test"] = answers.chosen_on_test(labels)
    rows: list[Metric] = []
    for rule, epoch in chosen.items():
        rows += _pair(answers.of(epoch), labels, rule, variant, headline, epoch, 1)
    if voting is None or answers.voted is None:
        return rows
    for rule, epoch in chosen.items():
        rows += _pair(answers.voted(epoch, 0).argmax(-1), labels, rule, variant, False, epoch, voting.votes)
    if voting.repeats > 1 and "test" in chosen:
        voted = (answers.voted(chosen["test"], repeat).argmax(-1) for repeat in range(voting.repeats))
        highest = max(float((predicted == labels).mean()) for predicted in voted)
        rows.append(
            _row(best_of_name(voting.repeats), highest, "test", variant, False, chosen["test"], voting.votes, labels)
        )
    return rows


def best_of_name(repeats: int) -> str:
    """Return the metric name for the maximum over repeated votes."""
    return f"accuracy[max of {repeats} repeats]"


def test_curve(answers: Answers, labels: Labels) -> list[tuple[float, float]]:
    """Return test accuracy by epoch, once labels are revealed."""
    return [(float(e), float((answers.of(e) == labels).mean())) for e in sorted(answers.predicted)]


def _pair(
    predicted: Labels, labels: Labels, rule: str, variant: str, headline: bool, epoch: int, votes: int
) -> list[Metric]:
    accuracy = float((predicted == labels).mean())
    by_class = mean_class_accuracy(labels, predicted)
    return [
        _row("accuracy", accuracy, rule, variant, headline, epoch, votes, labels),
        _row("mean_class_accuracy", by_class, rule, variant, headline, epoch, votes, labels),
    ]


def _row(
    name: str, value: float, rule: str, variant: str, headline: bool, epoch: int, votes: int, labels: Labels
) -> Metric:
    return Metric.model_validate(
        {"name": name, "value": value, "split": "test", "selection": rule, "variant": variant}
        | {"headline": headline, "epoch": epoch, "votes": votes, "n_objects": len(labels)}
    )
