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
    centred = points - points.mean(axis=-2, keepdims=True)
    radius = np.sqrt(np.square(centred).sum(axis=-1, keepdims=True).max(axis=-2, keepdims=True))
    return np.asarray(centred / np.where(radius > 0, radius, 1), dtype=np.float32)
