"""Baseline accuracies: chance, and the most frequent class."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bench.stats.answers import Answers, read_answers

if TYPE_CHECKING:
    from bench.stats.cells import Cell
    from bench.store.records import RunRecord

ACCURACY, BY_CLASS = "accuracy", "mean_class_accuracy"
_SAME = 1e-6
"""Two accuracies that differ by less are equal: stored logits are float32."""


@dataclass(frozen=True)
class Floor:
    """Baseline scores of one setting, as fractions.

    Attributes:
        chance: Expected score of a guess among the classes that could be named; None where their number is not stored.
        majority: Score of naming the most frequent class every time; in folds, the mean over folds.
        balanced: Whether every class has as many test objects, so that accuracy and its mean over classes are equal.
    """

    chance: float | None
    majority: float
    balanced: bool


def floors(cells: Iterable[Cell], runs: Mapping[str, RunRecord]) -> dict[str, Floor]:
    """Return the baseline scores of each setting of a table.

    Read from the answers of the first run that stored any.

    Args:
        cells: Cells of one table: judged alike, so that all were asked about the same objects.
        runs: Records by key.

    Returns:
        Floors by setting; none for metrics other than accuracies, nor where no run stored answers about objects.
    """
    found: dict[str, Floor] = {}
    for cell in cells:
        measure = _MEASURES.get(cell.metric.partition("[")[0])
        if measure is None or cell.setting in found:
            continue
        for key in cell.runs.values():
            answers = _answers(runs.get(key))
            if answers is not None:
                found[cell.setting] = measure(answers)
                break
    return found


def same_scores(first: Iterable[Cell], second: Iterable[Cell]) -> bool:
    """Whether two tables show equal numbers in equal rows."""
    one, other = ({(cell.setting, cell.label): cell for cell in cells} for cells in (first, second))
    return one.keys() == other.keys() and all(_same(cell, other[name]) for name, cell in one.items())


def _same(first: Cell, second: Cell) -> bool:
    """Whether cells have equal fold means for all seeds."""
    one, other = (
        {unit: float(np.mean(list(parts.values()))) for unit, parts in cell.scores.items()} for cell in (first, second)
    )
    return one.keys() == other.keys() and all(abs(one[unit] - other[unit]) < _SAME for unit in one)


def _answers(run: RunRecord | None) -> Answers | None:
    """Return a run's answers about objects, or None.

    None if it stored none, or no single class was named.
    """
    if run is None or not run.predictions:
        return None
    try:
        found = read_answers(run.predictions)
    except ValueError:  # it labels points or ranks matches: no classification of objects
        return None
    return None if found.iou is not None else found


def _of_accuracy(answers: Answers) -> Floor:
    folds = [answers.labels] if answers.fold is None else [answers.labels[answers.fold == f] for f in _folds(answers)]
    largest = [float(_counts(labels).max() / len(labels)) for labels in folds]
    return Floor(_chance(answers), float(np.mean(largest)), _balanced(answers, folds))


def _of_class_mean(answers: Answers) -> Floor:
    """Return the baseline for mean class accuracy.

    Naming one class gets all of it right and nothing of the others.
    """
    return Floor(_chance(answers), 1 / len(_counts(answers.labels)), _of_accuracy(answers).balanced)


_MEASURES: Mapping[str, Callable[[Answers], Floor]] = {ACCURACY: _of_accuracy, BY_CLASS: _of_class_mean}


def _chance(answers: Answers) -> float | None:
    """Return chance accuracy: one over the number of classes.

    The classes are those of a fold, else the columns of the logits.
    """
    columns = answers.logits if answers.columns is None else answers.columns
    return None if columns is None else 1 / int(columns.shape[1])


def _balanced(answers: Answers, folds: list[npt.NDArray[np.int64]]) -> bool:
    return len(set(_counts(answers.labels).tolist())) == 1 and len({len(labels) for labels in folds}) == 1


def _folds(answers: Answers) -> list[int]:
    return [] if answers.fold is None else np.unique(answers.fold).tolist()


def _counts(labels: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
    return np.unique(labels, return_counts=True)[1]
