"""Intersection over union of parts and of classes, in NumPy.

Parts: docs/reference.md#part-segmentation. A part that an object neither has nor is given counts as found (IoU 1);
instance mIoU is the mean over objects, class mIoU the mean over categories of their objects' mean. Classes of scenes
(docs/reference.md#semantic-segmentation): counts over all points of all rooms.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.integer]
Flags = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]
Fractions = npt.NDArray[np.float64]

VOID = -1
"""Label of a point that belongs to no part: it is neither trained on nor judged."""


@dataclass(frozen=True)
class PartScores:
    """Scores of part segmentation.

    Attributes:
        instance_miou: Mean IoU over objects.
        class_miou: Mean over the categories that occur of the mean over their objects.
        point_accuracy: Share of labelled points whose part is right.
        by_category: Mean IoU over the objects of each category that occurs, by its number.
        instances: IoU of each object ``[n]``; NaN where it has no labelled point.
    """

    instance_miou: float
    class_miou: float
    point_accuracy: float
    by_category: dict[int, float]
    instances: Fractions


def part_scores(predicted: Labels, truth: Labels, category: Labels, allowed: Flags) -> PartScores:
    """Score predicted parts by intersection over union.

    Args:
        predicted: Part of each point ``[n, N]``, 0 to P - 1.
        truth: True part of each point ``[n, N]``; `VOID` for points that are not judged, and P for a part that no
            training object shows, which nothing can find.
        category: Category of each object ``[n]``.
        allowed: Parts of each category ``[C, P]``.

    Returns:
        The scores; objects without a labelled point are left out of every mean.
    """
    instances = instance_ious(predicted, truth, allowed[category])
    judged = ~np.isnan(instances)
    by_category = {
        int(label): float(instances[judged & (category == label)].mean()) for label in np.unique(category[judged])
    }
    labelled = truth != VOID
    return PartScores(
        instance_miou=float(instances[judged].mean()) if judged.any() else 0.0,
        class_miou=float(np.mean(list(by_category.values()))) if by_category else 0.0,
        point_accuracy=float((predicted == truth)[labelled].mean()) if labelled.any() else 0.0,
        by_category=by_category,
        instances=instances,
    )


def instance_ious(predicted: Labels, truth: Labels, allowed: Flags) -> Fractions:
    """Return each object's mean IoU over its category's parts.

    Args:
        predicted: See `part_scores`.
        truth: See `part_scores`.
        allowed: Parts of each object's category ``[n, P]``.

    Returns:
        ``[n]``; NaN where an object has no labelled point.
    """
    objects, parts = allowed.shape
    labelled = truth != VOID
    owner = np.broadcast_to(np.arange(objects)[:, None], truth.shape)[labelled]
    guess, right = predicted[labelled].astype(np.int64), truth[labelled].astype(np.int64)
    hit = guess == right
    common = _table(owner[hit], guess[hit], objects, parts)
    union = _table(owner, guess, objects, parts) + _table(owner, right, objects, parts) - common
    iou = np.where(union > 0, common / np.maximum(union, 1), 1.0)
    mean: Fractions = (iou * allowed).sum(1) / np.maximum(allowed.sum(1), 1)
    return np.where(labelled.any(1), mean, np.nan)


def _table(owner: Counts, part: Counts, objects: int, parts: int) -> Counts:
    """Count points of each object and known part, ``[n, P]``."""
    flat = np.bincount(owner * (parts + 1) + np.minimum(part, parts), minlength=objects * (parts + 1))
    return flat.reshape(objects, parts + 1)[:, :parts].astype(np.int64)


@dataclass(frozen=True)
class SceneScores:
    """Scores of semantic segmentation.

    Attributes:
        miou: Mean over classes of intersection over union.
        macc: Mean over classes of the share of their points found.
        oa: Share of all points whose class is right.
        by_class: IoU of each class that occurs or was predicted, by its number.
    """

    miou: float
    macc: float
    oa: float
    by_class: dict[int, float]


def confusion(predicted: Labels, truth: Labels, classes: int) -> Counts:
    """Return the confusion matrix ``[C, C]`` (true class, predicted class)."""
    flat = truth.astype(np.int64).ravel() * classes + predicted.astype(np.int64).ravel()
    return np.bincount(flat, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def scene_scores(table: Counts) -> SceneScores:
    """Score a confusion matrix ``[C, C]``; rows are true classes.

    Classes that neither occur nor were predicted are left out of the mean IoU, classes that do not occur out of the
    mean accuracy.
    """
    right, true, guessed = np.diag(table), table.sum(1), table.sum(0)
    union = true + guessed - right
    there = union > 0
    iou = right[there] / union[there]
    occurs = true > 0
    return SceneScores(
        miou=float(iou.mean()) if there.any() else 0.0,
        macc=float((right[occurs] / true[occurs]).mean()) if occurs.any() else 0.0,
        oa=float(right.sum() / max(int(table.sum()), 1)),
        by_class=dict(zip(np.flatnonzero(there).tolist(), iou.tolist(), strict=True)),
    )
