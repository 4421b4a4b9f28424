"""Teacher features of depth views of clouds.

Views are rendered and encoded in batches.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, JsonValue

from bench.data.depth import depth_views
from bench.errors import UsageError
from bench.fingerprint import fingerprint
from bench.progress import Progress, silent
from bench.spec import Frozen
from bench.teachers.base import Teacher
from bench.teachers.features import Features, encode_once

_CLOUDS = 64
"""Number of clouds whose pictures are in memory at once."""


class Rendering(Frozen):
    """Options of depth views and the fusion of their scores."""

    views: int = Field(6, ge=1, le=1_000)
    """Viewpoints around the object (see `bench.data.depth.view_rotations`)."""
    size: int = Field(64, ge=8, le=1_024)
    """Height and width of a picture in pixels; the teacher's own preprocessing scales it."""
    weights: Literal["uniform", "chosen"] = "uniform"
    """Weights of the views: all alike, or chosen on validation, as PointCLIP tunes them."""


def depth_features(
    teacher: Teacher,
    points: npt.NDArray[np.float32],
    clouds_key: str,
    rendering: Rendering,
    cache_folder: Path,
    progress: Progress = silent,
) -> Features:
    """Return cached features of depth views of clouds.

    Args:
        teacher: A teacher of images; it is prepared only if something has to be computed.
        points: Clouds ``[n, N, 3]``, y up.
        clouds_key: Identity of the clouds.
        rendering: Number and size of the pictures.
        cache_folder: Folder for caches; the file goes to its ``features``.
        progress: Called with (pictures done, pictures in all) while features are computed; not on a hit.

    Returns:
        float32 ``[n, V, teacher.image_dim]``; read-only, memory-mapped.

    Raises:
        UsageError: The teacher knows no images.
        SetupError: The cache cannot be written.
    """
    if not teacher.image_dim:
        raise UsageError(f"teacher '{teacher.name}' gives no features of images: choose another with --teacher")
    views = rendering.views
    facts: dict[str, JsonValue] = {
        "kind": "depth-views",
        "teacher": teacher.identity(),
        "clouds": clouds_key,
        "objects": len(points),
        "views": views,
        "size": rendering.size,
        "code": _code(),
    }

    def encode(start: int, stop: int, report: Progress) -> Features:
        parts = []
        first, last = start // views, -(-stop // views)
        for begin in range(first, last, _CLOUDS):
            end = min(begin + _CLOUDS, last)
            pictures = depth_views(np.asarray(points[begin:end], np.float32), views, rendering.size)
            parts.append(teacher.encode_images(pictures.reshape(-1, *pictures.shape[2:])))
            report((end - first) * views, (last - first) * views)
        return np.concatenate(parts)[start - first * views : stop - first * views]

    rows = len(points) * views
    features = encode_once(teacher, "depth", facts, rows, teacher.image_dim, encode, cache_folder, progress)
    return features.reshape(len(points), views, teacher.image_dim)


@cache
def _code() -> str:
    """Return the digest of the code that renders depth views."""
    return fingerprint(["bench.data.depth"]).digest
