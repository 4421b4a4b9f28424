"""Zero-shot evaluation: candidate features, choice on validation, one scoring."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bench.data.splits import carve_validation, object_groups, split_digest
from bench.protocols.aligned import Array, Projections, open_alignment, projections, regrouped, seen_views
from bench.protocols.base import Alignment, Evaluation, Subject, Task
from bench.protocols.features import Split, clipped_points
from bench.protocols.published_data import zero_shot_case
from bench.protocols.selection import first_best, mean_class_accuracy
from bench.protocols.zeroshot.options import ZeroshotOptions
from bench.protocols.zeroshot.views import search_weights, view_cosines
from bench.protocols.zeroshot.ways import (
    FIXED_RATIO,
    Way,
    class_embeddings,
    cosines,
    fixed_way,
    top_k_accuracy,
    ways,
)
from bench.store.records import Metric

if TYPE_CHECKING:
    from pydantic import JsonValue


Index = npt.NDArray[np.int64]
UNIFORM, WEIGHTED = "views alike", "views weighted"


@dataclass(frozen=True)
class Asked:
    """Ways to compute zero-shot scores, before one is chosen.

    Attributes:
        answers: By name, gives the cosines ``[n, K]`` of a split; also those that only a choice on test would take.
        tried: Names that may be chosen, in tie-break order.
        fixed: The one that nothing was tuned for, whether or not it may be chosen.
        notes: Notes for the run's record.
    """

    answers: dict[str, Callable[[Split], Array]]
    tried: tuple[str, ...]
    fixed: str
    notes: dict[str, JsonValue]


def judge(subject: Subject, task: Task, options: ZeroshotOptions) -> Evaluation:
    """Judge an encoder with heads, or a teacher alone."""
    alignment = open_alignment(task)
    published = options.form == "published"
    normalise, ratio = options.normalise, options.ratio
    if published:
        case = zero_shot_case(task.dataset)
        normalise, ratio = case.normalise, options.ratio or case.ratio
        if options.patches == "published":
            subject = regrouped(subject, case.groups, case.group_size)
            task = replace(task, points=case.points)
    classes = class_embeddings(alignment.teacher, task.train.classes, task.cache, raw=published)
    rest, held = np.arange(len(task.train), dtype=np.int64), np.empty(0, dtype=np.int64)
    if not published:  # views of one object must not be in both parts
        groups = object_groups(task.train.ids)
        rest, held = carve_validation(task.train.labels, options.validation_fraction, task.split_seed, groups)
    if subject.candidates:
        projected = projections(subject, task, alignment, normalise=normalise)
        asked = _of_encoder(projected, options, classes, ratio, every=task.legacy or published)
    else:
        asked = _of_teacher(subject, task, alignment, classes, None if published else held, normalise=normalise)
    asked.notes["teacher"] = alignment.teacher.name
    scoring = _Scoring(task, asked, None if published else held)
    return Evaluation(*scoring.run(), curves={}, notes=scoring.notes(), split_digest=split_digest(rest, held))


def _of_encoder(
    projected: Projections, options: ZeroshotOptions, classes: Array, ratio: float | None, *, every: bool
) -> Asked:
    spaces = sorted(projected)
    if options.form == "published" and options.kind == "chosen":
        tried: tuple[Way, ...] = (fixed_way(spaces, ratio or FIXED_RATIO),)
    else:
        tried = ways(spaces, options.kind, ratio, options.ratios)
    fixed = tried[0] if options.form == "published" else fixed_way(spaces)

    def answer(way: Way, split: Split) -> Array:
        return cosines(way.fuse({space: values[split] for space, values in projected.items()}), classes)

    others = ways(spaces, "chosen", None, options.ratios) if every else ()
    answers: dict[str, Callable[[Split], Array]] = {way.name: partial(answer, way) for way in (*tried, fixed, *others)}
    return Asked(answers, tuple(way.name for way in tried), fixed.name, {"spaces": list(spaces)})


def _of_teacher(
    subject: Subject, task: Task, alignment: Alignment, classes: Array, held: Index | None, *, normalise: bool
) -> Asked:
    rendering, views = seen_views(subject, task, alignment, normalise=normalise)
    notes: dict[str, JsonValue] = {"views": rendering.views, "picture_size": rendering.size}
    answers: dict[str, Callable[[Split], Array]] = {UNIFORM: lambda split: view_cosines(views[split], classes)}
    if rendering.weights == "uniform" or held is None:
        return Asked(answers, (UNIFORM,), UNIFORM, notes)
    weights = search_weights(views["train"][held], classes, task.train.labels[held])
    answers[WEIGHTED] = lambda split: view_cosines(views[split], classes, weights)
    notes["weights"] = [round(float(weight), 4) for weight in weights]
    return Asked(answers, (WEIGHTED,), UNIFORM, notes)


class _Scoring:
    """Choose on validation, then score the test split once.

    Args:
        task: The task.
        asked: Ways to answer.
        held: Validation objects; None in the published form, where nothing is chosen.
    """

    def __init__(self, task: Task, asked: Asked, held: Index | None) -> None:
        self.task, self.asked, self.held = task, asked, held
        self.validation: dict[str, float] = {}
        if held is not None:
            truth = task.train.labels[held]
            for name in dict.fromkeys((*asked.tried, asked.fixed)):
                predicted = asked.answers[name]("train")[held].argmax(-1)
                self.validation[name] = float((predicted == truth).mean())
        tried = {name: self.validation.get(name, 0.0) for name in asked.tried}
        self.chosen = first_best(tried)

    def run(self) -> tuple[list[Metric], dict[str, npt.NDArray[np.generic]]]:
        """Return metrics and per-object predictions."""
        metrics = [] if self.held is None else self._validated(len(self.held))
        logits = {name: answer("test") for name, answer in self.asked.answers.items()}
        labels = self.task.test.reveal()
        scores = {name: float((values.argmax(-1) == labels).mean()) for name, values in logits.items()}
        own = logits[self.chosen]
        predicted = own.argmax(-1)

        def row(name: str, value: float, **fields: object) -> Metric:
            return Metric.model_validate(
                {"name": name, "value": value, "split": "test", "n_objects": len(labels), **fields}
            )

        metrics += [
            row("accuracy", scores[self.chosen]),
            row("accuracy_top_5", top_k_accuracy(own, labels)),
            row("mean_class_accuracy", mean_class_accuracy(labels, predicted)),
        ]
        predictions: dict[str, npt.NDArray[np.generic]] = {
            "ids": np.array(self.task.test.ids),
            "labels": labels.astype(np.int32),
            "logits": own.astype(np.float32),
            "predicted": predicted.astype(np.int32),
        }
        if self.held is None:
            metrics.append(self._train_and_test(own, labels))
        else:
            metrics.append(row(f"accuracy[{self.asked.fixed}]", scores[self.asked.fixed], headline=False))
            predictions["predicted.fixed"] = logits[self.asked.fixed].argmax(-1).astype(np.int32)
        if self.task.legacy or self.held is None:
            metrics.append(row("accuracy", max(scores.values()), selection="test"))
        return metrics, predictions

    def notes(self) -> dict[str, JsonValue]:
        """Return the notes for the run's record."""
        notes: dict[str, JsonValue] = {"feature": self.chosen, "tried": list(self.asked.tried), **self.asked.notes}
        if self.held is not None:
            notes["validation_objects"] = len(self.held)
        clipped = clipped_points(self.task)
        return notes | {"clipped": clipped} if clipped else notes

    def _validated(self, count: int) -> list[Metric]:
        """Return validation accuracies of all ways that were tried."""
        rows = [Metric(value=self.validation[self.chosen], split="val", n_objects=count)]
        return rows + [
            Metric(name=f"accuracy[{name}]", value=value, split="val", headline=False, n_objects=count)
            for name, value in self.validation.items()
        ]

    def _train_and_test(self, test: Array, labels: Index) -> Metric:
        """Return accuracy over training and test objects together.

        This is the papers' starred figure.
        """
        train = self.asked.answers[self.chosen]("train")
        right = int((train.argmax(-1) == self.task.train.labels).sum()) + int((test.argmax(-1) == labels).sum())
        count = len(train) + len(test)
        return Metric(name="accuracy_train_and_test", value=right / count, split="test", n_objects=count)
