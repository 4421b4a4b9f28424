"""Triangulate faces with any number of corners."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.errors import DataError

_AGAIN = "copy or download it again"


def triangulated(
    faces: Sequence[Sequence[int]] | npt.NDArray[np.int64], vertices: npt.NDArray[np.float64], path: Path
) -> npt.NDArray[np.int64]:
    """Return triangles of faces with any number of corners.

    In this order: triangles, quadrilaterals, other faces. A quadrilateral is cut from its first to its third corner. A
    face with more corners becomes a fan around the first corner for which no triangle is flipped, so that many concave
    faces are right, too. Faces with one or two corners are left out.

    Args:
        faces: Positions of each face's corners.
        vertices: float64 ``[V, 3]``.
        path: The file, for messages.

    Returns:
        int64 ``[F, 3]``.

    Raises:
        DataError: A face names a missing vertex, or no fan fits it.
    """
    by_count: dict[int, list[int]] = {}
    for place, face in enumerate(faces):
        by_count.setdefault(len(face), []).append(place)
    corners = {n: np.asarray([faces[i] for i in places], dtype=np.int64) for n, places in by_count.items() if n > 2}
    for count, rows in corners.items():
        outside = np.argwhere((rows < 0) | (rows >= len(vertices)))
        if len(outside):
            row, column = (int(i) for i in outside[0])
            raise DataError(
                f"{path}: face {by_count[count][row]} names vertex {rows[row, column]}, there are {len(vertices)} "
                f"(from 0); {_AGAIN}"
            )
    found = [corners.get(3, np.empty((0, 3), np.int64))]
    if 4 in corners:
        found += [corners[4][:, [0, 1, 2]], corners[4][:, [2, 3, 0]]]
    for count in sorted(n for n in corners if n > 4):
        for place, face in zip(by_count[count], corners[count], strict=True):
            fan = _fan(face, vertices)
            if fan is None:
                raise DataError(
                    f"{path}: face {place} has {count} corners and cannot be cut into triangles; triangulate it first"
                )
            found.append(fan)
    return np.concatenate(found)


def _fan(face: npt.NDArray[np.int64], vertices: npt.NDArray[np.float64]) -> npt.NDArray[np.int64] | None:
    for start in range(len(face)):
        turned = np.roll(face, -start)
        fan = np.stack([np.broadcast_to(turned[0], len(face) - 2), turned[1:-1], turned[2:]], axis=1)
        a, b, c = (vertices[fan[:, i]] for i in range(3))
        normals = np.cross(b - a, c - a)
        facing = normals @ normals.sum(axis=0)
        if (facing >= -1e-9 * max(float(np.abs(facing).max()), 1e-300)).all():
            return fan
    return None
