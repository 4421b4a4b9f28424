"""Folds of a few-shot setting: support, validation and query objects.

Supports and classes are drawn without test labels (only the number of test objects per class is used); the
queries follow when the labels are revealed for scoring. Everything depends on the split seed only, so that methods and
pretraining seeds are paired.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.data.splits import (
    Episode,
    Setting,
    carve_validation,
    clip_setting,
    episodes,
    object_groups,
    parse_setting,
    split_digest,
)
from bench.errors import DataError
from bench.protocols.base import Task
from bench.protocols.fewshot.options import FewShotOptions
from bench.seeds import numpy_stream

Index = npt.NDArray[np.int64]

_COMPARED = 64
"""Points that two clouds must agree in to count as the same object."""


@dataclass(frozen=True)
class Fold:
    """One fold before its test queries are known.

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
    """All test folds and validation episodes of one setting.

    Attributes:
        setting: The setting as it can be run.
        test: Folds that are scored on the test split; `Fold.val` holds validation objects of the same classes.
        validation: As many independent episodes whose queries (`Fold.val`) come from the validation part.
        pool: Positions in the training split that supports are drawn from.
        split_seed: Root seed.
        queries: Test queries per class.
        given: Positions of the queries in the test split, fold by fold, where the data set brings its folds along.
    """

    setting: Setting
    test: tuple[Fold, ...]
    validation: tuple[Fold, ...]
    pool: Index
    split_seed: int
    queries: int
    given: tuple[Index, ...] | None = None

    def positions(self, task: Task) -> list[Index]:
        """Return the query positions of each fold without revealing labels.

        Positions are in the test split, in ascending order.
        """
        if self.given is not None:
            return [np.sort(query) for query in self.given]
        return task.test.positions(lambda labels: [episode.query for episode in self.asked(task, labels)])

    def asked(self, task: Task, labels: Index) -> list[Episode]:
        """Draw the queries of the test folds from test labels."""
        if self.given is not None:
            return [_given_episode(fold, query, labels) for fold, query in zip(self.test, self.given, strict=True)]
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
        """Return the SHA-256 of classes, supports, validation objects and queries."""
        own = [part for fold in (*self.test, *self.validation) for part in (fold.classes, fold.support, fold.val)]
        return split_digest(*own, *(episode.query for episode in asked))


def draw_folds(task: Task, setting: str, options: FewShotOptions) -> Folds:
    """Draw the folds of a setting, reduced to available objects.

    Raises:
        UsageError: The setting is malformed.
        DataError: Not even a clipped form of the setting fits.
    """
    if task.dataset is not None and task.dataset.offers_folds():
        return _given_folds(task, setting, options)
    labels = task.train.labels
    train, val = carve_validation(labels, options.validation_fraction, task.split_seed, object_groups(task.train.ids))
    # Classes too small for a validation object are left out of all folds.
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

    # Validation episodes and test folds are drawn from the same classes.
    testable = val[np.isin(labels[val], counts)]
    validation = tuple(
        Fold(e.fold, e.classes, pool[e.support], e.support_labels, testable[e.query], e.query_labels)
        for e in draw(labels[testable], "val")
    )
    test = tuple(_blind(e, pool, val, labels, options.queries) for e in draw(counts, "test"))
    return Folds(fitted, test, validation, pool, task.split_seed, options.queries)


def _blind(episode: Episode, pool: Index, val: Index, labels: Index, queries: int) -> Fold:
    """Build a test fold without queries from an episode.

    Its validation objects are the first ones of its classes, which are in random order already.
    """
    held = [val[labels[val] == c][:queries] for c in episode.classes]
    return Fold(
        number=episode.fold,
        classes=episode.classes,
        support=pool[episode.support],
        support_labels=episode.support_labels,
        val=np.concatenate(held),
        val_labels=np.repeat(np.arange(len(held), dtype=np.int64), [len(h) for h in held]),
    )


def _given_folds(task: Task, setting: str, options: FewShotOptions) -> Folds:
    """Use the folds that come with the data set.

    They hold no validation objects. Supports of the other folds, whatever their setting, are further objects of the
    training split: those of a fold's classes that are not among its own supports serve its choices.
    """
    assert task.dataset is not None
    way, shot = parse_setting(setting)
    found = task.dataset.few_shot_folds(way, shot)
    if len(found) < options.folds:
        raise DataError(
            f"few-shot {setting}: {task.dataset.name} has {len(found)} folds of this setting, {options.folds} are "
            f"asked for; use --set fewshot.folds={len(found)}"
        )
    labels = task.train.labels
    rng = numpy_stream(task.split_seed, "split", "validation", "given")
    order = np.argsort(rng.random(len(labels)), kind="stable")
    same = np.asarray([hash(cloud[:_COMPARED].tobytes()) for cloud in task.train.points], dtype=np.int64)
    folds = []
    for number, given in enumerate(found[: options.folds]):
        free = order[~np.isin(same[order], same[given.support])]
        held = [_distinct(free[labels[free] == c], same)[: options.queries] for c in given.classes]
        if not any(len(objects) for objects in held):
            raise DataError(
                f"few-shot {setting}: none of the classes of fold {number} is supported in another fold of "
                f"{task.dataset.name}, so there is nothing to make choices on; add the folders of other settings"
            )
        folds.append(
            Fold(
                number=number,
                classes=given.classes,
                support=given.support,
                support_labels=_local(given.classes, labels[given.support]),
                val=np.concatenate(held),
                val_labels=np.repeat(np.arange(way, dtype=np.int64), [len(objects) for objects in held]),
            )
        )
    pool = np.arange(len(labels), dtype=np.int64)
    queries = tuple(given.query for given in found[: options.folds])
    fitted = Setting(requested=setting, name=setting, way=way, shot=shot, queries=options.queries)
    return Folds(fitted, tuple(folds), tuple(folds), pool, task.split_seed, options.queries, queries)


def _distinct(objects: Index, same: Index) -> Index:
    """Drop repeated objects, keeping the first of each."""
    return objects[np.sort(np.unique(same[objects], return_index=True)[1])]


def _given_episode(fold: Fold, query: Index, labels: Index) -> Episode:
    local = _local(fold.classes, labels[query])
    return Episode(fold.number, fold.classes, fold.support, fold.support_labels, query, local)


def _local(classes: Index, labels: Index) -> Index:
    """Return positions of labels among the classes of a fold."""
    order = np.argsort(classes, kind="stable")
    return np.asarray(order[np.searchsorted(classes[order], labels)], dtype=np.int64)
