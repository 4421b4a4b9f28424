"""Batched row selection."""

from __future__ import annotations

from torch import Tensor


def gather_points(values: Tensor, index: Tensor) -> Tensor:
    """Return rows of each sample.

    Args:
        values: ``[B, N, ...]``.
        index: int64 ``[B, ...]`` row numbers into the second axis.

    Returns:
        ``[B, *index.shape[1:], *values.shape[2:]]``.
    """
    batch = values.shape[0]
    tail = values.shape[2:]
    flat = index.reshape(batch, -1, *([1] * len(tail))).expand(-1, -1, *tail)
    return values.gather(1, flat).reshape(*index.shape, *tail)
