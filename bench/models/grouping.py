"""Cut clouds into patches by sampling and nearest neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.models.ops import Formula, Ties, farthest_point_sample, gather_points, knn


@dataclass(frozen=True)
class Sampling:
    """Rules for choosing centres and neighbours.

    Attributes:
        skip_origin: Never pick centres within 0.0316 of the origin (quirk of the released CUDA sampler).
        ties: Which of equally far points becomes the centre.
        formula: How neighbour distances are computed.
    """

    skip_origin: bool = False
    ties: Ties = "first"
    formula: Formula = "exact"


RELEASED_POINT_MAE = Sampling(skip_origin=True, ties="reference", formula="exact")
"""Point-MAE's release: CUDA sampler, true Euclidean neighbours."""
RELEASED_RECON = Sampling(skip_origin=True, ties="reference", formula="expanded")
"""ReCon's release: CUDA sampler, neighbours by the expanded formula."""


@dataclass
class Patches:
    """Batch of clouds cut into patches.

    Attributes:
        points: Points of each patch minus its centre, ``[B, G, K, 3]``.
        centres: ``[B, G, 3]``, in the order of sampling.
    """

    points: Tensor
    centres: Tensor


@torch.no_grad()
def cut_patches(points: Tensor, groups: int, group_size: int, sampling: Sampling) -> Patches:
    """Cut clouds into patches.

    Always in float32, regardless of autocast: half precision would change which points are neighbours.

    Args:
        points: ``[B, N, 3]``.
        groups: Patches per cloud, G.
        group_size: Points per patch, K.
        sampling: Rules for centres and neighbours.

    Returns:
        The patches, without gradient.

    Raises:
        UsageError: A cloud has fewer points than groups, or than points per patch.
    """
    with torch.autocast(points.device.type, enabled=False):
        points = points.float()
        picks = farthest_point_sample(points, groups, skip_origin=sampling.skip_origin, ties=sampling.ties)
        centres = gather_points(points, picks)
        index = knn(points, centres, group_size, formula=sampling.formula)
        return Patches(gather_points(points, index) - centres[:, :, None], centres)
