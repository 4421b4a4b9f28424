"""Normalise clouds to the unit sphere, in NumPy.

The tensor form is in `bench.data.transforms`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def normalise_unit_sphere(points: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Centre each cloud on its mean, with radius 1.

    The field does so to ModelNet40 and ShapeNet before a network sees them (``pc_normalize`` of the PointNet++ code
    line; docs/data-formats.md#modelnet40-as-text). A cloud whose points all coincide ends up at the origin.

    Args:
        points: float32 ``[..., N, 3]``; not changed.

    Returns:
        float32 ``[..., N, 3]``.
    """
    centre, radius = sphere_of(points)
    return np.asarray((points - centre) / radius, dtype=np.float32)


def sphere_of(points: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return mean ``[..., 1, 3]`` and radius ``[..., 1, 1]`` of each cloud.

    The radius is the distance of the farthest point from the mean; 1 where all points coincide.
    """
    centre = points.mean(axis=-2, keepdims=True)
    radius = np.sqrt(np.square(points - centre).sum(axis=-1, keepdims=True).max(axis=-2, keepdims=True))
    return centre, np.where(radius > 0, radius, np.ones_like(radius))
