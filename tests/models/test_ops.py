"""Point operations: wrong picks or distances would change every number of every method."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import UsageError
from bench.models import ops
from bench.models.ops.fps import reference_order
from bench.models.ops.knn import squared_distances


def cloud(batch: int, points: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, points, 3, generator=generator) - 0.5


def naive_fps(points: np.ndarray, count: int) -> list[int]:
    picks = [0]
    nearest = np.full(len(points), np.inf)
    for _ in range(count - 1):
        nearest = np.minimum(nearest, ((points - points[picks[-1]]) ** 2).sum(1))
        picks.append(int(nearest.argmax()))
    return picks


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(1, 3), st.integers(4, 60), st.integers(0, 99), st.data())
def test_fps_agrees_with_the_definition(batch: int, total: int, seed: int, data: st.DataObject) -> None:
    """Centres would not be the farthest points."""
    count = data.draw(st.integers(1, total))
    points = cloud(batch, total, seed)
    picks = ops.farthest_point_sample(points, count)
    assert picks.tolist() == [naive_fps(p, count) for p in points.double().numpy()]


def test_fps_is_not_changed_by_what_else_is_in_the_batch() -> None:
    """A cloud's feature would depend on its neighbours in the batch."""
    points = cloud(5, 100)
    together = ops.farthest_point_sample(points, 20)
    alone = torch.cat([ops.farthest_point_sample(p[None], 20) for p in points])
    assert torch.equal(together, alone)


def test_origin_quirk_is_off_unless_asked_for() -> None:
    """The release's blind spot around the origin would silently become the default, or not be reproducible."""
    points = torch.tensor([[[1.0, 0, 0], [0.01, 0, 0], [-1.0, 0, 0]]])
    assert ops.farthest_point_sample(points, 3).tolist() == [[0, 2, 1]]
    assert ops.farthest_point_sample(points, 3, skip_origin=True).tolist() == [[0, 2, 0]]


@pytest.mark.parametrize("total", [1, 2, 7, 8, 20, 600])
def test_reference_order_keeps_the_first_point_in_front(total: int) -> None:
    """Sampling by the released tie rule would not start at point 0, or would lose points."""
    order = reference_order(total, torch.device("cpu"))
    assert order[0] == 0
    assert sorted(order.tolist()) == list(range(total))


def test_reference_ties_follow_bit_reversed_threads() -> None:
    """Symmetric CAD shapes would be sampled unlike the release even with reference=true."""
    corners = torch.zeros(1, 8, 3)
    corners[0, [3, 4, 6]] = torch.tensor([1.0, 0, 0])  # three equally far points; threads 011, 100, 110
    assert ops.farthest_point_sample(corners, 2).tolist() == [[0, 3]]
    assert ops.farthest_point_sample(corners, 2, ties="reference").tolist() == [[0, 4]]


def test_knn_finds_the_nearest_points_and_the_centre_itself() -> None:
    """Patches would hold the wrong points."""
    points = cloud(2, 80)
    index, distance = ops.knn_with_distances(points, points[:, :9], 6, ordered=True)
    table = ((points[:, :9, None] - points[:, None]) ** 2).sum(-1)
    expected = table.sort(-1)[0][..., :6]
    torch.testing.assert_close(distance, expected)
    assert torch.equal(index[..., 0], torch.arange(9).expand(2, 9))
    expanded = ops.knn(points, points[:, :9], 6, formula="expanded")
    assert torch.equal(expanded.sort(-1)[0], index.sort(-1)[0])


@pytest.mark.parametrize("function", [ops.chamfer_l1, ops.chamfer_l2])
def test_chamfer_agrees_with_differentiating_the_full_table(function: object) -> None:
    """The shortcut through the chosen pairs would train on a wrong gradient."""
    a, b = cloud(3, 10).requires_grad_(), cloud(3, 14, seed=1).requires_grad_()
    mine = torch.autograd.grad(function(a, b), (a, b))  # type: ignore[operator]
    table = squared_distances(a, b)
    if function is ops.chamfer_l1:
        loss = (table.min(2)[0].sqrt().mean() + table.min(1)[0].sqrt().mean()) / 2
    else:
        loss = table.min(2)[0].mean() + table.min(1)[0].mean()
    for got, want in zip(mine, torch.autograd.grad(loss, (a, b)), strict=True):
        torch.testing.assert_close(got, want)


def test_chamfer_l1_has_no_nan_where_points_coincide() -> None:
    """One perfectly reconstructed point would turn all weights to NaN."""
    a = cloud(1, 5).requires_grad_()
    (gradient,) = torch.autograd.grad(ops.chamfer_l1(a, a.detach().clone()), a)
    assert torch.equal(gradient, torch.zeros_like(gradient))


def test_ignore_zeros_drops_padding_of_a_single_pair_only() -> None:
    """Padding would count as points, or a batch would be ragged."""
    a, padded = torch.ones(1, 2, 3), torch.cat([torch.ones(1, 2, 3), torch.zeros(1, 3, 3)], 1)
    assert ops.chamfer_l2(a, padded) > 0
    assert ops.chamfer_l2(a, padded, ignore_zeros=True) == 0
    assert ops.chamfer_l2(a.expand(2, -1, -1), padded.expand(2, -1, -1), ignore_zeros=True) > 0


def test_too_few_points_is_one_clear_line() -> None:
    """The user would see an index error of torch instead of what to change."""
    with pytest.raises(UsageError, match=r"has 8 points but 9 groups .*backbone\.groups"):
        ops.farthest_point_sample(cloud(1, 8), 9)
    with pytest.raises(UsageError, match=r"has 8 points but patches of 9 .*backbone\.group_size"):
        ops.knn(cloud(1, 8), cloud(1, 2), 9)
    with pytest.raises(UsageError, match=r"shape \(8, 3\), expected"):
        ops.farthest_point_sample(cloud(1, 8)[0], 2)


def test_backend_setting() -> None:
    """A forced backend would be ignored, or an impossible one accepted and recorded in the key."""
    assert ops.resolve_backend("cpu") == "torch"
    assert ops.resolve_backend("cuda:1", "torch") == "torch"
    with pytest.raises(UsageError, match=r"unknown op backend 'troch': did you mean torch"):
        ops.set_backend("troch")
    with pytest.raises(UsageError, match="pointnet2_ops"):
        ops.resolve_backend("cpu", "pointnet2_ops")
    with ops.use_backend("torch"):
        assert ops.resolve_backend("cuda") == "torch"


@pytest.mark.skipif(importlib.util.find_spec("fpsample") is None, reason="fpsample is not installed")
def test_fpsample_picks_the_same_points_and_is_never_automatic() -> None:
    """Asking for the fast sampler would change the numbers on ordinary clouds."""
    points = cloud(2, 3000)
    assert ops.resolve_backend("cpu", "auto") == "torch"
    with ops.use_backend("fpsample"):
        fast = ops.farthest_point_sample(points, 64)
    assert torch.equal(fast, ops.farthest_point_sample(points, 64, backend="torch"))


@pytest.mark.skipif(
    not torch.cuda.is_available() or importlib.util.find_spec("pointnet2_ops") is None,
    reason="needs a CUDA device and the package pointnet2_ops",
)
def test_pointnet2_ops_agrees_with_the_reference() -> None:
    """Numbers would depend on whether the CUDA package is installed."""
    points = cloud(4, 600).cuda()
    released = ops.farthest_point_sample(points, 64, skip_origin=True, ties="reference", backend="torch")
    assert torch.equal(ops.farthest_point_sample(points, 64, skip_origin=True, backend="pointnet2_ops"), released)
