"""CrossPoint's few-shot episodes, drawn from the training split.

A linear SVC at C = 1 on standardised frozen features. Source: docs/reference.md#crosspoint-episodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bench.data.splits import Setting, carve_validation, object_groups, parse_setting, split_digest
from bench.errors import DataError
from bench.protocols.base import Evaluation, Subject, Task
from bench.protocols.features import clipped_points, frozen_features
from bench.protocols.fewshot.options import FewShotOptions
from bench.protocols.probe_heads import PairwiseHead
from bench.protocols.selection import first_best
from bench.recipes.downstream import released_strength
from bench.seeds import numpy_stream
from bench.store.records import Metric

if TYPE_CHECKING:
    from pydantic import JsonValue

    from bench.protocols.features import Array

Index = npt.NDArray[np.int64]
FEATURE = "svm"
"""Pooled backbone feature that CrossPoint puts its machines on."""
STRENGTH = released_strength("fewshot", "crosspoint")
_HALF = 0.5


@dataclass(frozen=True)
class Draw:
    """One episode's classes, support objects and query objects.

    Attributes:
        classes: int64 ``[way]``, position = local label.
        support: int64 ``[way * shot]``, positions in the training split.
        query: int64 ``[way * queries]``, other objects of the same split.
    """

    classes: Index
    support: Index
    query: Index

    def labels(self, index: Index) -> Index:
        """Return local labels of supports or queries, class by class."""
        return np.repeat(np.arange(len(self.classes), dtype=np.int64), len(index) // len(self.classes))


def draw_episodes(labels: Index, pool: Index, setting: Setting, runs: int, seed: int, purpose: str) -> tuple[Draw, ...]:
    """Draw episodes from one split.

    Args:
        labels: int64 ``[n]``, of the training split.
        pool: Positions that may be drawn.
        setting: As it fits (`fitted`).
        runs: Number of episodes; episode i does not depend on it.
        seed: Root seed.
        purpose: Names the stream: ``test`` or ``val``.
    """
    way, shot, queries = setting.way, setting.shot, setting.queries
    own = labels[pool]
    usable = np.flatnonzero(np.bincount(own) >= shot + queries).astype(np.int64)
    drawn = []
    for run in range(runs):
        rng = numpy_stream(seed, "fold", "crosspoint", purpose, way, shot, run)
        classes = usable[np.argsort(rng.random(len(usable)), kind="stable")][:way]
        support, query = [], []
        for label in classes:
            members = pool[own == label]
            order = members[np.argsort(rng.random(len(members)), kind="stable")]
            support.append(order[:shot])
            query.append(order[shot : shot + queries])
        drawn.append(Draw(classes, np.concatenate(support), np.concatenate(query)))
    return tuple(drawn)


def judge_episodes(subject: Subject, task: Task, setting: str, options: FewShotOptions) -> Evaluation:
    """Judge a subject by CrossPoint's episodes of the training split.

    Raises:
        UsageError: The setting is malformed, or the encoder has no such feature.
        DataError: The training split has too few objects of too few classes.
        BenchError: The encoder's features are not finite.
    """
    labels = task.train.labels
    train, val, enlarged = _set_aside(task, options.validation_fraction)
    runs, seed = options.folds, task.split_seed
    fit = fitted(labels, train, setting, options.queries)
    asked = draw_episodes(labels, train, fit, runs, seed, "test")
    features = {
        name: frozen_features(candidate, task, FEATURE, normalise=False)["train"]
        for name, candidate in subject.candidates.items()
    }
    metrics: list[Metric] = []
    chosen = next(iter(features))
    if len(features) > 1:  # untrained encoders: the initialisation is chosen on other objects
        smaller = fitted(labels, val, setting, options.queries, held_out=True)
        held = draw_episodes(labels, val, smaller, runs, seed, "val")
        accuracy = {name: float(np.mean(_accuracies(values, held))) for name, values in features.items()}
        chosen = first_best(accuracy)
        objects = len(np.unique(np.concatenate([draw.query for draw in held])))
        metrics += [
            Metric(value=v, split="val", variant=subject.variant(n), headline=n == chosen, n_objects=objects)
            for n, v in accuracy.items()
        ]
    predictions: dict[str, npt.NDArray[np.generic]] = {
        "fold": np.repeat(np.arange(runs), [len(draw.query) for draw in asked]).astype(np.int16),
        "query": np.concatenate([draw.query for draw in asked]).astype(np.int32),
        "labels": np.concatenate([labels[draw.query] for draw in asked]).astype(np.int32),
        "classes": np.stack([draw.classes for draw in asked]).astype(np.int32),
        "ids": np.array([task.train.ids[at] for draw in asked for at in draw.query]),
    }
    for done, (name, values) in enumerate(features.items()):
        task.progress(done, len(features), f"episodes {setting}")
        scores = [_scores(values, draw) for draw in asked]
        metrics += _rows(scores, asked, subject.variant(name), name == chosen)
        said = [draw.classes[score.argmax(-1)] for draw, score in zip(asked, scores, strict=True)]
        predictions["predicted" if name == chosen else f"predicted.{name}"] = np.concatenate(said).astype(np.int32)
        if name == chosen:
            predictions["logits"] = np.concatenate(scores).astype(np.float32)
    notes: dict[str, JsonValue] = {
        "candidate": chosen,
        "head": "svm",
        "feature": FEATURE,
        "setting": fit.name,
        "strength": STRENGTH,
        "queries": "training split, as in CrossPoint's script; the test split is not used",
        "feature_width": int(features[chosen].shape[1]),
    }
    clipped = "; ".join(filter(None, (fit.clipped_reason, enlarged, clipped_points(task))))
    if clipped:
        notes["clipped"] = clipped
    digest = split_digest(*(part for draw in asked for part in (draw.classes, draw.support, draw.query)))
    return Evaluation(metrics, predictions, {}, notes, digest)


def _set_aside(task: Task, fraction: float) -> tuple[Index, Index, str]:
    """Set objects aside for choosing the initialisation of `scratch`.

    They are set aside even if there is nothing to choose, so that the episodes of all methods are the same.

    Returns:
        Positions that episodes are drawn from, those set aside, and why there are more of these than was asked for.
    """
    labels, groups = task.train.labels, object_groups(task.train.ids)
    train, val = carve_validation(labels, fraction, task.split_seed, groups)
    if np.sum(np.bincount(labels[val]) > 1) > 1 or fraction >= _HALF:
        return train, val, ""
    train, val = carve_validation(labels, _HALF, task.split_seed, groups)
    return train, val, f"half of every class is set aside, because {fraction:.0%} are single objects"


def fitted(labels: Index, pool: Index, setting: str, queries: int, *, held_out: bool = False) -> Setting:
    """Reduce ways, then queries, to what the data set provides.

    Args:
        labels: int64 ``[n]``, of the training split.
        pool: Positions that may be drawn.
        setting: E.g. ``5w10s``.
        queries: Queries per class wanted.
        held_out: Whether these are the objects set aside for validation, where shots may be lowered too.

    Raises:
        UsageError: The setting is malformed.
        DataError: Not even two classes have supports and a query.
    """
    way, shot = parse_setting(setting)
    counts = np.sort(np.bincount(labels[pool]))[::-1]
    least = 2 if held_out else shot + 1
    used_way = min(way, int(np.sum(counts >= least)))
    if used_way < 2:
        where = "in the part set aside for validation" if held_out else "to draw episodes from"
        raise DataError(
            f"few-shot {setting} in CrossPoint's form: {used_way} classes have {least} objects or more {where}; at "
            "least 2 are needed; use fewer shots, another validation_fraction or a larger data set"
        )
    fewest = int(counts[used_way - 1])
    used_shot = min(shot, fewest - 1)
    used = min(queries, fewest - used_shot)
    words = [f"{way} ways clipped to {used_way}"] if used_way < way else []
    words += [f"{queries} queries per class wanted, {used} are there"] if used < queries else []
    return Setting(setting, f"{used_way}w{used_shot}s", used_way, used_shot, used, "; ".join(words) or None)


def _scores(features: Array, draw: Draw) -> npt.NDArray[np.floating]:
    """Return SVM scores ``[q, way]`` of the queries.

    Features are standardised by mean and deviation of the supports.
    """
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(features[draw.support].astype(np.float64))
    support, query = (scaler.transform(features[index].astype(np.float64)) for index in (draw.support, draw.query))
    head = PairwiseHead((STRENGTH,))
    scores = head.scores(support, draw.labels(draw.support), len(draw.classes), query, (0,))
    own: npt.NDArray[np.floating] = scores[0]
    return own


def _accuracies(features: Array, draws: tuple[Draw, ...]) -> list[float]:
    return [float((_scores(features, draw).argmax(-1) == draw.labels(draw.query)).mean()) for draw in draws]


def _rows(
    scores: list[npt.NDArray[np.floating]], asked: tuple[Draw, ...], variant: str, headline: bool
) -> list[Metric]:
    """Return one accuracy per episode, and their mean."""
    found = [float((s.argmax(-1) == d.labels(d.query)).mean()) for s, d in zip(scores, asked, strict=True)]
    objects = len(np.unique(np.concatenate([draw.query for draw in asked])))
    rows = [
        Metric(value=value, split="test", variant=variant, headline=headline, fold=run, n_objects=len(draw.query))
        for run, (value, draw) in enumerate(zip(found, asked, strict=True))
    ]
    mean = Metric(value=float(np.mean(found)), split="test", variant=variant, headline=headline, n_objects=objects)
    return [mean, *rows]
