"""Recompute stored test scores from stored predictions.

Nothing of a run is believed but its predictions: scores of classes, parts, rooms and ranks are computed again by the
code that computed them first, and compared with what was stored.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.protocols.robustness import CONDITIONS, NAMED, corrupted_rows
from bench.protocols.robustness import METRIC as CORRUPTED
from bench.protocols.segmentation_metrics import VOID, confusion, instance_ious, scene_scores
from bench.stats.answers import Answers, Arrays, read_answers
from bench.store.records import Metric

_TOLERANCE = 1e-9
_ROUNDING = 1e-6
"""Relative rounding error of a value stored as float32."""
_MOST_WORK = 2_000_000_000
"""Comparisons that scoring a run may take: files of strangers may name a million classes."""
_UNSEEN = 64
"""Parts that a category may have and no test object shows."""
_DECIMALS = 9
"""Validation scores equal to this many digits are ties."""
_CHOSEN_BY = re.compile(r"accuracy|\w+\[(probe|pilot)\]")
"""Names of validation scores that candidates are chosen by."""
_RECALL = re.compile(r"recall_at_([1-9][0-9]{0,6})")

Score = Callable[[Metric], float | None]
"""Gives the value of a number, or None where predictions do not determine it."""


@dataclass(frozen=True)
class Check:
    """A stored number beside the recomputed one.

    Attributes:
        name: Metric, or what else was stored.
        variant: Candidate; empty for the one that validation chose.
        fold: Fold, or None for the run's own value.
        stored: As stored.
        recomputed: As the predictions give it.
        tolerance: Largest difference that rounding explains.
        at: Place of the number among the run's metrics; None for what is no metric.
    """

    name: str
    variant: str
    fold: int | None
    stored: float
    recomputed: float
    tolerance: float = _TOLERANCE
    at: int | None = None

    @property
    def holds(self) -> bool:
        """Whether the two agree within the tolerance."""
        if math.isnan(self.stored) and math.isnan(self.recomputed):
            return True
        return abs(self.stored - self.recomputed) <= self.tolerance

    @property
    def title(self) -> str:
        """Name with variant and fold."""
        variant = f" of {self.variant}" if self.variant else ""
        return f"{self.name}{variant}{'' if self.fold is None else f' of fold {self.fold}'}"


class TooMuchError(ValueError):
    """Predictions that would take too long to score."""


def recompute(predictions: Arrays, metrics: Sequence[Metric]) -> list[Check]:
    """Recompute every test score that stored predictions determine.

    Voted numbers and those of the last or the test-chosen epoch have predictions of their own, which are not stored;
    they are recomputed only where that epoch is the one that validation chose.

    Args:
        predictions: `RunRecord.predictions`.
        metrics: `RunRecord.metrics`.

    Raises:
        ValueError: They are no predictions that a protocol stores, or do not fit each other.
    """
    if "offsets" in predictions:
        found = _rooms(predictions, metrics)
    elif "rank" in predictions:
        found = _ranks(predictions, metrics)
    elif "instance_iou" in predictions:
        found = _parts(predictions, metrics)
    else:
        found = _classes(predictions, metrics)
    return found + _choices(metrics)


def _choices(metrics: Sequence[Metric]) -> list[Check]:
    """Require that the headline is of the candidate with the best validation score.

    Only the built-in rules of choice are known: the highest accuracy, of probes and pilots too.
    """
    groups: dict[tuple[str, int | None], dict[str, tuple[float, bool]]] = {}
    for row in metrics:
        if row.split == "val" and row.selection == "val" and _CHOSEN_BY.fullmatch(row.name):
            groups.setdefault((row.name, row.fold), {})[row.variant] = row.value, row.headline
    reported = {row.variant for row in metrics if row.split == "test" and row.selection == "val" and row.headline}
    checks = []
    for (name, fold), scores in groups.items():
        if len(scores) < 2 or not any(chosen for _, chosen in scores.values()):
            continue
        best = max(round(value, _DECIMALS) for value, _ in scores.values())
        for variant in {variant for variant, (_, chosen) in scores.items() if chosen} | (reported & scores.keys()):
            title = f"validation {name} of the reported candidate"
            checks.append(Check(title, variant, fold, round(scores[variant][0], _DECIMALS), best))
    return checks


def _classes(predictions: Arrays, metrics: Sequence[Metric]) -> list[Check]:
    chosen = read_answers(predictions)
    _require_little(len(chosen.labels), len(np.unique(chosen.labels)))
    if chosen.fold is not None:
        _require_little(len(chosen.labels), len(np.unique(chosen.fold)))
    others = _candidates(predictions, chosen)
    checks: list[Check] = []
    if (shown := _follows_from_logits(chosen)) is not None:
        checks.append(Check("share of predictions that the logits name", "", None, 1.0, shown))
    epochs = _chosen_epochs(metrics)
    objects = cache(partial(_objects, chosen))
    for at, row in enumerate(metrics):
        answers = _answers_of(row, chosen, others, epochs)
        if answers is None:
            continue
        name = "accuracy" if row.name.startswith("accuracy[") and row.variant == "" else row.name
        if (value := _class_score(name, row.fold, answers)) is not None:
            checks.append(Check(row.name, row.variant, row.fold, row.value, value, at=at))
            if row.n_objects != (n := objects(row.fold)):
                checks.append(Check(f"n_objects of {row.name}", row.variant, row.fold, row.n_objects, n))
    return checks + _corrupted(predictions, chosen, metrics)


def _corrupted(predictions: Arrays, chosen: Answers, metrics: Sequence[Metric]) -> list[Check]:
    """Recompute scores on corrupted clouds."""
    if NAMED not in predictions:
        return []
    named, conditions = _whole(NAMED, predictions, 2), predictions.get(CONDITIONS)
    if conditions is None or conditions.shape != named.shape[:1] or named.shape[1] != len(chosen.labels):
        raise ValueError(f"its stored '{NAMED}' are not one per condition and question")
    _require_little(named.size, 1)
    names = [str(one) for one in conditions]
    made = corrupted_rows(named, names, chosen.labels, chosen.fold, "", len(np.unique(chosen.ids)))
    values = {(row.name, row.fold): (row.value, row.n_objects) for row in made}
    checks = []
    for at, row in enumerate(metrics):
        if row.split == "test" and row.name.partition("[")[0] == CORRUPTED:
            value, n = values.pop((row.name, row.fold), (math.nan, 0))
            checks.append(Check(row.name, row.variant, row.fold, row.value, value, at=at))
            if row.n_objects != n:
                checks.append(Check(f"n_objects of {row.name}", row.variant, row.fold, row.n_objects, n))
    return checks


def _answers_of(
    row: Metric, chosen: Answers, others: Mapping[str, Answers], epochs: Mapping[str, int | None]
) -> Answers | None:
    """Return the predictions that a number was computed from."""
    if row.split != "test" or row.votes != 1:
        return None
    if row.selection != "val":  # the same network where the epoch is the same
        known = epochs.get(row.name)
        return chosen if row.headline and known is not None and row.epoch == known else None
    if row.headline:
        return chosen
    if row.name.startswith("accuracy["):  # zero-shot, in the way nothing was tuned for
        return others.get("fixed") if row.variant == "" else None
    return others.get(row.variant) if row.variant else None


def _chosen_epochs(metrics: Iterable[Metric]) -> dict[str, int | None]:
    """Return the epoch that validation chose, by metric."""
    return {
        row.name: row.epoch
        for row in metrics
        if row.split == "test" and row.selection == "val" and row.votes == 1 and row.headline and row.fold is None
    }


def _candidates(predictions: Arrays, chosen: Answers) -> dict[str, Answers]:
    """Return answers of candidates that validation did not choose."""
    start = "predicted."
    found = {}
    for name, values in predictions.items():
        if name.startswith(start):
            if values.shape != chosen.predicted.shape:
                raise ValueError(f"its stored '{name}' are not one per question")
            answers = replace(chosen, predicted=values.astype(np.int64), logits=None)
            found[name.removeprefix(start)] = answers
    return found


def _class_score(name: str, fold: int | None, answers: Answers) -> float | None:
    if fold is not None:
        return answers.fold_accuracies.get(fold) if name == "accuracy" else None
    if name == "accuracy":
        return answers.accuracy
    if name == "mean_class_accuracy":
        return answers.mean_class_accuracy
    return answers.top_5 if name == "accuracy_top_5" else None


def _objects(answers: Answers, fold: int | None) -> int:
    """Return the test objects behind a number; of folds, different ones."""
    if answers.fold is None:
        return len(answers.labels)
    return int((answers.fold == fold).sum()) if fold is not None else len(np.unique(answers.ids))


def _follows_from_logits(answers: Answers) -> float | None:
    """Return the share of predictions with the highest logit.

    None without logits. Logits are stored rounded, so equally high ones all count.
    """
    if answers.logits is None or not answers.logits.size:
        return None
    logits = answers.logits.astype(np.float64)
    if not np.isfinite(logits).all():
        raise ValueError("its stored logits are not finite")
    highest = logits.max(1)
    best = logits >= (highest - _ROUNDING * np.maximum(np.abs(highest), 1))[:, None]
    columns = answers.question_columns()
    named = np.broadcast_to(np.arange(logits.shape[1]), logits.shape) if columns is None else columns
    return float((best & (named == answers.predicted[:, None])).any(1).mean())


def _ranks(predictions: Arrays, metrics: Sequence[Metric]) -> list[Check]:
    ranks = _whole("rank", predictions, 1)
    if ranks.min() < 1 or ranks.max() > len(ranks):
        raise ValueError(f"its stored ranks are not from 1 to {len(ranks)}")

    def score(row: Metric) -> float | None:
        if (named := _RECALL.fullmatch(row.name)) is not None:
            return float((ranks <= int(named[1])).mean())
        return float(np.median(ranks)) if row.name == "median_rank" else None

    return _scored(metrics, score, len(ranks))


def _rooms(predictions: Arrays, metrics: Sequence[Metric]) -> list[Check]:
    labels, predicted = _whole("labels", predictions, 1), _whole("predicted", predictions, 1)
    offsets, stored = _whole("offsets", predictions, 1), _whole("confusion", predictions, 3)
    classes, rooms = stored.shape[1], len(stored)
    if (
        labels.shape != predicted.shape
        or stored.shape[2] != classes
        or len(offsets) != rooms + 1
        or offsets[0] != 0
        or offsets[-1] != len(labels)
        or (np.diff(offsets) < 0).any()
        or max(labels.max(), predicted.max()) >= classes
        or min(labels.min(), predicted.min()) < 0
    ):
        raise ValueError("its stored rooms, labels and confusion matrices do not fit each other")
    tables = np.stack([confusion(predicted[a:b], labels[a:b], classes) for a, b in pairwise(offsets.tolist())])
    scores = scene_scores(tables.sum(0))
    by_name = {"miou": scores.miou, "macc": scores.macc, "oa": scores.oa}
    names = [row.name for row in metrics if _of_parts(row)]
    by_name |= dict(zip(names, scores.by_class.values(), strict=len(names) == len(scores.by_class)))
    checks = [Check("points in the confusion matrices", "", None, float((stored == tables).mean()), 1.0)]
    epochs = _chosen_epochs([row.model_copy(update={"votes": 1}) for row in metrics])
    return checks + _scored(metrics, lambda row: by_name.get(row.name), rooms, epochs)


def _of_parts(row: Metric) -> bool:
    """Whether a number is the IoU of a class or category."""
    return row.split == "test" and row.selection == "val" and row.name.startswith("iou[")


def _parts(predictions: Arrays, metrics: Sequence[Metric]) -> list[Check]:
    if "parts" not in predictions:  # IoUs by object are all that such a run stored
        mean = float(read_answers(predictions).accuracy)
        return _scored(metrics, lambda row: mean if row.name == "instance_miou" else None, len(predictions["ids"]))
    truth, predicted = _whole("parts", predictions, 2), _whole("predicted_parts", predictions, 2)
    category, stored = _whole("labels", predictions, 1), predictions["instance_iou"].astype(np.float64)
    if truth.shape != predicted.shape or len(category) != len(truth) or stored.shape != category.shape:
        raise ValueError("its stored parts, categories and IoUs do not fit each other")
    kinds, category = np.unique(category, return_inverse=True)
    ids = np.unique(np.concatenate([truth[truth >= 0], predicted[predicted >= 0]]))
    _require_little(len(truth) * len(ids) + truth.size, 1)
    number = [np.where(values < 0, VOID, np.searchsorted(ids, values)) for values in (truth, predicted)]
    allowed = np.zeros((len(kinds), len(ids)), bool)
    owner = np.broadcast_to(category[:, None], truth.shape)
    for values in number:
        allowed[owner[values >= 0], values[values >= 0]] = True
    own = instance_ious(number[1], number[0], allowed[category])
    judged = ~np.isnan(own)
    if not judged.any():
        raise ValueError("it has no labelled point")
    # A part of a category that no test object shows and no network named counts as found in every object.
    unseen = [_unseen(own[at], stored[at], int(n)) for n, at in _of_each(category, allowed.sum(1), judged)]
    sizes = {row.name: row for row in metrics if _of_parts(row)}
    means = [float(own[at].mean()) for _, at in _of_each(category, allowed.sum(1), judged)]
    right = (truth == predicted)[truth != VOID]
    by_name = {"point_accuracy": float(right.mean())}
    checks = []
    if not any(unseen):
        worst = int(np.nanargmax(np.abs(own - stored)))
        checks.append(Check(f"IoU of object {worst}", "", None, float(stored[worst]), float(own[worst]), _ROUNDING))
        by_name |= {"instance_miou": float(own[judged].mean()), "class_miou": float(np.mean(means))}
        by_name |= dict(zip(sizes, means, strict=len(sizes) == len(means)))
    counted = np.bincount(category)
    for row, n in zip(sizes.values(), counted[np.unique(category[judged])], strict=False):
        checks.append(Check(f"n_objects of {row.name}", "", None, row.n_objects, int(n)))
    epochs = _chosen_epochs(metrics)
    return checks + _scored(metrics, lambda row: by_name.get(row.name), len(truth), epochs)


def _of_each(
    category: npt.NDArray[Any], parts: npt.NDArray[Any], judged: npt.NDArray[np.bool_]
) -> Iterable[tuple[int, npt.NDArray[Any]]]:
    """Yield the number of parts of each category, and its objects."""
    for kind in np.unique(category[judged]):
        yield int(parts[kind]), np.flatnonzero(judged & (category == kind))


def _unseen(own: npt.NDArray[np.float64], stored: npt.NDArray[np.float64], parts: int) -> int:
    """Return the number of unseen parts that explains stored IoUs.

    0 where nothing does.
    """
    for more in range(_UNSEEN):
        if np.abs((own * parts + more) / (parts + more) - stored).max() <= _ROUNDING:
            return more
    return 0


def _scored(
    metrics: Sequence[Metric], score: Score, objects: int, epochs: Mapping[str, int | None] | None = None
) -> list[Check]:
    """Compare the numbers of whole test splits."""
    checks = []
    for at, row in enumerate(metrics):
        if row.split != "test" or row.fold is not None:
            continue
        same = epochs is not None and epochs.get(row.name) is not None and row.epoch == epochs[row.name]
        if row.selection != "val" and not same:
            continue
        if (value := score(row)) is None:
            continue
        checks.append(Check(row.name, row.variant, None, row.value, value, _ROUNDING, at))
        if row.n_objects != objects and not row.name.startswith("iou["):
            checks.append(Check(f"n_objects of {row.name}", row.variant, None, row.n_objects, objects))
    return checks


def _whole(name: str, predictions: Arrays, dimensions: int) -> npt.NDArray[Any]:
    """Return an array of whole numbers.

    Raises:
        ValueError: It is missing, empty, or of another form.
    """
    values = predictions.get(name)
    if values is None:
        raise ValueError(f"its stored predictions lack '{name}'")
    if values.dtype.kind not in "iu" or values.ndim != dimensions or not values.size:
        raise ValueError(f"its stored '{name}' are no whole numbers with {dimensions} dimensions")
    return values.astype(np.int64)


def _require_little(questions: int, groups: int) -> None:
    if questions * groups > _MOST_WORK:
        raise TooMuchError("its stored predictions name more classes, folds or parts than can be scored")
