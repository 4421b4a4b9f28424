"""Augmentations of batches of clouds, on their device.

Every transform takes points ``[B, N, 3]`` and a `torch.Generator` and returns new points. Random numbers are drawn
on the generator's device and moved, so a CPU generator gives the same augmentation on every device. This is the
one module of `bench.data` that imports torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor

from bench.errors import DataError, unknown_name
from bench.upload import upload

Transform = Callable[[Tensor, Generator], Tensor]


def _uniform(shape: tuple[int, ...], low: float, high: float, points: Tensor, generator: Generator) -> Tensor:
    drawn = torch.rand(shape, generator=generator, device=generator.device)
    return upload((drawn * (high - low) + low).to(points.dtype), points.device)


def _normal(shape: tuple[int, ...], points: Tensor, generator: Generator) -> Tensor:
    drawn = torch.randn(shape, generator=generator, device=generator.device)
    return upload(drawn.to(points.dtype), points.device)


def rotate_y(points: Tensor, generator: Generator) -> Tensor:
    """Rotate each cloud about y by a uniform angle.

    ``p' = p R``. Source: docs/reference.md#recon-pretraining.
    """
    angle = _uniform((len(points),), 0.0, 2 * math.pi, points, generator)
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    x, y, z = points.unbind(-1)
    return torch.stack((cos * x - sin * z, y, sin * x + cos * z), dim=-1)


def rotate_so3(points: Tensor, generator: Generator) -> Tensor:
    """Rotate each cloud uniformly in SO(3).

    The rotation is a normalised Gaussian quaternion.
    """
    drawn = _normal((len(points), 4), points, generator)
    w, x, y, z = torch.nn.functional.normalize(drawn, dim=1).unbind(1)
    rows = (
        torch.stack((1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)), dim=1),
        torch.stack((2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)), dim=1),
        torch.stack((2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)), dim=1),
    )
    return torch.bmm(points, torch.stack(rows, dim=1))


def scale_translate(points: Tensor, generator: Generator) -> Tensor:
    """Scale axes by U(2/3, 3/2), shift them by U(-0.2, 0.2).

    Drawn per cloud and axis. Source: docs/reference.md#point-mae-pretraining.
    """
    scale = _uniform((len(points), 1, 3), 2 / 3, 3 / 2, points, generator)
    shift = _uniform((len(points), 1, 3), -0.2, 0.2, points, generator)
    return points * scale + shift


def scale_axes(points: Tensor, generator: Generator) -> Tensor:
    """Scale each axis by U(2/3, 3/2), per cloud (docs/reference.md#voting)."""
    return points * _uniform((len(points), 1, 3), 2 / 3, 3 / 2, points, generator)


def isotropic_scale(points: Tensor, generator: Generator) -> Tensor:
    """Scale each cloud by U(0.8, 1.25) (docs/reference.md#part-segmentation).

    The factor is the same on every axis.
    """
    return points * _uniform((len(points), 1, 1), 0.8, 1.25, points, generator)


def shift_tenth(points: Tensor, generator: Generator) -> Tensor:
    """Shift each axis by U(-0.1, 0.1), per cloud (docs/reference.md#part-segmentation)."""
    return points + _uniform((len(points), 1, 3), -0.1, 0.1, points, generator)


def scale_half_to_double(points: Tensor, generator: Generator) -> Tensor:
    """Scale each cloud by U(0.5, 2) (docs/reference.md#crosspoint-augmentation).

    The factor is the same on every axis.
    """
    return points * _uniform((len(points), 1, 1), 0.5, 2.0, points, generator)


def translate_by_extent(points: Tensor, generator: Generator) -> Tensor:
    """Shift axes by U(-0.5, 0.5) of their extent (docs/reference.md#crosspoint-augmentation)."""
    extent = points.amax(1, keepdim=True) - points.amin(1, keepdim=True)
    return points + _uniform((len(points), 1, 3), -0.5, 0.5, points, generator) * extent


def jitter(points: Tensor, generator: Generator) -> Tensor:
    """Add Gaussian noise of deviation 0.01, cut at 0.05 (PointNet++)."""
    noise = _normal(tuple(points.shape), points, generator)
    return points + (0.01 * noise).clamp_(-0.05, 0.05)


def drop_to_first(points: Tensor, generator: Generator) -> Tensor:
    """Replace random points of a cloud by its first (PointNet++).

    The share is drawn from U(0, 0.875). Every point is replaced independently with that probability; the number of
    points stays the same (docs/reference.md#crosspoint-augmentation).
    """
    share = _uniform((len(points), 1), 0.0, 0.875, points, generator)
    dropped = _uniform((len(points), points.shape[1]), 0.0, 1.0, points, generator) < share
    return torch.where(dropped[..., None], points[:, :1], points)


def unit_sphere(points: Tensor, generator: Generator | None = None) -> Tensor:
    """Centre each cloud and scale it to radius 1.

    Draws no random numbers. The tensor form of `bench.data.normalise.normalise_unit_sphere`.
    """
    centred = points - points.mean(dim=1, keepdim=True)
    radius = centred.square().sum(-1).amax(1).sqrt()[:, None, None]
    return centred / torch.where(radius > 0, radius, torch.ones_like(radius))


TRANSFORMS: dict[str, Transform] = {
    "drop_to_first": drop_to_first,
    "isotropic_scale": isotropic_scale,
    "jitter": jitter,
    "rotate_so3": rotate_so3,
    "rotate_y": rotate_y,
    "scale_axes": scale_axes,
    "scale_half_to_double": scale_half_to_double,
    "scale_translate": scale_translate,
    "shift_tenth": shift_tenth,
    "translate_by_extent": translate_by_extent,
    "unit_sphere": unit_sphere,
}


def compose(names: Sequence[str]) -> Transform:
    """Compose transforms by name, first name first.

    No names give the identity.

    Raises:
        UsageError: A name is unknown; the message suggests similar ones.
    """
    for name in names:
        if name not in TRANSFORMS:
            raise unknown_name("augmentation", name, TRANSFORMS)
    chain = [TRANSFORMS[name] for name in names]

    def apply(points: Tensor, generator: Generator) -> Tensor:
        for transform in chain:
            points = transform(points, generator)
        return points

    return apply


def subsample(points: Tensor, count: int, generator: Generator, common: bool = False) -> Tensor:
    """Draw `count` points of each cloud, without replacement.

    In random order.

    Args:
        points: ``[B, N, 3]``.
        count: Points to keep, at most N. With ``count == N`` the points are only put in a new order.
        generator: Source of the draw.
        common: Whether every cloud of the batch keeps the same positions, as in the released fine-tuning loops
            (docs/reference.md#fine-tuning).

    Returns:
        ``[B, count, 3]``.

    Raises:
        DataError: The clouds have fewer than `count` points.
    """
    batch, available, _ = points.shape
    if not 0 < count <= available:
        raise DataError(
            f"clouds have {available} points, {count} are wanted; expected between 1 and {available}: "
            "lower backbone.points or use denser clouds"
        )
    if common or count == available:
        order = torch.randperm(available, generator=generator, device=generator.device)[:count]
        return points.index_select(1, upload(order, points.device))
    keys = torch.rand((batch, available), generator=generator, device=generator.device)
    kept = keys.topk(count, dim=1, sorted=False).indices
    # An unsorted topk prefers some positions for its first entries, and FPS starts at the first point: so start
    # each cloud at a random entry.
    start = torch.randint(count, (batch, 1), generator=generator, device=generator.device)
    kept = upload(kept.gather(1, (start + torch.arange(count, device=generator.device)) % count), points.device)
    # One flat index_select is several times faster than gather along a short last axis.
    flat = kept + torch.arange(batch, device=points.device)[:, None] * available
    return points.reshape(batch * available, 3).index_select(0, flat.reshape(-1)).view(batch, count, 3)
