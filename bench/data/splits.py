"""Validation splits and few-shot episodes, fixed by a seed.

They are the same for every method. Both draw from named streams (`bench.seeds`), one per class or fold, so the draw of
one class does not depend on another, and fold *i* is the same for 3 and for 10 folds.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.errors import DataError, UsageError
from bench.seeds import numpy_stream

Index = npt.NDArray[np.int64]

QUERIES = 20
"""Test-split queries per class of the field's few-shot sets (Point-BERT's ModelNetFewshot)."""


def _shuffled(index: Index, rng: np.random.Generator) -> Index:
    """Shuffle by sorting uniform numbers.

    Unlike `Generator.permutation`, this does not depend on NumPy's version.
    """
    return index[np.argsort(rng.random(len(index)), kind="stable")]


def object_groups(ids: Sequence[str]) -> list[str]:
    """Return the object behind each cloud.

    That is the name before a last ``#``, as in ``mug#3`` (third view of a mug).
    """
    return [re.sub(r"#[^#/]*$", "", name) for name in ids]


def carve_validation(
    labels: Index, fraction: float, seed: int, groups: Sequence[str] | None = None
) -> tuple[Index, Index]:
    """Split training objects into train and validation, by class.

    Of a class with n objects, ``round(fraction * n)`` go to validation, at least one where n >= 2 and never all;
    the only object of a class stays in train. The draw of a class depends on the seed, the class and the order
    of *its* objects alone: adding or removing another class changes nothing. It does depend on the stored order
    within the class, which the data set's manifest fixes.

    Args:
        labels: int64 ``[n]``.
        fraction: Part of every class that goes to validation, in (0, 1).
        seed: Root seed of the split.
        groups: Object behind each cloud (`object_groups`): all clouds of an object then go to the same part, so
            that validation never sees another view of a training object, and n above counts objects. None: each
            cloud is a separate object.

    Returns:
        Ascending positions of the train part and of the validation part; disjoint, together all of ``0..n-1``.

    Raises:
        UsageError: `fraction` is not inside (0, 1).
        DataError: No class has two objects.
    """
    if not 0 < fraction < 1:
        raise UsageError(f"validation fraction is {fraction}: expected a number between 0 and 1, e.g. 0.2")
    val: list[Index] = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label).astype(np.int64)
        keys = members.tolist() if groups is None else [groups[i] for i in members.tolist()]
        order = {key: place for place, key in enumerate(dict.fromkeys(keys))}
        objects = np.arange(len(order), dtype=np.int64)
        if len(objects) < 2:
            continue
        take = min(max(round(fraction * len(objects)), 1), len(objects) - 1)
        chosen = _shuffled(objects, numpy_stream(seed, "split", "validation", int(label)))[:take]
        val.append(members[np.isin([order[key] for key in keys], chosen)])
    if not val:
        raise DataError(
            f"no validation part can be carved from {len(labels)} training objects: no class has two; "
            "add objects to the training split"
        )
    val_index = np.sort(np.concatenate(val))
    train_index = np.setdiff1d(np.arange(len(labels), dtype=np.int64), val_index, assume_unique=True)
    return train_index, val_index


def cross_validation(
    labels: Index, folds: int, seed: int, groups: Sequence[str] | None = None
) -> list[tuple[Index, Index]]:
    """Split training objects into folds, by class.

    Each fold is held out once. The objects of a class are shuffled and dealt to the folds in turn; each class begins
    where the one before ended, so that folds differ by one object at most. Folds without any object are left out.

    Args:
        labels: int64 ``[n]``.
        folds: Number of folds, at least 2.
        seed: Root seed of the split.
        groups: Object behind each cloud (`object_groups`): all clouds of an object are held out together.

    Returns:
        Ascending positions of the fitted and the held-out objects, for each fold.

    Raises:
        UsageError: `folds` is below 2.
        DataError: No class has two objects.
    """
    if folds < 2:
        raise UsageError(f"cross-validation has {folds} folds: expected at least 2, e.g. 5")
    fold, dealt, largest = np.empty(len(labels), dtype=np.int64), 0, 0
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label).astype(np.int64)
        keys = [str(i) if groups is None else groups[i] for i in members.tolist()]
        order = {key: place for place, key in enumerate(dict.fromkeys(keys))}
        objects = np.arange(len(order), dtype=np.int64)
        hand = np.empty(len(objects), dtype=np.int64)
        shuffled = _shuffled(objects, numpy_stream(seed, "split", "cross-validation", int(label)))
        hand[shuffled] = (dealt + objects) % folds
        fold[members] = hand[[order[key] for key in keys]]
        dealt, largest = dealt + len(objects), max(largest, len(objects))
    if largest < 2:
        raise DataError(
            f"{len(labels)} training objects cannot be cross-validated: no class has two; "
            "add objects to the training split"
        )
    return [(np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in range(folds) if (fold == f).any()]


def nested_subset(
    labels: Index, fraction: float, seed: int, purpose: str, groups: Sequence[str] | None = None, least: int = 0
) -> Index:
    """Take a share of the objects, by class.

    With the same seed, a smaller share is a subset of every larger one. The objects of a class are shuffled; the k-th
    of n stands at ``(k + u) / n`` with one uniform draw u per class, and the objects with the smallest places over all
    classes are taken, ``round(fraction * objects)`` of them. So the total is exact, a class gives its share to within
    an object or so, and one order gives every fraction. The order within a class depends on seed, purpose and class
    alone.

    Args:
        labels: int64 ``[n]``; all equal where there are no classes.
        fraction: Part of the objects, in (0, 1].
        seed: Root seed.
        purpose: Names the stream: ``pretrain`` or ``labels``.
        groups: Object behind each cloud (`object_groups`): clouds of an object stay together and count once.
        least: Least number of objects of every class (or all of a smaller class), even beyond its share.

    Returns:
        Ascending positions, at least one.

    Raises:
        UsageError: `fraction` is out of range.
    """
    if not 0 < fraction <= 1:
        raise UsageError(f"fraction is {fraction}: expected a number above 0 and up to 1, e.g. 0.1")
    keys = [str(position) for position in range(len(labels))] if groups is None else groups
    members: dict[str, list[int]] = {}
    for position, key in enumerate(keys):
        members.setdefault(key, []).append(position)
    objects = list(members.values())
    own = np.asarray([labels[positions[0]] for positions in objects], dtype=np.int64)
    place, rank = np.empty(len(objects)), np.empty(len(objects), dtype=np.int64)
    for label in np.unique(own):
        inside = np.flatnonzero(own == label).astype(np.int64)
        rng = numpy_stream(seed, "data", "subset", purpose, int(label))
        order = _shuffled(inside, rng)
        rank[order] = np.arange(len(order))
        place[order] = (rank[order] + rng.random()) / len(order)
    first = np.argsort(place, kind="stable")[: max(round(fraction * len(objects)), 1)]
    chosen = np.union1d(first, np.flatnonzero(rank < least))
    return np.sort(np.asarray([position for at in chosen for position in objects[at]], dtype=np.int64))


def split_digest(*parts: Index) -> str:
    """Return the SHA-256 of index arrays, stored with each metric.

    Includes their number and lengths.
    """
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(np.ascontiguousarray(part, dtype="<i8").tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Episode:
    """One fold of a few-shot setting.

    Attributes:
        fold: Number of the fold, from 0.
        classes: int64 ``[way]``, the drawn classes; position = local label.
        support: int64 ``[way * shot]``, positions in the training labels, class by class.
        support_labels: int64 ``[way * shot]``, local labels 0..way-1.
        query: int64 ``[q]``, positions in the query labels, class by class.
        query_labels: int64 ``[q]``, local labels.
    """

    fold: int
    classes: Index
    support: Index
    support_labels: Index
    query: Index
    query_labels: Index


def episodes(
    train_labels: Index,
    test_labels: Index,
    way: int,
    shot: int,
    queries: int = QUERIES,
    folds: int = 10,
    seed: int = 0,
    purpose: str = "test",
) -> list[Episode]:
    """Draw few-shot episodes.

    Each shuffles the classes, takes `way` of them, then `shot` supports and up to `queries` queries of each. A class
    takes part if it has `shot` training objects and at least one query object; a class with fewer than `queries` query
    objects gives all it has. Fold i depends on (seed, purpose, way, shot, i) only, not on `folds`, and the supports not
    on `queries`. For validation episodes pass the labels of the train part and of the validation part with
    ``purpose="val"``, so that their draws are independent of the test folds.

    Args:
        train_labels: int64 ``[n]`` labels of the objects supports are drawn from.
        test_labels: int64 ``[m]`` labels of the objects queries are drawn from.
        way: Classes per episode, at least 2.
        shot: Supports per class, at least 1.
        queries: Queries per class wanted.
        folds: Number of episodes.
        seed: Root seed.
        purpose: Names the stream: ``test`` or ``val``.

    Returns:
        One episode per fold.

    Raises:
        UsageError: A number is out of range.
        DataError: Fewer than `way` classes have enough objects.
    """
    for label, value, least in (("way", way, 2), ("shot", shot, 1), ("queries", queries, 1), ("folds", folds, 1)):
        if value < least:
            raise UsageError(f"few-shot: {label} is {value}, expected at least {least}")
    test_classes = set(np.unique(test_labels).tolist())
    labels, counts = np.unique(train_labels, return_counts=True)
    usable = [int(c) for c, n in zip(labels, counts, strict=True) if n >= shot and int(c) in test_classes]
    if len(usable) < way:
        raise DataError(
            f"few-shot {way}w{shot}s: only {len(usable)} classes have {shot} training objects and a query object; "
            f"expected {way}; use a smaller setting"
        )
    supports = {c: np.flatnonzero(train_labels == c).astype(np.int64) for c in usable}
    targets = {c: np.flatnonzero(test_labels == c).astype(np.int64) for c in usable}
    drawn: list[Episode] = []
    for fold in range(folds):
        rng = numpy_stream(seed, "fold", purpose, way, shot, fold)
        classes = _shuffled(np.asarray(usable, dtype=np.int64), rng)[:way]
        support = [_shuffled(supports[int(c)], rng)[:shot] for c in classes]
        query = [_shuffled(targets[int(c)], rng)[:queries] for c in classes]
        drawn.append(
            Episode(
                fold=fold,
                classes=classes,
                support=np.concatenate(support),
                support_labels=_local_labels(support),
                query=np.concatenate(query),
                query_labels=_local_labels(query),
            )
        )
    return drawn


def _local_labels(groups: Sequence[Index]) -> Index:
    return np.repeat(np.arange(len(groups), dtype=np.int64), [len(g) for g in groups])


@dataclass(frozen=True)
class Setting:
    """Few-shot setting, adapted to a data set.

    Attributes:
        requested: The setting asked for, e.g. ``10w20s``.
        name: The setting that is run, e.g. ``7w20s``; equal to `requested` if the data suffice.
        way: Classes per episode.
        shot: Supports per class.
        queries: Most queries per class; classes with fewer objects give all.
        clipped_reason: Difference between `requested` and `name` in words; None if there is none.
    """

    requested: str
    name: str
    way: int
    shot: int
    queries: int
    clipped_reason: str | None = None


def parse_setting(name: str) -> tuple[int, int]:
    """Parse a setting such as ``10w20s`` into (way, shot).

    Raises:
        UsageError: The text has another form, or fewer than 2 ways or 1 shot.
    """
    match = re.fullmatch(r"([0-9]{1,4})w([0-9]{1,4})s", name)
    way, shot = (int(match[1]), int(match[2])) if match else (0, 0)
    if way < 2 or shot < 1:
        raise UsageError(
            f"unknown few-shot setting '{name}': expected <ways>w<shots>s with 2 ways or more, e.g. 5w10s or 10w20s"
        )
    return way, shot


def clip_setting(name: str, train_labels: Index, *query_labels: Index, queries: int = QUERIES) -> Setting:
    """Adapt a few-shot setting to the available classes and objects.

    Ways are lowered to the number of classes. Where too few classes have the shots, the shots are lowered, to no
    less than half of what was asked; where even that leaves too few classes, the ways are lowered to the classes
    that reach half. Classes below the shots that are used are left out.

    Args:
        name: Setting asked for, e.g. ``10w20s``.
        train_labels: Labels of the objects supports are drawn from.
        query_labels: Labels of each pool that queries are drawn from (test; with validation episodes also the
            validation part): a class must have an object in every pool.
        queries: Queries per class wanted.

    Returns:
        The setting to run.

    Raises:
        UsageError: `name` is not a setting.
        DataError: Not even two classes can be told apart.
    """
    way, shot = parse_setting(name)
    labels, counts = np.unique(train_labels, return_counts=True)
    answered = [c for c in labels.tolist() if all(np.any(pool == c) for pool in query_labels)]
    supply = {int(c): int(n) for c, n in zip(labels, counts, strict=True) if int(c) in answered}
    reachable = sorted(supply.values(), reverse=True)
    floor = -(-shot // 2)
    used_way = min(way, sum(n >= floor for n in reachable))
    if used_way < 2:
        raise DataError(
            f"few-shot {name}: {used_way} of {len(labels)} classes have {floor} or more training objects and a query "
            "object; at least 2 are needed; use fewer shots or a larger data set"
        )
    used_shot = min(shot, reachable[used_way - 1])
    words: list[str] = []
    if used_way < way:
        enough = "" if used_way == len(labels) else f" with {floor} or more training objects and a query object"
        words.append(f"{way} ways clipped to the {used_way} classes{enough}")
    if used_shot < shot:
        words.append(f"{shot} shots clipped to {used_shot}, what {used_way} classes have")
    playing = {c for c, n in supply.items() if n >= used_shot}
    if len(playing) < len(labels):
        words.append(f"{len(labels) - len(playing)} of {len(labels)} classes left out, too few objects")
    fewest = min((int(np.sum(pool == c)) for pool in query_labels for c in playing), default=queries)
    if fewest < queries:
        words.append(f"{queries} queries per class wanted, some classes have only {fewest}")
    return Setting(
        requested=name,
        name=f"{used_way}w{used_shot}s",
        way=used_way,
        shot=used_shot,
        queries=queries,
        clipped_reason="; ".join(words) or None,
    )
