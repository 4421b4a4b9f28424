"""Training clouds with more points than an encoder sees.

Each training step draws the encoder's points from them.

The fair form cuts a cloud to them once, by farthest point sampling from its first point. The releases shuffle a cloud
whenever it is looked at and cut it then, so that all its points are seen in time (docs/reference.md#fine-tuning).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.data.transforms import Transform
from bench.models.ops.gather import gather_points
from bench.protocols.base import Task
from bench.protocols.features import farthest_points, prepared_clouds
from bench.recipes.downstream import MANY
from bench.upload import upload

_OVERSAMPLING = 1200 / 1024


@dataclass(frozen=True)
class DenseClouds:
    """Training clouds, and the transform applied before points are drawn.

    Attributes:
        points: float32 ``[n, M, 3]``.
        cut: Brings clouds ``[B, M, 3]`` to the points that a step draws from; None where they are there already.
    """

    points: npt.NDArray[np.float32]
    cut: Transform | None


def dense_points(points: int) -> int:
    """Return how many points each step draws from (docs/reference.md#fine-tuning)."""
    return points if points >= MANY else int(np.ceil(_OVERSAMPLING * points))


def dense_clouds(task: Task, *, normalise: bool) -> DenseClouds:
    """Return a task's training clouds, prepared for its form.

    Args:
        task: The task.
        normalise: Centre each cloud and scale it into the unit sphere first.

    Raises:
        SetupError: The cache cannot be written.
    """
    count, stored = dense_points(task.points), task.train.points.shape[1]
    if task.form != "published" or stored <= count:
        return DenseClouds(prepared_clouds(task, "train", normalise=normalise, count=count), None)
    whole = prepared_clouds(task, "train", normalise=normalise, count=stored)
    return DenseClouds(whole, shuffled_cut(count, task))


def shuffled_cut(count: int, task: Task) -> Transform:
    """Return the releases' transform: shuffle, then farthest point sampling."""

    def cut(points: Tensor, generator: torch.Generator) -> Tensor:
        order = torch.rand(points.shape[:2], generator=generator, device=generator.device).argsort(1)
        return farthest_points(gather_points(points, upload(order, points.device)), count, task)

    return cut
