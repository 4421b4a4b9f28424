"""Score heads on corrupted test clouds, beside the clean ones.

The heads, and everything that was chosen for them, are those of the clean evaluation: nothing is fitted or chosen on a
corrupted cloud. Definitions: docs/reference.md#corrupted-test-sets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from bench.data.corruptions import CLEAN
from bench.protocols.base import Evaluation, Task
from bench.store.records import Metric

METRIC = "corrupted_accuracy"
"""Mean over types of the mean over levels, mOA in the papers; with ``[TYPE]`` or ``[TYPE-LEVEL]`` behind it a part."""
NAMED = "corrupted_predicted"
"""Stored classes that were named, int32 ``[conditions, answers]``."""
CONDITIONS = "corruptions"
"""Stored names of the conditions."""

Labels = npt.NDArray[np.integer]


def add_corrupted(
    evaluation: Evaluation, task: Task, variant: str, named: Callable[[Sequence[str]], Sequence[Labels]]
) -> None:
    """Score the chosen head on every corrupted test set, if they are wanted.

    Args:
        evaluation: Result on the clean test split; rows and predictions are added.
        task: The task.
        variant: Name of the chosen candidate in rows; empty for the only one.
        named: Returns the class that the head names for each stored answer, by condition.
    """
    if task.corrupted is None:
        return
    conditions = task.corrupted.conditions
    predicted = np.stack([np.asarray(one, np.int32) for one in named(conditions)])
    evaluation.predictions[NAMED] = predicted
    evaluation.predictions[CONDITIONS] = np.array(conditions)
    labels, fold = evaluation.predictions["labels"].astype(np.int64), evaluation.predictions.get("fold")
    n_objects = len(np.unique(evaluation.predictions["ids"]))
    evaluation.metrics += corrupted_rows(
        predicted, conditions, labels, None if fold is None else fold.astype(np.int64), variant, n_objects
    )


def corrupted_rows(
    predicted: Labels,
    conditions: Sequence[str],
    labels: Labels,
    fold: Labels | None,
    variant: str,
    n_objects: int,
) -> list[Metric]:
    """Return accuracies over all conditions, by type, and by condition.

    Args:
        predicted: Classes named ``[conditions, answers]``.
        conditions: Names of the conditions, ``TYPE-LEVEL``.
        labels: True classes ``[answers]``.
        fold: Fold of each answer ``[answers]``; None without folds.
        variant: Name of the candidate in rows.
        n_objects: Test objects.

    Returns:
        The row of `METRIC`, with a row per fold; then a row per type and per condition, which are no headline.
    """
    right = predicted == labels[None]
    folds = [None] if fold is None else [int(one) for one in np.unique(fold)]
    by_fold = {one: right[:, fold == one].mean(1) if fold is not None else right.mean(1) for one in folds}
    whole = np.mean(list(by_fold.values()), axis=0)

    def row(name: str, value: float, *, headline: bool = False, of: int | None = None) -> Metric:
        n = n_objects if of is None or fold is None else int((fold == of).sum())
        return Metric(name=name, value=value, split="test", variant=variant, headline=headline, fold=of, n_objects=n)

    rows = [row(METRIC, mean_by_type(whole, conditions), headline=True)]
    rows += [
        row(METRIC, mean_by_type(values, conditions), headline=True, of=one)
        for one, values in by_fold.items()
        if one is not None
    ]
    rows += [row(f"{METRIC}[{kind}]", value) for kind, value in by_type(whole, conditions).items()]
    rows += [row(f"{METRIC}[{name}]", float(value)) for name, value in zip(conditions, whole, strict=True)]
    return rows


def by_type(values: Sequence[float] | npt.NDArray[np.float64], conditions: Sequence[str]) -> dict[str, float]:
    """Return the mean over the levels of each type of corruption."""
    found: dict[str, list[float]] = {}
    for name, value in zip(conditions, values, strict=True):
        if name != CLEAN:
            found.setdefault(name.rpartition("-")[0], []).append(float(value))
    return {kind: float(np.mean(levels)) for kind, levels in found.items()}


def mean_by_type(values: Sequence[float] | npt.NDArray[np.float64], conditions: Sequence[str]) -> float:
    """Return the mean over types of the mean over levels."""
    return float(np.mean(list(by_type(values, conditions).values())))
