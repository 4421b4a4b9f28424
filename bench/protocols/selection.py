"""Choose penalty strength, then candidate, by validation accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.store.records import Metric

MAX_ITERATIONS = 300
"""Bound of the solvers of heads, per strength; one that stops there has not solved its problem."""
UNSOLVED = f"a head stopped at {MAX_ITERATIONS} iterations before it was solved"
"""Warning in the notes of a run whose reported head is such a one."""
_DECIMALS = 9
"""Accuracies equal to this many digits are ties, so that the order of a sum decides nothing."""


@dataclass(frozen=True)
class Choice:
    """Candidate and strengths that validation chose.

    Attributes:
        candidate: Name of the best candidate; of several equally good ones the first.
        strengths: Best strength of every candidate; of several equally good ones the smallest, which regularises
            most.
        accuracy: Validation accuracy of every candidate at its best strength.
    """

    candidate: str
    strengths: dict[str, float]
    accuracy: dict[str, float]


def choose(table: Mapping[str, npt.NDArray[np.float64]], strengths: Sequence[float]) -> Choice:
    """Choose strength and candidate by validation accuracy.

    Args:
        table: Accuracy at every strength, ``[S]``, by candidate.
        strengths: The strengths.

    Returns:
        The choice.
    """
    order = np.argsort(np.asarray(strengths), kind="stable")
    best: dict[str, float] = {}
    accuracy: dict[str, float] = {}
    for name, values in table.items():
        place = int(order[np.argmax(np.round(values[order], _DECIMALS))])
        best[name] = float(strengths[place])
        accuracy[name] = float(values[place])
    return Choice(first_best(accuracy), best, accuracy)


def first_best(accuracy: Mapping[str, float]) -> str:
    """Return the candidate with the highest accuracy (first of ties)."""
    return max(accuracy, key=lambda name: round(accuracy[name], _DECIMALS))


def strength_rows(
    values: npt.NDArray[np.float64], strengths: Sequence[float], variant: str, n_objects: int
) -> list[Metric]:
    """Return a candidate's validation accuracy at every strength.

    Rows are called ``accuracy[C=...]``.
    """
    return [
        Metric(
            name=f"accuracy[C={strength:g}]",
            value=float(value),
            split="val",
            variant=variant,
            headline=False,
            n_objects=n_objects,
        )
        for strength, value in zip(strengths, values, strict=True)
    ]


def mean_class_accuracy(labels: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64]) -> float:
    """Return recall averaged over the classes that occur."""
    present = np.unique(labels)
    return float(np.mean([np.mean(predicted[labels == c] == c) for c in present]))
