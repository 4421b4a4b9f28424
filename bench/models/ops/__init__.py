"""Point operations: sampling, nearest neighbours, interpolation, Chamfer distance.

The pure torch versions are the reference and run on any device; optional backends stand behind the same
functions (see `bench.models.ops.backend`).
"""

from __future__ import annotations

from bench.models.ops.backend import BACKENDS, resolve_backend, set_backend, use_backend
from bench.models.ops.chamfer import Nearest, chamfer_l1, chamfer_l2, chamfer_nearest
from bench.models.ops.fps import Ties, farthest_point_sample
from bench.models.ops.gather import gather_points
from bench.models.ops.interpolate import interpolation_matrix
from bench.models.ops.knn import Formula, knn, knn_with_distances

__all__ = [
    "BACKENDS",
    "Formula",
    "Nearest",
    "Ties",
    "chamfer_l1",
    "chamfer_l2",
    "chamfer_nearest",
    "farthest_point_sample",
    "gather_points",
    "interpolation_matrix",
    "knn",
    "knn_with_distances",
    "resolve_backend",
    "set_backend",
    "use_backend",
]
