"""Folds of a few-shot setting: who is supported, who validates, who is asked.

Supports and classes are drawn without test labels (only how many test objects each class has is looked at); the
queries follow when the labels are revealed for scoring. Everything hangs on the split seed, so that methods and
pretraining seeds are paired.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bench.data.splits import (
    Episode,
    Setting,
    carve_validation,
    clip_setting,
    episodes,
    object_groups,
    split_digest,
)
from bench.protocols.base import Task

if TYPE_CHECKING:
    from bench.protocols.fewshot import FewShot

Index = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Fold:
    """One fold before its queries are known.

    Attributes:
        number: From 0.
        classes: int64 ``[way]``; position = local label.
        support: int64 ``[way * shot]``, positions in the training split.
        support_labels: int64 ``[way * shot]``, local labels.
        val: int64 ``[v]``, validation objects, positions in the training split.
        val_labels: int64 ``[v]``, local labels.
    """

    number: int
    classes: Index
    support: Index
    support_labels: Index
    val: Index
    val_labels: Index


@dataclass(frozen=True)
class Folds:
    """Everything drawn for one setting.

    Attributes:
        setting: The setting as it can be run.
        test: Folds that are scored on the test split; `Fold.val` holds validation objects of the same classes.
        validation: As many independent episodes whose queries (`Fold.val`) come from the validation part.
        pool: Positions in the training split that supports are drawn from.
        split_seed: Root seed.
        queries: Test queries per class.
    """

    setting: Setting
    test: tuple[Fold, ...]
    validation: tuple[Fold, ...]
    pool: Index
    split_seed: int
    queries: int

    def asked(self, task: Task, labels: Index) -> list[Episode]:
        """Draw the queries of the test folds, now that the labels of the test split are known."""
        drawn = episodes(
            task.train.labels[self.pool],
            labels,
            self.setting.way,
            self.setting.shot,
            queries=self.queries,
            folds=len(self.test),
            seed=self.split_seed,
            purpose="test",
        )
        for fold, episode in zip(self.test, drawn, strict=True):
            if not np.array_equal(fold.support, self.pool[episode.support]):
                raise AssertionError("supports depend on test labels beyond their counts")
        return drawn

    def digest(self, asked: list[Episode]) -> str:
        """SHA-256 over classes, supports, validation objects and queries."""
        own = [part for fold in (*self.test, *self.validation) for part in (fold.classes, fold.support, fold.val)]
        return split_digest(*own, *(episode.query for episode in asked))


def draw_folds(task: Task, setting: str, options: FewShot.Options) -> Folds:
    """Draw the folds of a setting, clipped to what the data set can carry.

    Raises:
        UsageError: The setting is malformed.
        DataError: Not even a clipped form of the setting fits.
    """
    labels = task.train.labels
    train, val = carve_validation(labels, options.validation_fraction, task.split_seed, object_groups(task.train.ids))
    # Classes too small to leave a validation object cannot take part in any choice, so in no fold either.
    pool = train[np.isin(labels[train], labels[val])]
    counts = task.test.class_pool()
    fitted = clip_setting(setting, labels[pool], counts, queries=options.queries)

    def draw(query_labels: Index, purpose: str) -> list[Episode]:
        return episodes(
            labels[pool],
            query_labels,
            fitted.way,
            fitted.shot,
            queries=options.queries,
            folds=options.folds,
            seed=task.split_seed,
            purpose=purpose,
        )

    # Validation episodes use the classes of the test folds' pool, so that both are drawn from the same ones.
    testable = val[np.isin(labels[val], counts)]
    validation = tuple(
        Fold(e.fold, e.classes, pool[e.support], e.support_labels, testable[e.query], e.query_labels)
        for e in draw(labels[testable], "val")
    )
    test = tuple(_blind(e, pool, val, labels, options.queries) for e in draw(counts, "test"))
    return Folds(fitted, test, validation, pool, task.split_seed, options.queries)


def _blind(episode: Episode, pool: Index, val: Index, labels: Index, queries: int) -> Fold:
    """A test fold without its queries, with the first validation objects of its classes (already in random draw)."""
    held = [val[labels[val] == c][:queries] for c in episode.classes]
    return Fold(
        number=episode.fold,
        classes=episode.classes,
        support=pool[episode.support],
        support_labels=episode.support_labels,
        val=np.concatenate(held),
        val_labels=np.repeat(np.arange(len(held), dtype=np.int64), [len(h) for h in held]),
    )
