"""Retrieval scores: galleries, ranks of first matches, and chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

from bench.data.depth import with_views
from bench.data.splits import split_digest
from bench.errors import UsageError
from bench.progress import named
from bench.protocols.aligned import Array, mean_view, open_alignment, projections, seen_views, unit
from bench.protocols.base import Alignment, Evaluation, Subject, Task
from bench.protocols.features import clipped_points
from bench.store.records import Metric
from bench.teachers.features import image_features, text_features

if TYPE_CHECKING:
    from pydantic import JsonValue

Index = npt.NDArray[np.int64]
DEPTH_SIZE = 64
_ROWS = 512
"""Queries compared with the gallery at once."""


def judge(subject: Subject, task: Task, setting: str, *, normalise: bool) -> Evaluation:
    """Judge an encoder or a teacher in one retrieval direction."""
    alignment = open_alignment(task)
    captions = task.test.captions
    if captions is None:
        raise UsageError("protocol 'retrieval' needs a data set with captions, and this one has none")
    pictured = setting == "cloud-to-image"
    notes: dict[str, JsonValue] = {"teacher": alignment.teacher.name}
    clouds = _clouds(subject, task, alignment, "image" if pictured else "text", notes, normalise=normalise)
    if pictured:
        meaning = np.arange(len(clouds), dtype=np.int64)
        queries, gallery = clouds, _pictures(task, alignment, notes)
    else:
        _, found = np.unique(np.asarray(captions), return_inverse=True)
        meaning = found.astype(np.int64)
        texts = text_features(alignment.teacher, captions, task.cache, named(task.progress, "captions"))
        queries, gallery = (clouds, texts) if setting == "cloud-to-caption" else (texts, clouds)
        notes["distinct_captions"] = int(meaning.max()) + 1
    ranks, first = first_right(queries, gallery, meaning)
    clipped = clipped_points(task)
    notes |= {"clipped": clipped} if clipped else {}
    predictions: dict[str, npt.NDArray[np.generic]] = {
        "ids": np.array(task.test.ids),
        "labels": task.test.reveal().astype(np.int32),
        "rank": ranks.astype(np.int32),
        "first": first.astype(np.int32),
    }
    return Evaluation(_rows(ranks, meaning), predictions, {}, notes, split_digest(np.arange(len(meaning))))


def first_right(queries: Array, gallery: Array, meaning: Index) -> tuple[Index, Index]:
    """Return the rank of the first match of every query.

    Args:
        queries: ``[n, D]``.
        gallery: ``[n, D]``, of the same objects in the same order.
        meaning: ``[n]``; objects of equal meaning are right for each other.

    Returns:
        Ranks from 1 ``[n]``, a wrong object that ties counting as before the right one; and the most similar
        object of each query ``[n]``.
    """
    own, others = unit(queries), unit(gallery)
    ranks, first = np.empty(len(own), np.int64), np.empty(len(own), np.int64)
    for start in range(0, len(own), _ROWS):
        part = slice(start, start + _ROWS)
        similar = own[part] @ others.T
        right = meaning[part, None] == meaning[None]
        best = np.where(right, similar, -np.inf).max(1)
        ranks[part] = 1 + (~right & (similar >= best[:, None])).sum(1)
        first[part] = similar.argmax(1)
    return ranks, first


def chance(meaning: Index, ks: Sequence[int]) -> tuple[dict[int, float], float]:
    """Return recall at k and median rank of random order.

    A query with m right objects among n has none among the first k with probability C(n - m, k) / C(n, k).

    Returns:
        Recall by k, mean over queries; and the median over queries of the median rank.
    """
    n = len(meaning)
    right = np.bincount(meaning)[meaning]
    kinds, counts = np.unique(right, return_counts=True)
    none = {int(m): _none_among_first(n, int(m)) for m in kinds}
    recalls = {
        k: float(sum(c * (1 - none[int(m)][min(k, n)]) for m, c in zip(kinds, counts, strict=True)) / n) for k in ks
    }
    medians = {m: float(np.argmax(values <= 0.5)) for m, values in none.items()}
    return recalls, float(np.median([medians[int(m)] for m in right]))


def _none_among_first(n: int, m: int) -> npt.NDArray[np.float64]:
    """Return the chance that k random picks miss all matches.

    For k = 0..n, picked among n objects without replacement.
    """
    k = np.arange(n + 1)
    possible = k <= n - m
    kept = np.where(possible, k, 0)
    log = gammaln(n - m + 1) - gammaln(n - m - kept + 1) - gammaln(n + 1) + gammaln(n - kept + 1)
    probability: npt.NDArray[np.float64] = np.where(possible, np.exp(log), 0.0)
    return probability


def _clouds(
    subject: Subject, task: Task, alignment: Alignment, space: str, notes: dict[str, JsonValue], *, normalise: bool
) -> Array:
    """Return test clouds in the shared space, ``[n, D]``.

    By the projection into `space`, if the encoder has one.
    """
    if not subject.candidates:
        rendering, views = seen_views(subject, task, alignment, normalise=normalise)
        notes["feature"] = f"mean of {rendering.views} depth views"
        return mean_view(views["test"])
    found = projections(subject, task, alignment, normalise=normalise)
    chosen = space if space in found else next(iter(found))
    notes["feature"] = f"{chosen} projection"
    return found[chosen]["test"]


def _pictures(task: Task, alignment: Alignment, notes: dict[str, JsonValue]) -> Array:
    """Return features of one image per test object, ``[n, D]``."""
    clouds = with_views(task.test.unlabelled(), 1, DEPTH_SIZE)
    assert clouds.views is not None
    one = replace(clouds, views=clouds.views[:, :1])
    notes["pictures"] = clouds.views_kind or "the data set's"
    report = named(task.progress, "pictures")
    features: Array = image_features(alignment.teacher, one, task.data_manifest, task.cache, report)[:, 0]
    return features


def _rows(ranks: Index, meaning: Index) -> list[Metric]:
    ks = (1, 5)
    by_chance, median = chance(meaning, ks)
    rows: list[Metric] = []
    for name, value, expected, headline in (
        *((f"recall_at_{k}", float((ranks <= k).mean()), by_chance[k], True) for k in ks),
        ("median_rank", float(np.median(ranks)), median, False),
    ):
        rows.append(Metric(name=name, value=value, split="test", headline=headline, n_objects=len(ranks)))
        rows.append(Metric(name=f"{name}[chance]", value=expected, split="test", headline=False, n_objects=len(ranks)))
    return rows
