"""Score few-shot heads once, after every choice is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from bench.data.splits import Episode
from bench.protocols.base import Evaluation, Subject, Task
from bench.protocols.features import clipped_points
from bench.protocols.fewshot.folds import Folds
from bench.protocols.fewshot.options import FewShotOptions
from bench.protocols.robustness import add_corrupted
from bench.store.records import Metric

Index = npt.NDArray[np.int64]
Rule = Literal["val", "last", "test"]
Answer = Callable[[int, Index], npt.NDArray[np.floating]]
"""(position of a test fold, positions in the test split) -> logits ``[q, way]``."""


@dataclass(frozen=True)
class Tried:
    """Test predictions of the settings that validation did not choose.

    Attributes:
        answers: (position of a test fold, positions in the test split) -> local labels ``[T, q]``, one row for each
            alternative in order.
        last: Row of the last epoch; None where nothing is trained by epochs.
        complete: Whether every alternative is there, so that the best on test can be told.
        every_fold: Whether each fold chooses one of its own (epochs); else one is chosen for the setting (strengths).
    """

    answers: Callable[[int, Index], npt.NDArray[np.integer]]
    last: int | None = None
    complete: bool = False
    every_fold: bool = True


@dataclass
class Judged:
    """Fitted heads and the choices made before scoring.

    Attributes:
        candidate: The chosen candidate.
        validation: Rows of split ``val``.
        answers: Answers of every candidate whose test queries are to be scored.
        notes: Decisions.
        curves: Training curves of the chosen candidate.
        tried: Test predictions of the settings not chosen; None where there are none.
        corrupted: Gives the chosen candidate's answers about the test split under each condition.
    """

    candidate: str
    validation: list[Metric]
    answers: dict[str, Answer]
    notes: dict[str, JsonValue] = field(default_factory=dict)
    curves: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    tried: Tried | None = None
    corrupted: Callable[[Sequence[str]], Sequence[Answer]] | None = None


def finish(subject: Subject, task: Task, options: FewShotOptions, folds: Folds, judged: Judged) -> Evaluation:
    """Reveal the test labels, draw the queries, score them once."""
    asked = folds.asked(task, task.test.reveal())
    metrics = list(judged.validation)
    predictions = _who_was_asked(asked, task.test.ids)
    for name, answer in judged.answers.items():
        chosen = name == judged.candidate
        logits = [answer(i, episode.query) for i, episode in enumerate(asked)]
        said = [values.argmax(-1) for values in logits]
        metrics += _test_rows(said, asked, subject.variant(name), chosen)
        predictions["predicted" if chosen else f"predicted.{name}"] = _named(said, asked)
        if chosen:
            predictions["logits"] = np.concatenate(logits).astype(np.float32)
    if judged.tried is not None:
        metrics += _ledger_rows(judged.tried, asked, subject.variant(judged.candidate))
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
    evaluation = Evaluation(metrics, predictions, judged.curves, notes, folds.digest(asked))

    def named(conditions: Sequence[str]) -> list[npt.NDArray[np.int32]]:
        assert judged.corrupted is not None
        return [
            _named([answer(i, episode.query).argmax(-1) for i, episode in enumerate(asked)], asked)
            for answer in judged.corrupted(conditions)
        ]

    add_corrupted(evaluation, task, subject.variant(judged.candidate), named)
    return evaluation


def _named(said: list[npt.NDArray[np.integer]], asked: list[Episode]) -> npt.NDArray[np.int32]:
    """Return the class of each answer, fold after fold.

    The releases' head has more outputs than a fold has classes; the others stand for no class.
    """
    found = [np.append(e.classes, -1)[np.minimum(best, len(e.classes))] for e, best in zip(asked, said, strict=True)]
    return np.concatenate(found).astype(np.int32)


def _who_was_asked(asked: list[Episode], ids: tuple[str, ...]) -> dict[str, npt.NDArray[np.generic]]:
    """Return the identity of each query and logit.

    Per query: object name, fold, position in the test split and class. Per fold: the class of each logit.
    """
    return {
        "ids": np.array([ids[at] for e in asked for at in e.query]),
        "fold": np.repeat([e.fold for e in asked], [len(e.query) for e in asked]).astype(np.int16),
        "query": np.concatenate([e.query for e in asked]).astype(np.int32),
        "labels": np.concatenate([e.classes[e.query_labels] for e in asked]).astype(np.int32),
        "classes": np.stack([e.classes for e in asked]).astype(np.int32),
    }


def _test_rows(
    said: list[npt.NDArray[np.integer]], asked: list[Episode], variant: str, headline: bool, rule: Rule = "val"
) -> list[Metric]:
    """Return the accuracy of each fold, and their mean."""
    scores = [float((labels == e.query_labels).mean()) for labels, e in zip(said, asked, strict=True)]
    objects = len(np.unique(np.concatenate([e.query for e in asked])))

    def row(value: float, n_objects: int, fold: int | None = None) -> Metric:
        return Metric(
            value=value,
            split="test",
            selection=rule,
            variant=variant,
            headline=headline,
            fold=fold,
            n_objects=n_objects,
        )

    rows = [row(score, len(e.query), e.fold) for score, e in zip(scores, asked, strict=True)]
    return [row(float(np.mean(scores)), objects), *rows]


def _ledger_rows(tried: Tried, asked: list[Episode], variant: str) -> list[Metric]:
    """Return accuracies at the last epoch and chosen on test."""
    said = [tried.answers(i, episode.query) for i, episode in enumerate(asked)]
    rows: list[Metric] = []
    if tried.last is not None:
        rows += _test_rows([labels[tried.last] for labels in said], asked, variant, True, "last")
    if tried.complete:
        right = np.stack([(labels == e.query_labels).mean(-1) for labels, e in zip(said, asked, strict=True)])
        # The earliest of ties, as releases keep the first best checkpoint.
        best = right.argmax(1) if tried.every_fold else np.full(len(right), right.mean(0).argmax())
        rows += _test_rows([labels[at] for labels, at in zip(said, best, strict=True)], asked, variant, True, "test")
    return rows
