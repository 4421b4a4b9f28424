"""Accuracy of image-to-caption retrieval, and its chance level."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue


def retrieval(
    images: npt.NDArray[np.float32], texts: npt.NDArray[np.float32], captions: Sequence[str], ks: Sequence[int] = (1, 5)
) -> dict[str, JsonValue]:
    """Return image-to-caption retrieval accuracy and its exact chance level.

    Several objects may carry the same sentence; an image is served by any copy of its own. So its chance of
    a hit in k guesses without replacement among n captions with m copies is ``1 - C(n-m, k) / C(n, k)``.

    Args:
        images: Image features ``[n, D]``.
        texts: Text features ``[n, D]`` of the same objects.
        captions: Their sentences.
        ks: Ranks to report.

    Returns:
        ``objects``, ``distinct_captions``, and per k ``recall_at_k`` and ``chance_at_k``.
    """
    n = len(captions)
    _, meaning = np.unique(np.asarray(captions), return_inverse=True)
    similar = _unit(images) @ _unit(texts).T
    ranked = np.argsort(-similar, axis=1, kind="stable")
    hits = meaning[ranked] == meaning[:, None]
    copies = np.bincount(meaning)[meaning]
    figures: dict[str, JsonValue] = {"objects": n, "distinct_captions": int(meaning.max()) + 1}
    for k in ks:
        k_in_set = min(k, n)
        chance = [1 - math.comb(n - int(m), k_in_set) / math.comb(n, k_in_set) for m in copies]
        figures[f"recall_at_{k}"] = float(hits[:, :k_in_set].any(axis=1).mean())
        figures[f"chance_at_{k}"] = float(np.mean(chance))
    return figures


def named_accuracy(
    images: npt.NDArray[np.float32], names: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]
) -> float:
    """Return the accuracy of classification by class-name features.

    An image ``[n, D]`` is right if the most similar feature of ``[C, D]`` is that of its label.
    """
    return float((np.argmax(_unit(images) @ _unit(names).T, axis=1) == labels).mean())


def _unit(features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    unit: npt.NDArray[np.float32] = features / np.maximum(norms, np.float32(1e-12))
    return unit
