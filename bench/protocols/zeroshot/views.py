"""Combine several views of a cloud, as PointCLIP does."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bench.protocols.aligned import Array, mean_view, unit

LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Weights of a view that the search tries."""
ROUNDS = 2
"""Number of passes of the search over all views."""


def view_cosines(views: Array, classes: Array, weights: npt.NDArray[np.float32] | None = None) -> Array:
    """Return weighted mean cosines ``[n, K]`` of views and classes.

    `views` are ``[n, V, D]``, `classes` are ``[K, D]``.
    """
    similar: Array = mean_view(views, weights) @ unit(classes).T
    return similar


def search_weights(views: Array, classes: Array, labels: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Search view weights for validation accuracy, one by one.

    Of equally good weights the first is taken.

    Starts with all alike, and leaves a weight alone unless another is strictly better.

    Args:
        views: Validation objects' features ``[n, V, D]``.
        classes: Class embeddings ``[K, D]``.
        labels: ``[n]``.

    Returns:
        float32 ``[V]``, adding up to 1.
    """
    similar = unit(views) @ unit(classes).T
    weights = np.ones(views.shape[1], np.float32)

    def right(tried: npt.NDArray[np.float32]) -> int:
        return int((np.einsum("v,nvk->nk", tried, similar).argmax(-1) == labels).sum())

    best = right(weights)
    for _ in range(ROUNDS):
        for view in range(len(weights)):
            for level in LEVELS:
                tried = weights.copy()
                tried[view] = level
                if tried.any() and (score := right(tried)) > best:
                    best, weights = score, tried
    shares: npt.NDArray[np.float32] = weights / weights.sum()
    return shares
