"""Interpolate values from patch centres to points."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.models.ops.knn import squared_distances

_EPSILON = 1e-8
"""Added to a squared distance, so that a point that is a centre takes practically that centre's value."""


@torch.no_grad()
def interpolation_matrix(points: Tensor, centres: Tensor, neighbours: int = 3) -> Tensor:
    """Return the weights that interpolate from centres to points.

    A point takes the mean of its nearest centres, weighted by ``1 / (squared distance + 1e-8)``. As a matrix, the
    interpolation of any values is one product, whose gradient is another: with a hundred centres that is less work
    than gathering the neighbours' values, and needs no copy of them. Always in float32, regardless of autocast.

    Args:
        points: ``[B, N, 3]``.
        centres: ``[B, G, 3]``.
        neighbours: Centres that contribute to a point; all of them where there are fewer.

    Returns:
        float32 ``[B, N, G]``, rows sum to one.

    Source: docs/reference.md#part-segmentation.

    >>> import torch
    >>> line = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [9, 0, 0]]])
    >>> interpolation_matrix(torch.tensor([[[0.5, 0, 0]]]), line, neighbours=2)
    tensor([[[0.5000, 0.5000, 0.0000]]])
    """
    with torch.autocast(points.device.type, enabled=False):
        table = squared_distances(points.float(), centres.float())
        distance, index = table.topk(min(neighbours, centres.shape[1]), dim=-1, largest=False, sorted=False)
        weight = (distance + _EPSILON).reciprocal()
        return torch.zeros_like(table).scatter_(-1, index, weight / weight.sum(-1, keepdim=True))
