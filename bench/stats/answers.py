"""Stored predictions of runs for every test object, and scores.

An answer is the prediction for one question: a test object, in one fold.

A run stores its answers (`RunRecord.predictions`). With them every accuracy can be computed again, runs can be compared
object by object and joined into ensembles, with nothing but NumPy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from bench.protocols.selection import mean_class_accuracy

Index = npt.NDArray[np.int64]
Arrays = Mapping[str, npt.NDArray[Any]]
Average = Literal["probabilities", "logits", "votes"]

NO_CLASS = -1
"""Predicted class when a head names an output that is no class of the fold."""
TOP = 5


@dataclass(frozen=True)
class Answers:
    """Predictions of a run or an ensemble for n questions.

    A question is a test object, in each fold where there are folds.

    Attributes:
        ids: Name of the object, ``[n]``.
        fold: Fold of the question ``[n]``; None without folds.
        labels: True class ``[n]``.
        predicted: Class named ``[n]``; `NO_CLASS` for none.
        logits: Scores ``[n, K]``; None where they were not stored.
        columns: Class of every column of a fold's logits ``[folds, K']`` with K' up to K, in the order of the folds'
            first questions; None where column k is class k.
        positions: Whether `ids` are positions in the split, as records from before names were stored have them.
        iou: Of part segmentation, the mean IoU of each object's parts ``[n]``; its labels are categories and nothing
            is predicted about them.
    """

    ids: npt.NDArray[np.str_]
    fold: Index | None
    labels: Index
    predicted: Index
    logits: npt.NDArray[np.float32] | None = None
    columns: Index | None = None
    positions: bool = False
    iou: npt.NDArray[np.float64] | None = None

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """Whether each prediction is right, ``[n]``."""
        right: npt.NDArray[np.bool_] = self.predicted == self.labels
        return right

    @property
    def score(self) -> npt.NDArray[np.bool_] | npt.NDArray[np.float64]:
        """Return each answer's score: right or wrong, or its IoU."""
        return self.right if self.iou is None else self.iou

    @property
    def weights(self) -> npt.NDArray[np.float64]:
        """Weight of every question in the accuracy ``[n]``, sum 1.

        Folds count alike, whatever their size.
        """
        if self.fold is None:
            return np.full(len(self.labels), 1 / len(self.labels))
        _, inverse, counts = np.unique(self.fold, return_inverse=True, return_counts=True)
        weights: npt.NDArray[np.float64] = 1 / (counts[inverse] * len(counts))
        return weights

    @property
    def accuracy(self) -> float:
        """Return the share of right answers, or the mean IoU.

        With folds, the mean over folds.
        """
        if self.fold is None:
            return float(self.score.mean())
        return float(np.mean(list(self.fold_accuracies.values())))

    @property
    def mean_class_accuracy(self) -> float:
        """Return the mean recall over classes, all folds together."""
        return mean_class_accuracy(self.labels, self.predicted)

    @property
    def top_5(self) -> float | None:
        """Return top-5 accuracy; None without logits.

        A class that ties with the true one counts as above it, so that equal scores are no success.
        """
        if self.logits is None:
            return None
        own = self.logits[np.arange(len(self.labels)), self._true_column()][:, None]
        above = (self.logits >= own).sum(1) - 1
        return float((above < min(TOP, self.logits.shape[1])).mean())

    @cached_property
    def fold_accuracies(self) -> dict[int, float]:
        """Accuracy by fold; empty without folds."""
        if self.fold is None:
            return {}
        folds, inverse, counts = np.unique(self.fold, return_inverse=True, return_counts=True)
        shares = np.bincount(inverse, self.right) / counts
        return dict(zip(folds.tolist(), shares.tolist(), strict=True))

    def take(self, order: Index) -> Answers:
        """Return the answers at some positions, in that order."""
        logits = None if self.logits is None else self.logits[order]
        iou = None if self.iou is None else self.iou[order]
        fold = None if self.fold is None else self.fold[order]
        columns = self.columns
        if columns is not None and self.fold is not None and fold is not None:
            rows = _first_seen(self.fold)
            columns = columns[[rows.index(one) for one in _first_seen(fold)]]
        return replace(
            self,
            ids=self.ids[order],
            fold=fold,
            labels=self.labels[order],
            predicted=self.predicted[order],
            logits=logits,
            columns=columns,
            iou=iou,
        )

    def question_columns(self) -> Index | None:
        """Return the class of every column for each question.

        ``[n, K]``, `NO_CLASS` beyond the classes of a fold; None means that column k is class k.
        """
        if self.columns is None or self.fold is None or self.logits is None:
            return None
        rows = _first_seen(self.fold)
        wide = np.full((len(rows), max(self.logits.shape[1], self.columns.shape[1])), NO_CLASS, np.int64)
        wide[:, : self.columns.shape[1]] = self.columns
        place = {fold: row for row, fold in enumerate(rows)}
        return wide[[place[int(fold)] for fold in self.fold]]

    def _true_column(self) -> Index:
        columns = self.question_columns()
        return self.labels if columns is None else (columns == self.labels[:, None]).argmax(1)


def _first_seen(values: Index) -> list[int]:
    return list(dict.fromkeys(int(value) for value in values))


def read_answers(predictions: Arrays) -> Answers:
    """Read the answers that a run stored.

    Args:
        predictions: `RunRecord.predictions`.

    Raises:
        ValueError: They are no answers about single objects; the message says what they are instead, or what is
            missing.
    """
    for name, words in (
        ("offsets", "it labels the points of rooms, which is no classification of single objects"),
        ("rank", "it ranks matches, which is no classification of single objects"),
    ):
        if name in predictions:
            raise ValueError(words)
    if "instance_iou" in predictions:
        iou = predictions["instance_iou"].astype(np.float64)
        nothing = np.full(len(iou), NO_CLASS, np.int64)
        labels = predictions["labels"].astype(np.int64)
        return Answers(predictions["ids"].astype(np.str_), None, labels, nothing, iou=iou)
    named = "ids" in predictions
    for name in ("ids" if named else "query", "labels", "predicted"):
        if name not in predictions:
            raise ValueError(f"its stored predictions lack '{name}'")
    ids = predictions["ids" if named else "query"].astype(np.str_)
    logits, columns = predictions.get("logits"), predictions.get("classes")
    fold = predictions.get("fold")
    found = Answers(
        ids=ids,
        fold=None if fold is None else fold.astype(np.int64),
        labels=predictions["labels"].astype(np.int64),
        predicted=predictions["predicted"].astype(np.int64),
        logits=None if logits is None else np.asarray(logits, np.float32),
        columns=None if columns is None else columns.astype(np.int64),
        positions=not named,
    )
    lengths = {len(part) for part in (ids, found.labels, found.predicted, fold, logits) if part is not None}
    if len(lengths) > 1:
        raise ValueError(f"its stored predictions are of different lengths ({', '.join(map(str, sorted(lengths)))})")
    if not len(ids):
        raise ValueError("it has no test object")
    return found


def ensemble(members: Sequence[Answers], average: Average = "probabilities") -> Answers:
    """Join the answers of several runs into one ensemble.

    Args:
        members: Answers, aligned: the same questions in the same order.
        average: ``probabilities`` averages the softmax of each run's logits, ``logits`` the logits themselves (for runs
            whose logits have one scale), ``votes`` counts the classes named; of equally many votes the class with the
            higher mean probability wins, where logits are stored, else the first class.

    Raises:
        ValueError: There is no member, or nothing to join: no classes, or logits that are missing or of other classes.
    """
    if not members:
        raise ValueError("an ensemble needs at least one run")
    if any(member.iou is not None for member in members):
        raise ValueError("part segmentation has no ensembles: they need predicted classes of objects")
    first = members[0]
    parts = [m.logits for m in members if m.logits is not None]
    alike = len(parts) == len(members) and len({part.shape for part in parts}) == 1
    alike = alike and all(_same(m.question_columns(), first.question_columns()) for m in members)
    if average == "votes":
        predicted = _vote(members, _mean_probability(parts, first) if alike else None)
        return replace(first, predicted=predicted, logits=None, columns=None)
    if not alike:
        raise ValueError("the runs' logits are missing or not of the same classes: only votes can be counted")
    if average == "logits":
        scores = np.mean([part.astype(np.float64) for part in parts], axis=0)
    else:
        scores = np.mean([_softmax(part) for part in parts], axis=0)
    columns = first.question_columns()
    best = scores.argmax(1)
    predicted = best if columns is None else columns[np.arange(len(best)), best]
    return replace(first, predicted=predicted.astype(np.int64), logits=scores.astype(np.float32))


def _same(first: Index | None, second: Index | None) -> bool:
    return first is second or (first is not None and second is not None and np.array_equal(first, second))


def _softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    from scipy.special import softmax

    values: npt.NDArray[np.float64] = softmax(logits.astype(np.float64), axis=1)
    return values


def _mean_probability(parts: Sequence[npt.NDArray[np.float32]], first: Answers) -> npt.NDArray[np.float64]:
    """Return mean class probabilities ``[n, classes]`` of several runs.

    Columns may be in another order in each.
    """
    mean: npt.NDArray[np.float64] = np.mean([_softmax(part) for part in parts], axis=0)
    columns = first.question_columns()
    if columns is None:
        return mean
    table = np.zeros((len(mean), int(columns.max()) + 1))
    rows, places = np.nonzero(columns != NO_CLASS)
    table[rows, columns[rows, places]] = mean[rows, places]
    return table


def _vote(members: Sequence[Answers], probability: npt.NDArray[np.float64] | None) -> Index:
    named = np.stack([m.predicted for m in members])
    width = int(max(named.max(), members[0].labels.max())) + 1
    if probability is not None:
        width = max(width, probability.shape[1])
    votes = np.zeros((named.shape[1], width))
    for answers in named:
        valid = np.flatnonzero(answers != NO_CLASS)
        votes[valid, answers[valid]] += 1
    tie = np.zeros_like(votes)
    if probability is not None:
        tie[:, : probability.shape[1]] = 0.5 * probability  # below one vote: it only orders equal counts
    predicted: Index = (votes + tie).argmax(1).astype(np.int64)
    predicted[votes.sum(1) == 0] = NO_CLASS
    return predicted
