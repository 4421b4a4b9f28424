"""Verify recorded point operations: sampling, neighbours, Chamfer, block masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.interop.comparison import ARRAY, EXACT, Comparison
from bench.models.masking import block_mask, masked_count
from bench.models.ops import (
    chamfer_l1,
    chamfer_l2,
    chamfer_nearest,
    farthest_point_sample,
    gather_points,
    knn_with_distances,
)

Floats = npt.NDArray[np.float64]


def verify_fps_knn(comparison: Comparison, config: dict[str, Any]) -> None:
    """Compare sampling and grouping on every recorded case."""
    for case in config["cases"]:
        name, groups, size = case["name"], int(case["G"]), int(case["K"])
        points = _tensor(comparison, f"in/{name}.xyz")
        released = farthest_point_sample(points, groups, skip_origin=True, ties="reference", backend="torch")
        plain = farthest_point_sample(points, groups, ties="reference", backend="torch")
        centres = gather_points(points, released)
        comparison.array(f"out/{name}.fps_idx", released.numpy(), EXACT)
        comparison.array(f"out/{name}.fps_idx_without_origin_skip", plain.numpy(), EXACT)
        comparison.array(f"out/{name}.center", centres.numpy(), EXACT)
        _verify_neighbours(comparison, name, points, centres, size)


def _verify_neighbours(comparison: Comparison, name: str, points: Tensor, centres: Tensor, size: int) -> None:
    """Compare neighbours, sorted by distance, then by number."""
    index = knn_with_distances(points, centres, size)[0].numpy()
    cloud, centre = points.double().numpy(), centres.double().numpy()
    table = np.square(centre[:, :, None] - cloud[:, None]).sum(-1)
    distance = np.take_along_axis(table, index, axis=2)
    order = np.lexsort((index, distance))
    index, distance = np.take_along_axis(index, order, 2), np.take_along_axis(distance, order, 2)
    ranked = np.sort(table, axis=2)
    gap = ranked[:, :, size] - ranked[:, :, size - 1] if ranked.shape[2] > size else np.full(ranked.shape[:2], np.inf)
    comparison.array(f"out/{name}.knn_sqdist", distance, ARRAY)
    comparison.array(f"out/{name}.knn_boundary_gap", gap, ARRAY)
    key = f"out/{name}.knn_idx"
    if comparison.has(key) and comparison.recorded[key].shape == index.shape:
        # If the next point is equally far as the last neighbour, the set is not unique; then compare distances.
        index = np.where((gap > 0)[:, :, None], index, comparison.recorded[key])
    comparison.array(key, index, EXACT)
    key = f"out/{name}.neighborhood"
    if comparison.has(key):
        patches = gather_points(points, torch.from_numpy(index)) - centres[:, :, None]
        comparison.recorded[key] = sorted_patches(comparison.recorded[key])
        comparison.array(key, sorted_patches(patches.numpy()), ARRAY)


def sorted_patches(patches: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Sort the points ``[..., K, 3]`` of every patch.

    By x, y, z, because their order is arbitrary.
    """
    order = np.lexsort((patches[..., 2], patches[..., 1], patches[..., 0]))
    return np.take_along_axis(patches, order[..., None], axis=-2)


def verify_chamfer(comparison: Comparison, config: dict[str, Any]) -> None:
    """Compare both Chamfer losses and their gradients.

    The padded forms and the tables of neighbours are compared, too.
    """
    pairs = {
        "": ("in/xyz1", "in/xyz2", False),
        "_padded": ("in/padded1", "in/padded2", False),
        "_padded_ignore_zeros": ("in/padded1", "in/padded2", True),
    }
    for form, (first, second, ignore_zeros) in pairs.items():
        for name, function in (("l1", chamfer_l1), ("l2", chamfer_l2)):
            a, b = _tensor(comparison, first).requires_grad_(), _tensor(comparison, second).requires_grad_()
            loss = function(a, b, ignore_zeros=ignore_zeros)
            _compare_with_gradients(comparison, f"out/{name}{form}", loss, a, b)
            for side, points in ((1, a), (2, b)):
                # Where the gradient of the release's square root is infinite, ours must be zero.
                key = f"out/{name}{form}.grad{side}_is_nan"
                if comparison.has(key):
                    comparison.array(key, _coincident(a, b, side).numpy(), EXACT)
                    assert points.grad is not None
                    if bool(points.grad.isnan().any()):
                        comparison.fail(f"{key}: our gradient has NaN")
    a, b = _tensor(comparison, "in/xyz1").requires_grad_(), _tensor(comparison, "in/xyz1").requires_grad_()
    _compare_with_gradients(comparison, "out/l2_identical", chamfer_l2(a, b), a, b)
    near = chamfer_nearest(_tensor(comparison, "in/xyz1"), _tensor(comparison, "in/xyz2"))
    comparison.array("out/sqdist1", near.distance1.numpy())
    comparison.array("out/sqdist2", near.distance2.numpy())
    comparison.array("out/nearest1", near.index1.numpy(), EXACT)
    comparison.array("out/nearest2", near.index2.numpy(), EXACT)
    comparison.array("out/l2_split.a", near.distance1.mean().numpy())
    comparison.array("out/l2_split.b", near.distance2.mean().numpy())


def _compare_with_gradients(comparison: Comparison, name: str, loss: Tensor, a: Tensor, b: Tensor) -> None:
    loss.backward()  # type: ignore[no-untyped-call]
    assert a.grad is not None
    assert b.grad is not None
    comparison.array(name, loss.detach().numpy())
    comparison.array(f"{name}.grad1", a.grad.numpy())
    comparison.array(f"{name}.grad2", b.grad.numpy())


def _coincident(a: Tensor, b: Tensor, side: int) -> Tensor:
    """Return where the release's gradient is NaN.

    Returns bool ``[P, n, 3]``. The gradient is that of a square root at distance zero, with respect to one side. A zero
    distance affects both points of the pair.
    """
    near = chamfer_nearest(a.detach(), b.detach())
    own, other, index = (
        (near.distance1, near.distance2, near.index2) if side == 1 else (near.distance2, near.distance1, near.index1)
    )
    spoiled = (own == 0).float().scatter_add(1, index, (other == 0).float())
    return (spoiled > 0)[..., None].expand(-1, -1, 3)


def verify_block_mask(comparison: Comparison, config: dict[str, Any]) -> None:
    """Compare masks of the patches closest to a recorded centre."""
    count = masked_count(int(config["num_group"]), float(config["mask_ratio"]))
    mask = block_mask(_tensor(comparison, "in/center"), _tensor(comparison, "in/start_index"), count)
    comparison.array("out/mask", mask.numpy(), EXACT)


def _tensor(comparison: Comparison, name: str) -> Tensor:
    return torch.from_numpy(comparison.recorded[name].copy())
