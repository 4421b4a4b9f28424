"""Probes on frozen features whose setting is chosen on validation.

A setting is a penalty strength or a number of neighbours.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bench.data.splits import carve_validation, cross_validation, object_groups, split_digest
from bench.protocols.base import Evaluation, Subject, Task
from bench.protocols.features import clipped_points, features_of, frozen_features
from bench.protocols.robustness import add_corrupted
from bench.protocols.selection import UNSOLVED, Choice, choose, mean_class_accuracy
from bench.store.records import Metric

if TYPE_CHECKING:
    from pydantic import JsonValue

Array = npt.NDArray[np.floating]
Labels = npt.NDArray[np.int64]
Parts = Sequence[tuple[Labels, Labels]]
"""Positions of training objects: what is fitted and what is held out of it, once or several times."""


class Head(ABC):
    """A kind of head with a grid of settings.

    Attributes:
        name: For progress, e.g. ``linear head``.
        order: One number per setting, different ones; of equally good settings the one with the smallest is taken.
    """

    name: str
    order: tuple[float, ...]
    stopped: bool = False
    """Whether a solver gave up in the last call of `scores`."""

    @abstractmethod
    def title(self, setting: int) -> str:
        """Name of a setting, e.g. ``C=10``."""

    @abstractmethod
    def note(self, setting: int) -> dict[str, JsonValue]:
        """Return a record's notes on the chosen setting."""

    @abstractmethod
    def scores(self, train: Array, labels: Labels, classes: int, query: Array, settings: Sequence[int]) -> Array:
        """Fit on ``[n, F]`` and score ``[m, F]`` for each setting.

        Returns:
            ``[len(settings), m, K]``; the largest score names the class.
        """

    def held_out(self, features: Array, labels: Labels, classes: int, parts: Parts, settings: Sequence[int]) -> Labels:
        """Fit each part's training objects; predict its held-out ones.

        Returns:
            ``[len(settings), objects held out]``, part after part.
        """
        named = [self.scores(features[t], labels[t], classes, features[v], settings).argmax(-1) for t, v in parts]
        return np.concatenate(named, axis=1)


def carved(task: Task, fraction: float) -> Parts:
    """Return one stratified validation part, grouped by object.

    See `carve_validation`.
    """
    return [carve_validation(task.train.labels, fraction, task.split_seed, object_groups(task.train.ids))]


def crossed(task: Task, folds: int) -> Parts:
    """Return cross-validation folds; views of an object stay together.

    See `cross_validation`.
    """
    return cross_validation(task.train.labels, folds, task.split_seed, object_groups(task.train.ids))


def judge_probe(subject: Subject, task: Task, head: Head, feature: str, normalise: bool, parts: Parts) -> Evaluation:
    """Choose setting and candidate on validation, refit, score test once.

    The final fit uses all training objects.

    Raises:
        UsageError: The encoder has no such feature.
        BenchError: The encoder's features are not finite.
    """
    probe = _Probe(subject, task, head, parts)
    probe.read(feature, normalise)
    table = {name: probe.validate(name) for name in subject.candidates}
    choice = choose(table, head.order)
    scores = {name: probe.test_scores(name, choice) for name in subject.candidates}
    metrics, predictions = probe.score(table, choice, scores)
    chosen = head.order.index(choice.strengths[choice.candidate])
    notes: dict[str, JsonValue] = {
        "candidate": choice.candidate,
        **head.note(chosen),
        "feature": feature,
        "feature_width": int(probe.features[choice.candidate][0].shape[1]),
        "validation_objects": probe.validated,
    }
    if probe.stopped[choice.candidate]:
        notes["warnings"] = [UNSOLVED]
    clipped = clipped_points(task)
    if clipped:
        notes["clipped"] = clipped
    evaluation = Evaluation(metrics, predictions, {}, notes, split_digest(*(index for part in parts for index in part)))
    candidate = subject.candidates[choice.candidate]

    def named(conditions: Sequence[str]) -> Sequence[Labels]:
        found = features_of(candidate, task, feature, conditions, normalise=normalise)
        stacked = np.concatenate([found[condition] for condition in conditions])
        return np.split(probe.predicted(choice.candidate, chosen, stacked), len(conditions))

    add_corrupted(evaluation, task, subject.variant(choice.candidate), named)
    return evaluation


class _Probe:
    """One evaluation of one subject."""

    def __init__(self, subject: Subject, task: Task, head: Head, parts: Parts) -> None:
        self.subject, self.task, self.head, self.parts = subject, task, head, parts
        self.validated = sum(len(held) for _, held in parts)
        self.features: dict[str, tuple[Array, Array]] = {}
        self.stopped: dict[str, bool] = {}

    def read(self, feature: str, normalise: bool) -> None:
        """Read the features of every candidate for both splits."""
        for name, candidate in self.subject.candidates.items():
            found = frozen_features(candidate, self.task, feature, normalise=normalise)
            self.features[name] = (found["train"], found["test"])

    def validate(self, name: str) -> npt.NDArray[np.float64]:
        """Return a candidate's validation accuracy at every setting."""
        self.task.progress(list(self.features).index(name), len(self.features), self.head.name)
        features, labels = self.features[name][0], self.task.train.labels
        settings = range(len(self.head.order))
        classes = len(self.task.train.classes)
        named = self.head.held_out(features, labels, classes, self.parts, settings)
        truth = labels[np.concatenate([held for _, held in self.parts])]
        accuracy: npt.NDArray[np.float64] = (named == truth).mean(-1)
        return accuracy

    def test_scores(self, name: str, choice: Choice) -> list[Array]:
        """Return test scores at the chosen setting, then at others.

        The others are scored for ``--legacy`` and in the published form only.
        """
        train, test = self.features[name]
        chosen = self.head.order.index(choice.strengths[name])
        labels, classes = self.task.train.labels, len(self.task.train.classes)
        # The chosen setting is fitted on its own: the headline must not depend on what is stored beside it.
        found = [self.head.scores(train, labels, classes, test, (chosen,))[0]]
        self.stopped[name] = self.head.stopped
        if self.task.legacy or self.task.form == "published":
            others = [at for at in range(len(self.head.order)) if at != chosen]
            found += list(self.head.scores(train, labels, classes, test, others)) if others else []
        return found

    def predicted(self, name: str, setting: int, query: Array) -> Labels:
        """Return the classes that a candidate's head names at a setting."""
        labels, classes = self.task.train.labels, len(self.task.train.classes)
        scores = self.head.scores(self.features[name][0], labels, classes, query, (setting,))[0]
        named: Labels = scores.argmax(-1)
        return named

    def score(
        self, table: dict[str, npt.NDArray[np.float64]], choice: Choice, scores: dict[str, list[Array]]
    ) -> tuple[list[Metric], dict[str, npt.NDArray[np.generic]]]:
        """Score the test split once, after every choice is made."""
        labels = self.task.test.reveal()
        predictions: dict[str, npt.NDArray[np.generic]] = {
            "ids": np.array(self.task.test.ids),
            "labels": labels.astype(np.int32),
        }
        metrics: list[Metric] = []
        for name, tried in scores.items():
            chosen, variant = name == choice.candidate, self.subject.variant(name)
            predicted = tried[0].argmax(-1)
            metrics.append(self._row("accuracy", choice.accuracy[name], "val", "val", variant, chosen))
            metrics += self._test_rows(predicted, labels, "val", variant, chosen)
            if self.task.legacy or self.task.form == "published":
                best = max((other.argmax(-1) for other in tried), key=lambda p: float((p == labels).mean()))
                metrics += self._test_rows(best, labels, "test", variant, chosen)
            metrics += [
                self._row(f"accuracy[{self.head.title(at)}]", float(value), "val", "val", variant, False)
                for at, value in enumerate(table[name])
            ]
            if chosen:
                predictions["logits"] = tried[0].astype(np.float32)
                predictions["predicted"] = predicted.astype(np.int32)
            else:
                predictions[f"predicted.{name}"] = predicted.astype(np.int32)
        self.task.progress(len(self.features), len(self.features), self.head.name)
        return metrics, predictions

    def _test_rows(self, predicted: Labels, labels: Labels, rule: str, variant: str, headline: bool) -> list[Metric]:
        accuracy = float((predicted == labels).mean())
        by_class = mean_class_accuracy(labels, predicted)
        return [
            self._row("accuracy", accuracy, "test", rule, variant, headline),
            self._row("mean_class_accuracy", by_class, "test", rule, variant, headline),
        ]

    def _row(self, name: str, value: float, split: str, rule: str, variant: str, headline: bool) -> Metric:
        n_objects = self.validated if split == "val" else len(self.task.test)
        return Metric.model_validate(
            {"name": name, "value": value, "split": split, "selection": rule, "variant": variant}
            | {"headline": headline, "n_objects": n_objects}
        )
