"""Choosing on validation: the strength of every candidate, then the candidate."""

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
    """Choice of validation.

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
    """Choose from validation accuracies.

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
    """Return the candidate with the highest accuracy; of several the first."""
    return max(accuracy, key=lambda name: round(accuracy[name], _DECIMALS))


def strength_rows(
    values: npt.NDArray[np.float64], strengths: Sequence[float], variant: str, n_objects: int
) -> list[Metric]:
    """Validation accuracy of one candidate at every strength that was tried, as rows ``accuracy[C=...]``."""
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
    """Mean over the classes that occur of the share of their objects predicted right."""
    present = np.unique(labels)
    return float(np.mean([np.mean(predicted[labels == c] == c) for c in present]))
