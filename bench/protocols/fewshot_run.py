"""Few-shot evaluation: the linear head, and what is made of any head's answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bench.data.splits import Episode
from bench.protocols.base import Evaluation, Subject, Task
from bench.protocols.features import clipped_points, frozen_features
from bench.protocols.folds import Fold, Folds
from bench.protocols.logistic import LogisticFit, fit_logistic
from bench.protocols.selection import choose, strength_rows
from bench.store.records import Metric

if TYPE_CHECKING:
    from pydantic import JsonValue

    from bench.protocols.features import Array
    from bench.protocols.fewshot import FewShot

Index = npt.NDArray[np.int64]
Answer = Callable[[int, Index], npt.NDArray[np.floating]]
"""(position of a test fold, positions in the test split) -> logits ``[q, way]``."""


@dataclass
class Judged:
    """Heads fitted and choices made, before any test label is known.

    Attributes:
        candidate: The chosen candidate.
        validation: Rows of split ``val``.
        answers: Answers of every candidate whose test queries are to be scored.
        notes: Decisions.
        curves: Training curves of the chosen candidate.
    """

    candidate: str
    validation: list[Metric]
    answers: dict[str, Answer]
    notes: dict[str, JsonValue] = field(default_factory=dict)
    curves: dict[str, list[tuple[float, float]]] = field(default_factory=dict)


def judge_linear(subject: Subject, task: Task, options: FewShot.Options, folds: Folds) -> Judged:
    """Logistic regression on frozen features; strength and candidate chosen on the validation episodes."""
    features = {
        name: frozen_features(candidate, task, options.feature, normalise=options.normalise)
        for name, candidate in subject.candidates.items()
    }
    table: dict[str, npt.NDArray[np.float64]] = {}
    for done, (name, splits) in enumerate(features.items()):
        task.progress(f"heads {folds.setting.name}", done, len(features))
        table[name] = _validation_accuracy(splits["train"], folds, options.strengths)
    choice = choose(table, options.strengths)
    objects = len(np.unique(np.concatenate([fold.val for fold in folds.validation])))
    rows: list[Metric] = []
    answers: dict[str, Answer] = {}
    for name, splits in features.items():
        variant = subject.variant(name)
        rows.append(
            Metric(
                value=choice.accuracy[name],
                split="val",
                variant=variant,
                headline=name == choice.candidate,
                n_objects=objects,
            )
        )
        rows += strength_rows(table[name], options.strengths, variant, objects)
        fit = _fit(splits["train"], folds.test, folds.setting.way, (choice.strengths[name],))
        answers[name] = _linear_answer(fit, splits["test"])
    task.progress(f"heads {folds.setting.name}", len(features), len(features))
    notes: dict[str, JsonValue] = {
        "strength": choice.strengths[choice.candidate],
        "feature_width": int(features[choice.candidate]["train"].shape[1]),
    }
    return Judged(choice.candidate, rows, answers, notes)


def _linear_answer(fit: LogisticFit, features: Array) -> Answer:
    def answer(position: int, query: Index) -> npt.NDArray[np.floating]:
        logits: npt.NDArray[np.float64] = fit.problem(position).logits(features[query][None])[0, 0]
        return logits

    return answer


def _fit(features: Array, folds: tuple[Fold, ...], way: int, strengths: tuple[float, ...]) -> LogisticFit:
    support = np.stack([fold.support for fold in folds])
    return fit_logistic(features[support], np.stack([fold.support_labels for fold in folds]), way, strengths)


def _validation_accuracy(features: Array, folds: Folds, strengths: tuple[float, ...]) -> npt.NDArray[np.float64]:
    """Mean over the validation episodes of the accuracy at every strength, ``[S]``."""
    fit = _fit(features, folds.validation, folds.setting.way, strengths)
    scores = [
        (fit.problem(i).logits(features[fold.val][None])[0].argmax(-1) == fold.val_labels).mean(-1)
        for i, fold in enumerate(folds.validation)
    ]
    mean: npt.NDArray[np.float64] = np.mean(scores, axis=0)
    return mean


def finish(subject: Subject, task: Task, options: FewShot.Options, folds: Folds, judged: Judged) -> Evaluation:
    """Reveal the test labels, draw the queries, score them once."""
    asked = folds.asked(task, task.test.reveal())
    metrics = list(judged.validation)
    predictions = _who_was_asked(asked)
    for name, answer in judged.answers.items():
        chosen = name == judged.candidate
        logits = [answer(i, episode.query) for i, episode in enumerate(asked)]
        metrics += _test_rows(logits, asked, subject.variant(name), chosen)
        predicted = [e.classes[values.argmax(-1)] for e, values in zip(asked, logits, strict=True)]
        predictions["predicted" if chosen else f"predicted.{name}"] = np.concatenate(predicted).astype(np.int32)
        if chosen:
            predictions["logits"] = np.concatenate(logits).astype(np.float32)
    notes: dict[str, JsonValue] = {
        "candidate": judged.candidate,
        "head": options.head,
        "feature": options.feature,
        "setting": folds.setting.name,
        **judged.notes,
    }
    clipped = "; ".join(filter(None, (folds.setting.clipped_reason, clipped_points(task))))
    if clipped:
        notes["clipped"] = clipped
    return Evaluation(metrics, predictions, judged.curves, notes, folds.digest(asked))


def _who_was_asked(asked: list[Episode]) -> dict[str, npt.NDArray[np.generic]]:
    """Per query: its fold, its position in the test split and its class; per fold: the class of each logit."""
    return {
        "fold": np.repeat([e.fold for e in asked], [len(e.query) for e in asked]).astype(np.int16),
        "query": np.concatenate([e.query for e in asked]).astype(np.int32),
        "labels": np.concatenate([e.classes[e.query_labels] for e in asked]).astype(np.int32),
        "classes": np.stack([e.classes for e in asked]).astype(np.int32),
    }


def _test_rows(
    logits: list[npt.NDArray[np.floating]], asked: list[Episode], variant: str, headline: bool
) -> list[Metric]:
    """Accuracy per fold, and their mean."""
    scores = [float((v.argmax(-1) == e.query_labels).mean()) for v, e in zip(logits, asked, strict=True)]
    rows = [
        Metric(value=score, split="test", variant=variant, headline=headline, fold=e.fold, n_objects=len(e.query))
        for score, e in zip(scores, asked, strict=True)
    ]
    objects = len(np.unique(np.concatenate([e.query for e in asked])))
    mean = Metric(value=float(np.mean(scores)), split="test", variant=variant, headline=headline, n_objects=objects)
    return [mean, *rows]
