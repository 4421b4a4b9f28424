"""k nearest neighbours of given centres."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from bench.errors import UsageError

Formula = Literal["exact", "expanded"]


def knn(points: Tensor, centres: Tensor, k: int, *, formula: Formula = "exact") -> Tensor:
    """Return the k points nearest to each centre, unordered.

    Args:
        points: float32 ``[B, N, 3]``.
        centres: float32 ``[B, G, 3]``.
        k: Neighbours per centre (at most N); a centre that is one of the points is its own neighbour.
        formula: ``exact`` sums squared differences; ``expanded`` evaluates ``|a|^2 + |b|^2 - 2ab`` as the ReCon
            release does, which can choose differently at near-ties.

    Returns:
        int64 ``[B, G, k]``.

    Raises:
        UsageError: Fewer points than neighbours.

    Source: docs/reference.md#patches.
    """
    return knn_with_distances(points, centres, k, formula=formula)[0]


@torch.no_grad()
def knn_with_distances(
    points: Tensor, centres: Tensor, k: int, *, formula: Formula = "exact", ordered: bool = False
) -> tuple[Tensor, Tensor]:
    """Return indices and squared distances of nearest points.

    See `knn`.

    Args:
        points: ``[B, N, 3]``.
        centres: ``[B, G, 3]``.
        k: Neighbours per centre.
        formula: How distances are computed.
        ordered: Nearest first.

    Returns:
        int64 and float ``[B, G, k]``.
    """
    if not 1 <= k <= points.shape[1]:
        raise UsageError(
            f"a cloud has {points.shape[1]} points but patches of {k} are to be cut from it: "
            "use clouds with more points or set backbone.group_size lower"
        )
    distance, index = squared_distances(centres, points, formula).topk(k, dim=-1, largest=False, sorted=ordered)
    return index, distance


def squared_distances(a: Tensor, b: Tensor, formula: Formula = "exact") -> Tensor:
    """Return all squared distances between two batches of point sets.

    Args:
        a: ``[B, n, 3]``.
        b: ``[B, m, 3]``.
        formula: ``exact`` or ``expanded`` (see `knn`).

    Returns:
        ``[B, n, m]`` in the precision of the inputs.
    """
    if formula == "expanded":
        product = torch.matmul(a, b.transpose(1, 2))
        return -2 * product + a.square().sum(-1)[:, :, None] + b.square().sum(-1)[:, None, :]
    distance: Tensor | None = None
    for axis in range(a.shape[-1]):
        delta = a[:, :, None, axis] - b[:, None, :, axis]
        distance = delta * delta if distance is None else torch.addcmul(distance, delta, delta)
    assert distance is not None
    return distance
