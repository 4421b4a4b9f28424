"""Virtual depth camera for partial, cluttered scans of objects.

One view of an object among others, similar to ScanObjectNN's clouds. The scene often has a floor, a wall and other
objects beside or in front of the object. Every pixel of the depth image is one point; sensor noise moves it along its
ray, density varies over the surface, and an inexact box around the object cuts the cloud, so that some background
remains.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.data.shapes.mesh import Floats, Ints, Mesh, face_geometry, join
from bench.data.shapes.objects import Thing, categories, cloud_of, make_thing, turned, unit_sphere
from bench.data.shapes.render import camera, rasterise

BACKGROUND = -1
"""Part id of points that are not on the object."""

_PIXELS = 128
_FRAME = 1.25
_NEAR = 0.2
_FEWEST = 150
_MOST_BACKGROUND = 0.5


@dataclass(frozen=True)
class _Scene:
    """Meshes that the camera sees.

    The object's `own` vertices come first, then its surroundings (part -1).
    """

    mesh: Mesh
    part: Ints
    own: int
    low: Floats
    high: Floats


def scan_of(
    thing: Thing, name: str, index: int, count: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], Ints]:
    """Scan an object from one random viewpoint.

    Args:
        thing: The object.
        name: Stream of the object; its surroundings have a separate stream.
        index: Position in the stream.
        count: Number of points.
        rng: Draws the scene, the camera and the noise.

    Returns:
        Points in the unit sphere ``[count, 3]`` (y up, arbitrary yaw), normals, part per point (-1: background).
    """
    for clutter in (True, True, False):
        scene = _compose(thing, name, index, rng, clutter)
        eye, turn = _camera(rng)
        points, normals, part = _shoot(scene, eye, turn, rng)
        keep = _crop(points, scene, rng) & _density(points, normals, eye, rng)
        points, normals, part = points[keep], normals[keep], part[keep]
        if np.count_nonzero(part >= 0) >= (_FEWEST if clutter else 1):
            break
    else:  # thinner than a pixel from here
        return cloud_of(thing, count, rng)
    chosen = _choose(part, count, rng)
    points, normals, part = points[chosen], normals[chosen], part[chosen]
    ray = points - eye
    depth = np.linalg.norm(ray, axis=1, keepdims=True)
    noise = rng.normal(0.0, rng.uniform(0.003, 0.02), (count, 1)) * (depth / 4.0) ** 2
    points = points + ray / depth * noise + rng.normal(0.0, 0.004, (count, 3))
    return unit_sphere(points), normals.astype(np.float32), part


def _fitted(thing: Thing, radius: float, yaw: float, tilt: float = 0.0) -> Mesh:
    """Return the mesh scaled, rotated and set on y=0.

    `radius` is its bounding radius.
    """
    mesh = turned(thing.mesh, (tilt, 0.0, yaw))
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    centre = (low + high) / 2
    scale = radius / max(float(np.linalg.norm(high - low)) / 2, 1e-6)
    return Mesh((mesh.vertices - (centre[0], low[1], centre[2])) * scale, mesh.faces)


def _plane(width: float, depth: float) -> Mesh:
    """Return a horizontal grid of 6 x 6 squares.

    It lies on y = 0, centred at the origin."""
    x, z = np.meshgrid(np.linspace(-width / 2, width / 2, 7), np.linspace(-depth / 2, depth / 2, 7))
    vertices = np.stack([x, 0 * x, z], -1).reshape(-1, 3)
    corner = (np.arange(6)[:, None] * 7 + np.arange(6)).reshape(-1, 1)
    return Mesh(vertices, np.concatenate([corner + np.array([0, 1, 8]), corner + np.array([0, 8, 7])]))


def _compose(thing: Thing, name: str, index: int, rng: np.random.Generator, clutter: bool) -> _Scene:
    """Build the scene around the object.

    The camera looks along -z."""
    target = _fitted(thing, 1.0, rng.uniform(0, 360), rng.normal(0.0, 4.0))
    low, high = target.vertices.min(axis=0), target.vertices.max(axis=0)
    others: list[Mesh] = []
    if rng.random() < 0.75:
        others.append(_plane(4.5, 4.5).move(y=-0.005))
    if rng.random() < 0.45:
        wall = _plane(5.0, 4.0).turn("x", 90).move(y=1.5, z=low[2] - rng.uniform(0.02, 0.6))
        others.append(wall.turn("y", rng.uniform(-25, 25)))
    if clutter:
        kinds = categories("seen")
        places: list[tuple[float, float, float]] = []
        if rng.random() < 0.6:
            places.append((rng.uniform(-0.9, 0.9), high[2] + rng.uniform(0.1, 0.6), rng.uniform(0.25, 0.6)))
        for side in (-1, 1):
            if rng.random() < 0.4:
                places.append((side * (high[0] + rng.uniform(0.1, 0.6)), rng.uniform(-0.8, 0.5), rng.uniform(0.4, 0.9)))
        for k, (x, z, radius) in enumerate(places):
            kind = kinds[int(rng.integers(len(kinds)))]
            other = make_thing(f"{name}/surroundings", 8 * index + k, kind)
            others.append(_fitted(other, radius, rng.uniform(0, 360)).move(x=x, z=z))
    mesh = join(target, *others)
    part = np.full(len(mesh.faces), BACKGROUND, dtype=np.int64)
    part[: len(thing.part)] = thing.part
    return _Scene(mesh, part, len(target.vertices), low, high)


def _camera(rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return a random camera: position, and rotation into its axes.

    It looks roughly at the object.
    """
    elevation, azimuth, distance = rng.uniform(5, 45), rng.uniform(-20, 20), rng.uniform(3.2, 5.5)
    turn = camera(azimuth, elevation)
    aim = np.array([rng.uniform(-0.15, 0.15), rng.uniform(0.3, 0.7), rng.uniform(-0.15, 0.15)])
    return aim + distance * turn[2], turn


def _shoot(scene: _Scene, eye: Floats, turn: Floats, rng: np.random.Generator) -> tuple[Floats, Floats, Ints]:
    """Render a depth image and return its points.

    With normals and parts, in the scene's axes; the image is framed on the object.
    """
    seen = (scene.mesh.vertices - eye) @ turn.T
    depth = np.maximum(-seen[:, 2], _NEAR)
    faces = scene.mesh.faces
    ahead = -seen[:, 2] > _NEAR
    front = ahead[faces[:, 0]] & ahead[faces[:, 1]] & ahead[faces[:, 2]]
    slope = seen[:, :2] / depth[:, None] * (1.0, -1.0)
    low, high = slope[: scene.own].min(axis=0), slope[: scene.own].max(axis=0)
    focal = _PIXELS / (_FRAME * float((high - low).max()))
    middle = _PIXELS / 2 - focal * (low + high) / 2 + rng.uniform(-0.5, 0.5, 2)
    screen = middle + focal * slope
    nearness, face = rasterise(screen, 1.0 / depth, faces[front], _PIXELS)
    hit = np.flatnonzero(face >= 0)
    face = np.flatnonzero(front)[face[hit]]
    z = 1.0 / nearness[hit]
    x = (hit % _PIXELS + 0.5 - middle[0]) / focal * z
    y = (middle[1] - (hit // _PIXELS + 0.5)) / focal * z
    points = np.stack([x, y, -z], -1) @ turn + eye
    normals = face_geometry(scene.mesh)[1][face]
    away = np.einsum("ij,ij->i", normals, points - eye) > 0
    normals = np.where(away[:, None], -normals, normals)
    return points, normals, scene.part[face]


def _crop(points: Floats, scene: _Scene, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Return which points lie in an inexact bounding box.

    The box is loose, as in manual annotation.
    """
    size = scene.high - scene.low
    centre = (scene.low + scene.high) / 2 + rng.uniform(-0.1, 0.1, 3) * size
    half = size / 2 * rng.uniform(1.0, 1.3, 3) + 0.03
    inside = np.abs(points - centre) <= half
    return np.asarray(inside[:, 0] & inside[:, 1] & inside[:, 2])


def _density(points: Floats, normals: Floats, eye: Floats, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Drop points at grazing angles and, softly, by region."""
    ray = points - eye
    facing = np.abs(np.einsum("ij,ij->i", normals, ray)) / np.maximum(np.linalg.norm(ray, axis=1), 1e-9)
    wave = np.sin(points @ rng.normal(0.0, 2.0, 3) + rng.uniform(0, 2 * np.pi))
    chance = np.clip(facing / 0.25, 0.15, 1.0) * (1 - rng.uniform(0.0, 0.7) * (0.5 + 0.5 * wave))
    return np.asarray(rng.random(len(points)) < chance)


def _choose(part: Ints, count: int, rng: np.random.Generator) -> Ints:
    """Return indices of `count` points, at most half background.

    Points repeat if there are too few.
    """
    order = rng.permutation(len(part))
    on_object, around = order[part[order] >= 0], order[part[order] < 0]
    share = int(len(on_object) * _MOST_BACKGROUND / (1 - _MOST_BACKGROUND))
    pool = rng.permutation(np.concatenate([on_object, around[:share]]))
    return np.resize(pool, count).astype(np.int64)
