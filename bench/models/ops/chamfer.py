"""Chamfer distances between batches of point sets."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from bench.models.ops.gather import gather_points
from bench.models.ops.knn import squared_distances


class Nearest(NamedTuple):
    """Nearest neighbours in both directions.

    Attributes:
        distance1: Squared distance ``[P, n]`` from every point of the first set to its nearest in the second.
        distance2: Squared distance ``[P, m]`` from every point of the second set to its nearest in the first.
        index1: int64 ``[P, n]``, number of the nearest point in the second set.
        index2: int64 ``[P, m]``, number of the nearest point in the first set.
    """

    distance1: Tensor
    distance2: Tensor
    index1: Tensor
    index2: Tensor


def chamfer_nearest(a: Tensor, b: Tensor) -> Nearest:
    """Return squared nearest-neighbour distances between paired sets.

    Differentiable in both sets.

    Args:
        a: float ``[P, n, 3]``.
        b: float ``[P, m, 3]``.

    Returns:
        Distances in float32 and indices.
    """
    a, b = a.float(), b.float()
    with torch.no_grad():
        table = squared_distances(a, b)
        index1, index2 = table.argmin(2), table.argmin(1)
    # The choice of neighbour has no gradient, so only the chosen pairs are differentiated.
    distance1 = (a - gather_points(b, index1)).square().sum(-1)
    distance2 = (b - gather_points(a, index2)).square().sum(-1)
    return Nearest(distance1, distance2, index1, index2)


def chamfer_l2(a: Tensor, b: Tensor, *, ignore_zeros: bool = False) -> Tensor:
    """Return the Chamfer distance on squared distances.

    It is the sum of the two directed means.

    Args:
        a: ``[P, n, 3]``.
        b: ``[P, m, 3]``.
        ignore_zeros: Drop points whose coordinates sum to zero (padding) first; only for a single pair (P = 1), as
            in the release's validation.

    Returns:
        Scalar, float32.

    Source: Point-MAE ``ChamferDistanceL2``; docs/reference.md#chamfer-distance.

    >>> import torch
    >>> float(chamfer_l2(torch.zeros(1, 1, 3), torch.ones(1, 2, 3)))
    6.0
    """
    a, b = _without_padding(a, b, ignore_zeros)
    near = chamfer_nearest(a, b)
    return near.distance1.mean() + near.distance2.mean()


def chamfer_l1(a: Tensor, b: Tensor, *, ignore_zeros: bool = False) -> Tensor:
    """Return the Chamfer distance on plain distances.

    It is the average of the two directed means. Where a point coincides with its neighbour the gradient is 0 (the
    release gives NaN).

    Args:
        a: ``[P, n, 3]``.
        b: ``[P, m, 3]``.
        ignore_zeros: As in `chamfer_l2`.

    Returns:
        Scalar, float32.

    Source: Point-MAE ``ChamferDistanceL1``; docs/reference.md#chamfer-distance.
    """
    a, b = _without_padding(a, b, ignore_zeros)
    near = chamfer_nearest(a, b)
    return (_safe_root(near.distance1).mean() + _safe_root(near.distance2).mean()) / 2


def _safe_root(squared: Tensor) -> Tensor:
    positive = squared > 0
    # The inner where keeps the infinite slope of the root at zero out of the backward pass.
    return torch.where(positive, torch.where(positive, squared, 1.0).sqrt(), 0.0)


def _without_padding(a: Tensor, b: Tensor, ignore_zeros: bool) -> tuple[Tensor, Tensor]:
    if not ignore_zeros or a.shape[0] != 1:
        return a, b
    return a[:, a[0].sum(-1) != 0], b[:, b[0].sum(-1) != 0]
