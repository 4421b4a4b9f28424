"""Convolutions over the edges of a neighbour graph (EdgeConv).

They avoid a tensor of all edges where that is exact. An edge of point i to its neighbour j carries ``[x_j - x_i,
x_i]``. A linear layer with weight ``[U, V]`` gives ``U x_j + (V - U) x_i``: two products per point instead of one per
edge. All of it runs in float32 regardless of autocast, because half precision would lose the small difference between
neighbours in that sum.

Source: Wang et al., Dynamic Graph CNN for Learning on Point Clouds; docs/reference.md#crosspoint-dgcnn.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.errors import UsageError
from bench.models.ops import knn
from bench.models.pooling import patch_max
from bench.models.ranks import pooled, update_running

SLOPE = 0.2
"""Negative slope of every LeakyReLU."""
_CPU_ROWS = 1024
"""Points whose neighbours are gathered at once on a CPU, so that they stay in its cache."""


def neighbour_rows(x: Tensor, neighbours: int) -> Tensor:
    """Return each point's nearest points in feature space.

    A point is among its own neighbours. Without gradient.

    Args:
        x: ``[B, N, C]``.
        neighbours: Number k.

    Returns:
        int64 ``[B * N, k]``: rows of ``x.view(B * N, C)``, in no particular order.

    Raises:
        UsageError: Fewer points than neighbours.
    """
    batch, count, _ = x.shape
    if neighbours > count:
        raise UsageError(
            f"a cloud has {count} points, too few for {neighbours} neighbours each: "
            "use clouds with more points or set the method's option neighbours lower"
        )
    with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
        x = x.detach().float()
        index = knn(x, x, neighbours, formula="expanded")
        start = torch.arange(batch, device=x.device)[:, None, None] * count
        return (index + start).view(batch * count, neighbours)


class EdgeConv(nn.Module):
    """EdgeConv: linear layer, BatchNorm, maximum over neighbours, LeakyReLU.

    BatchNorm and LeakyReLU are monotonic in each channel, so the maximum over a point's edges follows from the extreme
    of its neighbours' products, and the statistics over edges from sums over neighbours: memory grows with points
    instead of edges.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        """Build the layer.

        Args:
            inputs: Width C of a point's feature; an edge has 2C.
            outputs: Width of the result.
        """
        super().__init__()
        self.linear = nn.Linear(2 * inputs, outputs, bias=False)
        """Reads [neighbour - centre, centre], in this order."""
        self.norm = nn.BatchNorm1d(outputs)

    def forward(self, x: Tensor, rows: Tensor) -> Tensor:
        """Return features ``[B, N, outputs]`` of points ``[B, N, C]``.

        `rows` are the neighbours (see `neighbour_rows`).
        """
        with torch.autocast(x.device.type, enabled=False):
            near, own = edge_products(self.linear, x.float())
            norm = self.norm
            if norm.training:
                mean, variance, ranks = pooled(*_edge_statistics(near, own, rows))
                update_running(norm, mean, variance, ranks * rows.numel())
            else:
                assert norm.running_mean is not None
                assert norm.running_var is not None
                mean, variance = norm.running_mean, norm.running_var
            # Where BatchNorm's weight is negative, the smallest product becomes the largest output.
            sign = torch.where(norm.weight < 0, -1.0, 1.0)
            extreme = neighbour_max(near * sign, rows) * sign
            scale = norm.weight * torch.rsqrt(variance + norm.eps)
            out = F.leaky_relu((extreme + own - mean) * scale + norm.bias, SLOPE)
            return out.view(*x.shape[:2], -1)


class EdgeMLP(nn.Module):
    """Two linear layers on edges, then the maximum over neighbours.

    Each layer is followed by BatchNorm and LeakyReLU. The second layer needs every edge, so its memory is ``B * N * k``
    rows.
    """

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        """Build the layers.

        Args:
            inputs: Width C of a point's feature; an edge has 2C.
            hidden: Width between the layers.
            outputs: Width of the result.
        """
        super().__init__()
        self.linear1 = nn.Linear(2 * inputs, hidden, bias=False)
        self.norm1 = nn.BatchNorm1d(hidden)
        self.linear2 = nn.Linear(hidden, outputs, bias=False)
        self.norm2 = nn.BatchNorm1d(outputs)

    def forward(self, x: Tensor, rows: Tensor) -> Tensor:
        """Return features ``[B, N, outputs]`` of points ``[B, N, C]``.

        `rows` are the neighbours (see `neighbour_rows`).
        """
        with torch.autocast(x.device.type, enabled=False):
            near, own = edge_products(self.linear1, x.float())
            edges = near.index_select(0, rows.flatten()).view(*rows.shape, -1) + own[:, None]
            hidden = F.leaky_relu(self.norm1(edges.flatten(0, 1)), SLOPE)
        mixed = self.norm2(self.linear2(hidden))
        # LeakyReLU is increasing, so it commutes with the maximum; after it there are k times fewer values.
        out = F.leaky_relu(patch_max(mixed.view(*rows.shape, -1)), SLOPE)
        return out.view(*x.shape[:2], -1)


class PointLayer(nn.Module):
    """Linear layer, BatchNorm and LeakyReLU on each point.

    The published 1x1 convolutions, without bias.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        """Build the layer."""
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=False)
        self.norm = nn.BatchNorm1d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Transform ``[..., inputs]`` into ``[..., outputs]``.

        BatchNorm's statistics run over all leading axes.
        """
        return self.activate(self.linear(x))

    def activate(self, x: Tensor) -> Tensor:
        """Apply BatchNorm and LeakyReLU to ``[..., outputs]``."""
        return F.leaky_relu(self.norm(x.flatten(0, -2)), SLOPE).view(x.shape)


def edge_products(linear: nn.Linear, x: Tensor) -> tuple[Tensor, Tensor]:
    """Split a linear edge layer into two products per point.

    One depends on the neighbour alone, the other on the centre alone.

    Args:
        linear: Reads [neighbour - centre, centre], no bias.
        x: ``[B, N, C]``.

    Returns:
        Both ``[B * N, outputs]``; edge (i, j) is ``first[j] + second[i]``.
    """
    flat = x.reshape(-1, x.shape[-1])
    from_difference, from_centre = linear.weight.chunk(2, dim=1)
    return F.linear(flat, from_difference), F.linear(flat, from_centre - from_difference)


def neighbour_max(values: Tensor, rows: Tensor) -> Tensor:
    """Return the maximum over each point's neighbours, channel by channel.

    Args:
        values: float32 ``[P, C]``.
        rows: int64 ``[P, k]``.

    Returns:
        ``[P, C]``; of equal neighbours the first one gets the gradient.
    """
    if torch.compiler.is_compiling() or not values.requires_grad:
        return _gathered_max(values, rows)
    return _NeighbourMax.apply(values, rows)  # type: ignore[no-any-return]


def _gathered_max(values: Tensor, rows: Tensor) -> Tensor:
    highest = values.index_select(0, rows[:, 0])
    for column in rows.unbind(1)[1:]:
        highest = torch.maximum(highest, values.index_select(0, column))
    return highest


class _NeighbourMax(torch.autograd.Function):
    """`neighbour_max` that saves one row number per result.

    Autograd would keep every intermediate maximum.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, rows: Tensor) -> Tensor:
        highest = torch.empty(len(rows), values.shape[1], dtype=values.dtype, device=values.device)
        source = torch.empty(highest.shape, dtype=torch.int64, device=values.device)
        narrow = torch.uint8 if rows.shape[1] <= 256 else torch.int32
        step = _CPU_ROWS if values.device.type == "cpu" else max(len(rows), 1)
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            best = values.index_select(0, part[:, 0])
            # The last place among the neighbours at which the maximum rose; a byte each, as memory is the limit here.
            place = torch.zeros(best.shape, dtype=narrow, device=best.device)
            for number, column in enumerate(part.unbind(1)[1:], start=1):
                candidate = values.index_select(0, column)
                rises = torch.gt(candidate, best).to(narrow)
                torch.maximum(place, rises * number, out=place)
                torch.maximum(best, candidate, out=best)
            highest[start : start + step] = best
            torch.gather(part, 1, place.long(), out=source[start : start + step])
        ctx.save_for_backward(source)
        ctx.count = len(values)
        return highest

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (source,) = ctx.saved_tensors
        (gradient,) = gradients
        return gradient.new_zeros(ctx.count, gradient.shape[1]).scatter_add_(0, source, gradient), None


def _edge_statistics(near: Tensor, own: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and (biased) variance of all edges per channel.

    Edges are ``near[j] + own[i]``; the result has a gradient.
    """
    points, neighbours = rows.shape
    edges = points * neighbours
    # Shifted close to zero mean first: the difference of two large numbers would lose the variance's digits.
    shift_near, shift_own = near.detach().mean(0), own.detach().mean(0)
    near, own = near - shift_near, own - shift_own
    chosen = torch.zeros(len(near), device=near.device)
    chosen = chosen.index_add(0, rows.flatten(), torch.ones(edges, device=near.device))
    over_neighbours = F.embedding_bag(rows, near, mode="sum")
    mean = (chosen @ near + neighbours * own.sum(0)) / edges
    square = chosen @ near.square() + 2 * (own * over_neighbours).sum(0) + neighbours * own.square().sum(0)
    variance = (square / edges - mean.square()).clamp_min(0)
    return mean + shift_near + shift_own, variance
