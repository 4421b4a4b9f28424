"""Clouds in an image-text space: encoder projections or depth views.

A teacher alone has no encoder; its image network embeds depth views of the clouds instead.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from bench.errors import BenchError
from bench.models.encoder import Encoder
from bench.progress import named
from bench.protocols.base import Alignment, Candidate, Subject, Task
from bench.protocols.features import Split, frozen_features, prepared_clouds
from bench.spec import BackboneSpec, content_key
from bench.teachers.rendering import Rendering, depth_features

Array = npt.NDArray[np.float32]
Projections = dict[str, dict[Split, Array]]
"""By space (``image``, ``text``) and split, float32 ``[n, D]``."""


def open_alignment(task: Task) -> Alignment:
    """Return the task's alignment: the trained heads and their teacher.

    Raises:
        BenchError: There are none.
    """
    if task.alignment is None:
        raise BenchError("this task has no teacher, so nothing leads to a space shared with texts")
    return task.alignment()


def projections(subject: Subject, task: Task, alignment: Alignment, *, normalise: bool) -> Projections:
    """Project features of both splits into the shared space.

    The encoder is run once, and its features are cached.

    Raises:
        BenchError: The encoder has no heads, or gives features that are not finite.
        SetupError: The cache cannot be written.
    """
    candidate = next(iter(subject.candidates.values()))
    if not alignment.heads:
        raise BenchError(
            f"encoder of {subject.method} was stored without its heads into the teacher's space; "
            "delete it and run again, or import its file again"
        )
    found: Projections = {}
    for space, head in alignment.heads.items():
        features = frozen_features(candidate, task, head.feature, normalise=normalise)
        found[space] = {split: values @ head.weight.T + head.bias for split, values in features.items()}
    return found


def seen_views(
    subject: Subject, task: Task, alignment: Alignment, *, normalise: bool
) -> tuple[Rendering, dict[Split, Array]]:
    """Return cached features of depth views of both splits.

    Each is float32 ``[n, V, D]``; a teacher alone is judged by them.

    The clouds are those an encoder would see: as many points, chosen alike.

    Raises:
        UsageError: The teacher knows no images.
        SetupError: The cache cannot be written.
    """
    rendering = Rendering.model_validate(dict(subject.options))
    found: dict[Split, Array] = {}
    splits: tuple[Split, ...] = ("train", "test")
    for split in splits:
        clouds = prepared_clouds(task, split, normalise=normalise)
        facts: dict[str, JsonValue] = {"manifest": task.data_manifest, "split": split, "shape": list(clouds.shape)}
        key = content_key(facts | {"normalise": normalise, "op_backend": task.numerics.op_backend})
        report = named(task.progress, f"depth views of {split}")
        found[split] = depth_features(alignment.teacher, clouds, key, rendering, task.cache, report)
    return rendering, found


def regrouped(subject: Subject, groups: int, group_size: int) -> Subject:
    """Return the subject with another patch size than in pretraining.

    ReCon's release does so for zero-shot classification.
    """

    def build(candidate: Candidate) -> Encoder:
        encoder = candidate.build()
        for part in encoder.modules():
            size = getattr(part, "backbone", None)
            if isinstance(size, BackboneSpec):
                part.backbone = size.model_copy(update={"groups": groups, "group_size": group_size})  # type: ignore[assignment]
        return encoder

    changed = {
        name: replace(candidate, build=partial(build, candidate), key=f"{candidate.key}-{groups}x{group_size}")
        for name, candidate in subject.candidates.items()
    }
    return replace(subject, candidates=changed)


def unit(features: Array) -> Array:
    """Normalise vectors along the last axis; zero vectors stay zero."""
    lengths = np.linalg.norm(features, axis=-1, keepdims=True)
    scaled: Array = features / np.maximum(lengths, np.float32(1e-12))
    return scaled


def mean_view(views: Array, weights: npt.NDArray[np.float32] | None = None) -> Array:
    """Average unit features over views, by weight.

    Args:
        views: ``[n, V, D]``.
        weights: ``[V]``, adding up to 1; None: all alike.

    Returns:
        ``[n, D]``; its product with a unit vector is the weighted mean of the views' cosines with it.
    """
    count = views.shape[1]
    shares = np.full(count, 1 / count, np.float32) if weights is None else weights
    mean: Array = np.einsum("v,nvd->nd", shares, unit(views))
    return mean
