"""Depth pictures of clouds, for data sets without images.

A vectorised z-buffer: each pixel keeps its nearest point, and every point is then spread over a small disc (by a
maximum over the disc, which equals the z-buffer of discs), so that 2,048 points give a closed surface.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from bench.data.base import CloudSet
from bench.data.normalise import normalise_unit_sphere
from bench.progress import Progress, silent

VIEWS_KIND = "depth-of-points"
REVISION = 1
"""Raised whenever the same cloud would give another picture; belongs in keys of what is computed from pictures."""

NEAREST, FARTHEST = 255, 64
"""Grey of the nearest and of the farthest point of the unit sphere; the background is 0."""
_BLOCK = 128


def view_rotations(views: int) -> npt.NDArray[np.float32]:
    """Return the fixed viewpoints, rotations ``[V, 3, 3]``.

    Rows are the picture's right, up and towards-the-viewer axes. The first looks from the front right and 25 degrees
    above; the others go round the object in equal steps, every second one from 25 degrees above and the rest from the
    horizon.
    """
    rotations = []
    for view in range(views):
        azimuth = math.radians(35) + 2 * math.pi * view / views
        elevation = math.radians(25 if view % 2 == 0 else 0)
        toward = np.array(
            [math.sin(azimuth) * math.cos(elevation), math.sin(elevation), math.cos(azimuth) * math.cos(elevation)]
        )
        right = np.array([math.cos(azimuth), 0.0, -math.sin(azimuth)])
        rotations.append(np.stack([right, np.cross(toward, right), toward]))
    return np.asarray(rotations, dtype=np.float32).reshape(views, 3, 3)


def depth_views(
    points: npt.NDArray[np.float32], views: int = 1, size: int = 64, progress: Progress = silent
) -> npt.NDArray[np.uint8]:
    """Render clouds as orthographic depth pictures.

    Each cloud is first normalised to the unit sphere.

    Args:
        points: float32 ``[n, N, 3]``, y up.
        views: Number of viewpoints V (see `view_rotations`).
        size: Height and width H = W of a picture in pixels.
        progress: Called with clouds done and clouds in all.

    Returns:
        uint8 ``[n, V, H, W, 1]``; 0 is background, brighter is nearer.
    """
    pictures = np.zeros((len(points), views, size, size, 1), dtype=np.uint8)
    rotations = view_rotations(views)
    radius = _splat_radius(points.shape[1], size)
    for start in range(0, len(points), _BLOCK):
        block = normalise_unit_sphere(np.asarray(points[start : start + _BLOCK], dtype=np.float32))
        for view, rotation in enumerate(rotations):
            pictures[start : start + len(block), view, :, :, 0] = _render(block @ rotation.T, size, radius)
        progress(start + len(block), len(points))
    return pictures


def _splat_radius(count: int, size: int) -> float:
    """Return the disc radius in pixels that closes the surface.

    It assumes that `count` points fill about half of the picture.
    """
    return min(max(1.45 * math.sqrt(0.5 * size * size / count), 1.0), size / 8)


def _render(seen: npt.NDArray[np.float32], size: int, radius: float) -> npt.NDArray[np.uint8]:
    """Draw clouds ``[n, N, 3]``, already rotated to the viewer.

    The result is uint8 ``[n, size, size]``.
    """
    disc = _disc(radius)
    edge = 2 * max(dx for _, dx in disc)
    canvas = size + 2 * edge
    scale = (size - edge - 1) / 2
    column = np.rint(seen[..., 0] * scale + (canvas - 1) / 2).astype(np.int64)
    row = np.rint((canvas - 1) / 2 - seen[..., 1] * scale).astype(np.int64)
    grey = np.rint(FARTHEST + (NEAREST - FARTHEST) * (seen[..., 2] + 1) / 2).clip(1, 255).astype(np.uint8)
    cloud = np.arange(len(seen), dtype=np.int64)[:, None]
    nearest = np.zeros(len(seen) * canvas * canvas, dtype=np.uint8)
    np.maximum.at(nearest, ((cloud * canvas + row) * canvas + column).ravel(), grey.ravel())
    picture = _over_disc(np.maximum, nearest.reshape(len(seen), canvas, canvas), disc)
    # A morphological closing by the same disc fills the remaining pinholes without moving outlines.
    picture = _over_disc(np.minimum, _over_disc(np.maximum, picture, disc), disc)
    return picture[:, edge:-edge, edge:-edge]


def _disc(radius: float) -> list[tuple[int, int]]:
    reach = range(-int(radius), int(radius) + 1)
    return [(dy, dx) for dy in reach for dx in reach if dy * dy + dx * dx <= radius * radius]


def _over_disc(
    extreme: np.ufunc, pictures: npt.NDArray[np.uint8], disc: list[tuple[int, int]]
) -> npt.NDArray[np.uint8]:
    """Apply a minimum or maximum over a disc to pictures.

    The border has to be background, as wide as two discs.
    """
    result = pictures.copy()
    for shift in disc:
        extreme(result, np.roll(pictures, shift, axis=(1, 2)), out=result)
    return result


def with_views(clouds: CloudSet, views: int = 1, size: int = 64, progress: Progress = silent) -> CloudSet:
    """Add depth pictures to clouds without images.

    Their kind is ``depth-of-points``. A set that has images is returned as it is. The pictures are not cached: drawing
    them takes about as long as reading them (0.1 ms a picture), and teachers cache what they compute from them.

    Args:
        clouds: The set.
        views: Number of viewpoints.
        size: Height and width in pixels.
        progress: Called with clouds done and clouds in all.
    """
    if clouds.views is not None:
        return clouds
    return replace(clouds, views=depth_views(clouds.points, views, size, progress), views_kind=VIEWS_KIND)
