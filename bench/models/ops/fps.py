"""Farthest point sampling."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from bench.errors import UsageError
from bench.models.ops.backend import resolve_backend

Ties = Literal["first", "reference"]

ORIGIN = 1e-3
"""Squared norm up to which the released CUDA sampler skips a point."""
_THREADS = 512
_UNSEEN = 1e10


@torch.no_grad()
def farthest_point_sample(
    points: Tensor,
    count: int,
    *,
    skip_origin: bool = False,
    ties: Ties = "first",
    backend: str | None = None,
) -> Tensor:
    """Pick points one by one, each farthest from those before.

    The first is number 0.

    Args:
        points: float32 ``[B, N, 3]``.
        count: How many to pick (at most N).
        skip_origin: Never pick points with squared norm <= 1e-3 (except number 0), as the released CUDA sampler does.
        ties: Which of several equally far points is picked: ``first`` the lowest number, ``reference`` the one the
            released sampler's tree reduction leaves over (bit-reversed thread number, then number).
        backend: Name of an op backend; None takes the setting of `bench.models.ops.set_backend`.

    Returns:
        int64 ``[B, count]``. Once every distance is zero, number 0 is picked again, as in the release.

    Raises:
        UsageError: Fewer points than picks.

    Source: `pointnet2_ops` ``furthest_point_sampling``; docs/reference.md#farthest-point-sampling.
    """
    if points.ndim != 3 or points.shape[2] != 3:
        raise UsageError(f"clouds have shape {tuple(points.shape)}, expected [batch, points, 3]")
    if not 1 <= count <= points.shape[1]:
        raise UsageError(
            f"a cloud has {points.shape[1]} points but {count} groups are to be sampled from it: "
            "use clouds with more points or set backbone.groups lower"
        )
    points = points.float()
    chosen = resolve_backend(points.device.type, backend)
    if chosen == "pointnet2_ops" and (skip_origin or not _any_near_origin(points)):
        # The kernel cannot be told to keep points near the origin, so clouds that have some take the reference.
        return _cuda(points, count)
    if chosen == "fpsample" and not skip_origin:
        return _fpsample(points, count)
    if ties == "first":
        return _torch(points, count, skip_origin)
    order = reference_order(points.shape[1], points.device)
    picks = _torch(points[:, order], count, skip_origin)
    return order[picks]


@lru_cache(maxsize=64)
def reference_order(count: int, device: torch.device) -> Tensor:
    """Return point numbers in the released sampler's order on ties.

    int64 ``[N]``. Point i belongs to thread ``i mod T``, T the largest power of two <= N, at most 512. The tree
    reduction keeps the thread whose number is smallest when its bits are read in reverse; within a thread the first
    point wins. Number 0 stays in front, so sampling the reordered cloud with the rule ``first`` gives the same picks.
    """
    threads = min(1 << (count.bit_length() - 1), _THREADS)
    bits = threads.bit_length() - 1
    reverse = [int(f"{t:0{bits}b}"[::-1], 2) if bits else 0 for t in range(threads)]
    order = sorted(range(count), key=lambda i: (reverse[i % threads], i))
    return torch.tensor(order, device=device)


def _torch(points: Tensor, count: int, skip_origin: bool) -> Tensor:
    batch, total, _ = points.shape
    # Coordinate planes [3, B, N] keep every step a few contiguous passes without a reduction over a short axis.
    x, y, z = points.permute(2, 0, 1).contiguous()
    nearest = torch.full((batch, total), _UNSEEN, device=points.device)
    if skip_origin:
        # -1 is below every distance, so these are never the farthest; with nothing else left argmax gives number 0.
        nearest[_near_origin(points)] = -1.0
    picks = torch.zeros(batch, count, dtype=torch.int64, device=points.device)
    latest = picks[:, :1]
    distance, delta = torch.empty_like(nearest), torch.empty_like(nearest)
    for step in range(1, count):
        torch.sub(x, x.gather(1, latest), out=delta)
        torch.mul(delta, delta, out=distance)
        for plane in (y, z):
            torch.sub(plane, plane.gather(1, latest), out=delta)
            distance.addcmul_(delta, delta)
        torch.minimum(nearest, distance, out=nearest)
        latest = nearest.argmax(dim=1, keepdim=True)
        picks[:, step] = latest[:, 0]
    return picks


def _near_origin(points: Tensor) -> Tensor:
    return points.square().sum(-1) <= ORIGIN


def _any_near_origin(points: Tensor) -> bool:
    return bool(_near_origin(points).any())


def _cuda(points: Tensor, count: int) -> Tensor:
    from pointnet2_ops import pointnet2_utils

    picks: Tensor = pointnet2_utils.furthest_point_sample(points.contiguous(), count)
    return picks.long()


def _fpsample(points: Tensor, count: int) -> Tensor:
    import fpsample
    import numpy as np

    # The package's bucketed samplers are much faster on huge clouds, but in version 1.0.2 they ignore
    # `start_idx`, so only its plain sampler gives the same picks.
    picks = [fpsample.fps_sampling(cloud, count, start_idx=0) for cloud in points.numpy()]
    return torch.from_numpy(np.stack(picks).astype(np.int64))
