"""Few-shot heads on frozen features: logistic regression and SVM."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from bench.protocols.base import Subject, Task
from bench.protocols.features import Array, features_of, frozen_features
from bench.protocols.fewshot.folds import Fold, Folds
from bench.protocols.fewshot.options import FewShotOptions
from bench.protocols.fewshot.scoring import Answer, Judged, Tried
from bench.protocols.hinge import HingeFit, fit_hinge
from bench.protocols.logistic import LogisticFit, fit_logistic
from bench.protocols.selection import UNSOLVED, choose, strength_rows
from bench.store.records import Metric


class Frozen(Protocol):
    """Heads fitted on the supports of several folds and strengths."""

    def scores(self, fold: int, features: Array) -> npt.NDArray[np.floating]:
        """Return scores ``[S, q, way]`` of objects ``[q, F]``."""

    @property
    def stopped(self) -> bool:
        """Whether a solver reached its iteration limit before it converged."""


Fit = Callable[["Array", tuple[Fold, ...], int, tuple[float, ...]], Frozen]
"""(features of the training split, folds, ways, strengths) -> fitted heads."""


@dataclass(frozen=True)
class LogisticHeads:
    """Multinomial logistic regression, fitted for all folds at once."""

    fit: LogisticFit

    @classmethod
    def on(cls, features: Array, folds: tuple[Fold, ...], way: int, strengths: tuple[float, ...]) -> LogisticHeads:
        """Fit on the supports of every fold."""
        support = np.stack([fold.support for fold in folds])
        labels = np.stack([fold.support_labels for fold in folds])
        return cls(fit_logistic(features[support], labels, way, strengths))

    def scores(self, fold: int, features: Array) -> npt.NDArray[np.floating]:
        """See `Frozen.scores`."""
        logits: npt.NDArray[np.float64] = self.fit.problem(fold).logits(features[None])[0]
        return logits

    @property
    def stopped(self) -> bool:
        """See `Frozen.stopped`."""
        return self.fit.stopped


@dataclass(frozen=True)
class HingeHeads:
    """Linear support vector machines, one class against the rest."""

    fits: list[HingeFit]

    @classmethod
    def on(cls, features: Array, folds: tuple[Fold, ...], way: int, strengths: tuple[float, ...]) -> HingeHeads:
        """Fit on the supports of every fold."""
        return cls([fit_hinge(features[fold.support], fold.support_labels, way, strengths) for fold in folds])

    def scores(self, fold: int, features: Array) -> npt.NDArray[np.floating]:
        """See `Frozen.scores`."""
        return self.fits[fold].scores(features)

    @property
    def stopped(self) -> bool:
        """See `Frozen.stopped`."""
        return any(fit.stopped for fit in self.fits)


def judge_frozen(subject: Subject, task: Task, options: FewShotOptions, folds: Folds, fit: Fit) -> Judged:
    """Fit heads on frozen features; choose strength and candidate."""
    features = {
        name: frozen_features(candidate, task, options.feature, normalise=options.normalise)
        for name, candidate in subject.candidates.items()
    }
    way = folds.setting.way
    table: dict[str, npt.NDArray[np.float64]] = {}
    for done, (name, splits) in enumerate(features.items()):
        task.progress(done, len(features), f"heads {folds.setting.name}")
        heads = fit(splits["train"], folds.validation, way, options.strengths)
        table[name] = _validation_accuracy(heads, splits["train"], folds)
    choice = choose(table, options.strengths)
    objects = len(np.unique(np.concatenate([fold.val for fold in folds.validation])))
    rows: list[Metric] = []
    answers: dict[str, Answer] = {}
    chosen_heads: Frozen | None = None
    unsolved = False
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
        heads = fit(splits["train"], folds.test, way, (choice.strengths[name],))
        answers[name] = _frozen_answer(heads, splits["test"])
        chosen_heads = heads if name == choice.candidate else chosen_heads
        unsolved = unsolved or (name == choice.candidate and heads.stopped)
    task.progress(len(features), len(features), f"heads {folds.setting.name}")
    notes: dict[str, JsonValue] = {
        "strength": choice.strengths[choice.candidate],
        "feature_width": int(features[choice.candidate]["train"].shape[1]),
    }
    if unsolved:
        notes["warnings"] = [UNSOLVED]
    tried = None
    if task.legacy:
        chosen = features[choice.candidate]
        every = fit(chosen["train"], folds.test, way, options.strengths)
        tried = Tried(lambda at, query: every.scores(at, chosen["test"][query]).argmax(-1), None, True, False)

    def corrupted(conditions: Sequence[str]) -> list[Answer]:
        assert chosen_heads is not None
        candidate = subject.candidates[choice.candidate]
        found = features_of(candidate, task, options.feature, conditions, normalise=options.normalise)
        return [_frozen_answer(chosen_heads, found[condition]) for condition in conditions]

    return Judged(choice.candidate, rows, answers, notes, tried=tried, corrupted=corrupted)


def _frozen_answer(heads: Frozen, features: Array) -> Answer:
    return lambda position, query: heads.scores(position, features[query])[0]


def _validation_accuracy(heads: Frozen, features: Array, folds: Folds) -> npt.NDArray[np.float64]:
    """Return mean accuracy ``[S]`` of the validation episodes by strength."""
    scores = [
        (heads.scores(i, features[fold.val]).argmax(-1) == fold.val_labels).mean(-1)
        for i, fold in enumerate(folds.validation)
    ]
    mean: npt.NDArray[np.float64] = np.mean(scores, axis=0)
    return mean
