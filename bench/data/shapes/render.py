"""Z-buffer renderer of meshes, for pictures and scans.

It draws shaded and depth pictures, and is the virtual depth camera of the scans.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from bench.data.shapes.mesh import Floats, Ints, Mesh, face_geometry, rotation

ViewKind = Literal["shaded", "depth"]

_SUPERSAMPLING = 2
_LIGHT = np.array([0.45, 0.75, 0.5]) / np.linalg.norm([0.45, 0.75, 0.5])


def rasterise(screen: Floats, nearness: Floats, faces: Ints, size: int) -> tuple[Floats, Ints]:
    """Find the nearest face at every pixel centre.

    Spans: every (face, row) pair gets the exact interval of pixels it covers, so no pixel outside a triangle is
    ever touched.

    Args:
        screen: ``[V, 2]`` pixel coordinates, x right and y down; pixel (i, j) has its centre at (j + .5, i + .5).
        nearness: ``[V]``, larger is nearer, linear on the screen (``-z`` if orthographic, ``1 / z`` if perspective).
        faces: ``[F, 3]``.
        size: Height and width of the square image.

    Returns:
        Nearness ``[size * size]`` (``-inf`` where empty) and face index ``[size * size]`` (-1 where empty).
    """
    x, y, w = screen[:, 0][faces], screen[:, 1][faces], nearness[faces]
    dx1, dy1, dx2, dy2 = x[:, 1] - x[:, 0], y[:, 1] - y[:, 0], x[:, 2] - x[:, 0], y[:, 2] - y[:, 0]
    area = dx1 * dy2 - dx2 * dy1
    with np.errstate(divide="ignore", invalid="ignore"):
        slope_x = ((w[:, 1] - w[:, 0]) * dy2 - (w[:, 2] - w[:, 0]) * dy1) / area
        slope_y = ((w[:, 2] - w[:, 0]) * dx1 - (w[:, 1] - w[:, 0]) * dx2) / area
    top = np.minimum(np.minimum(y[:, 0], y[:, 1]), y[:, 2])  # several times faster than min over an axis of 3
    bottom = np.maximum(np.maximum(y[:, 0], y[:, 1]), y[:, 2])
    first = np.clip(np.ceil(top - 0.5), 0, size).astype(np.int64)
    last = np.clip(np.floor(bottom - 0.5), -1, size - 1).astype(np.int64)
    rows = np.where(np.abs(area) > 1e-9, np.maximum(last - first + 1, 0), 0)
    face = np.repeat(np.arange(len(faces)), rows)
    row = np.arange(len(face)) - np.repeat(np.cumsum(rows) - rows, rows) + first[face]
    left, right = _span(x[face], y[face], np.sign(area)[face], row + 0.5)
    begin = np.clip(np.ceil(left - 0.5), 0, size).astype(np.int64)
    end = np.clip(np.floor(right - 0.5), -1, size - 1).astype(np.int64)
    width = np.maximum(end - begin + 1, 0)
    base = w[face, 0] + slope_y[face] * (row + 0.5 - y[face, 0]) - slope_x[face] * x[face, 0]
    span = np.repeat(np.arange(len(face)), width)
    column = np.arange(len(span)) - np.repeat(np.cumsum(width) - width, width) + begin[span]
    value = base[span] + slope_x[face][span] * (column + 0.5)
    pixel = row[span] * size + column
    nearest = np.full(size * size, -np.inf)
    np.maximum.at(nearest, pixel, value)
    seen = np.full(size * size, -1, dtype=np.int64)
    wins = value == nearest[pixel]
    seen[pixel[wins]] = face[span[wins]]
    return nearest, seen


def _span(x: Floats, y: Floats, sign: Floats, at: Floats) -> tuple[Floats, Floats]:
    """Return the interval of x inside triangles on a line.

    The line is y = `at`; the interval is empty where left > right.
    """
    left, right = np.full(len(at), -np.inf), np.full(len(at), np.inf)
    for k in range(3):
        m = (k + 1) % 3
        a = -(y[:, m] - y[:, k]) * sign
        b = (x[:, m] - x[:, k]) * sign * (at - y[:, k])
        with np.errstate(divide="ignore", invalid="ignore"):
            bound = x[:, k] - b / a
        left = np.where(a > 0, np.maximum(left, bound), left)
        right = np.where(a < 0, np.minimum(right, bound), right)
        right = np.where((a == 0) & (b < 0), -np.inf, right)
    return left, right


def camera(azimuth: float, elevation: float) -> Floats:
    """Return the rotation ``[3, 3]`` into camera axes.

    Axes are right, up, towards the camera; angles are degrees; azimuth 0 looks at +z.
    """
    return rotation("x", elevation) @ rotation("y", -azimuth)


def view_angles(count: int, rng: np.random.Generator) -> list[tuple[float, float]]:
    """Return azimuth and elevation of viewpoints around the object.

    Each is jittered by some degrees.
    """
    angles = []
    for k in range(count):
        azimuth = 35.0 + 360.0 * k / count + rng.normal(0.0, 10.0)
        angles.append((azimuth, (20.0, 35.0, 8.0)[k % 3] + rng.uniform(-8.0, 8.0)))
    return angles


def render(
    mesh: Mesh, part: Ints, angles: list[tuple[float, float]], size: int, kind: ViewKind, tones: Floats
) -> npt.NDArray[np.uint8]:
    """Draw orthographic pictures of a mesh that fill the frame.

    Args:
        mesh: Mesh to draw.
        part: ``[F]`` part per face.
        angles: (azimuth, elevation) in degrees per view.
        size: Height and width in pixels.
        kind: ``shaded`` (Lambert on white) or ``depth`` (near is bright, empty is 0).
        tones: Grey value in (0, 1] per part, for ``shaded``.

    Returns:
        uint8 ``[V, size, size, 1]``.
    """
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    centred = mesh.vertices - (low + high) / 2
    radius = float(np.sqrt(np.einsum("ij,ij->i", centred, centred).max())) or 1.0
    normal = face_geometry(mesh)[1]
    fine = size * _SUPERSAMPLING
    views = np.empty((len(angles), size, size, 1), dtype=np.uint8)
    for k, (azimuth, elevation) in enumerate(angles):
        turn = camera(azimuth, elevation)
        seen = centred @ turn.T / (1.04 * radius)
        screen = np.stack([(seen[:, 0] + 1) * fine / 2, (1 - seen[:, 1]) * fine / 2], -1)
        nearness, face = rasterise(screen, seen[:, 2], mesh.faces, fine)
        hit = face >= 0
        picture = np.full(fine * fine, 255.0 if kind == "shaded" else 0.0)
        if kind == "shaded":
            facing = normal[face[hit]] @ turn.T
            light = facing @ _LIGHT * np.where(facing[:, 2] < 0, -1.0, 1.0)
            lit = 0.32 + 0.5 * np.maximum(light, 0) + 0.25 * np.abs(facing[:, 2])
            picture[hit] = 238.0 * tones[part[face[hit]]] * np.minimum(lit, 1.0)
        else:
            picture[hit] = 145.0 + 110.0 * nearness[hit]
        blocks = picture.reshape(size, _SUPERSAMPLING, size, _SUPERSAMPLING).mean(axis=(1, 3))
        views[k, :, :, 0] = np.clip(np.rint(blocks), 0, 255)
    return views
