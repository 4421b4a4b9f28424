"""Triangle meshes and operations on them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Axis = Literal["x", "y", "z"]

_AXES: dict[str, tuple[int, int, int]] = {"x": (0, 1, 2), "y": (1, 2, 0), "z": (2, 0, 1)}


@dataclass(frozen=True, slots=True)
class Mesh:
    """Triangles in object space, y up.

    Attributes:
        vertices: float64 ``[V, 3]``.
        faces: int64 ``[F, 3]``, indices into `vertices`.
    """

    vertices: Floats
    faces: Ints

    def move(self, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Mesh:
        """Translate the mesh."""
        return Mesh(self.vertices + np.array([x, y, z]), self.faces)

    def turn(self, axis: Axis, degrees: float) -> Mesh:
        """Rotate about a coordinate axis through the origin, right-handed."""
        return Mesh(self.vertices @ rotation(axis, degrees).T, self.faces)

    def stretch(self, x: float = 1.0, y: float = 1.0, z: float = 1.0) -> Mesh:
        """Scale each axis about the origin; negative factors mirror."""
        return Mesh(self.vertices * (x, y, z), self.faces)


def rotation(axis: Axis, degrees: float) -> Floats:
    """Return the rotation matrix ``[3, 3]`` about an axis.

    For column vectors.
    """
    a, b, c = _AXES[axis]
    angle = np.deg2rad(degrees)
    matrix = np.zeros((3, 3))
    matrix[a, a] = 1.0
    matrix[b, b] = matrix[c, c] = np.cos(angle)
    matrix[c, b] = np.sin(angle)
    matrix[b, c] = -matrix[c, b]
    return matrix


def join(*meshes: Mesh) -> Mesh:
    """Join meshes, keeping the order of vertices and faces."""
    offsets = np.cumsum([0, *(len(m.vertices) for m in meshes[:-1])])
    return Mesh(
        np.concatenate([m.vertices for m in meshes]),
        np.concatenate([m.faces + o for m, o in zip(meshes, offsets, strict=True)]),
    )


@lru_cache(maxsize=4096)
def _loft_faces(rings: int, sides: int, closed: bool, loop: bool, caps: bool) -> Ints:
    """Return the faces of a `rings` x `sides` vertex grid.

    With `caps`, two cap centres follow the grid.
    """
    index = np.arange(rings * sides).reshape(rings, sides)
    if loop:
        index = np.concatenate([index, index[:1]])
    if closed:
        index = np.concatenate([index, index[:, :1]], axis=1)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    quads = [np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)]
    if caps:
        for row, centre in ((index[0, ::-1], rings * sides), (index[-1], rings * sides + 1)):
            quads.append(np.stack([row[:-1], row[1:], np.full(len(row) - 1, centre)], -1))
    faces = np.concatenate(quads).astype(np.int64)
    faces.setflags(write=False)
    return faces


def loft(rings: Floats, *, closed: bool = True, loop: bool = False, caps: bool = True) -> Mesh:
    """Return the surface through a sequence of cross sections.

    Args:
        rings: ``[n, m, 3]``: n sections of m points each.
        closed: Each section is a closed curve.
        loop: The last section is joined to the first (a ring such as a torus).
        caps: Close both ends with fans; ignored for open sections and loops.

    Returns:
        The mesh.
    """
    n, m, _ = rings.shape
    caps = caps and closed and not loop
    vertices = rings.reshape(-1, 3)
    if caps:
        vertices = np.concatenate([vertices, rings[[0, -1]].mean(axis=1)])
    return Mesh(vertices, _loft_faces(n, m, closed, loop, caps))


def refine(mesh: Mesh, longest: float, part: Ints) -> tuple[Mesh, Ints]:
    """Split triangles until no edge exceeds `longest`.

    At the midpoint of their longest edge, in at most 8 rounds. Neighbouring triangles may get T-junctions; they open by
    less than the curvature of the later deformation over one edge, which neither sampling nor 64-pixel views can show.

    Args:
        mesh: Mesh to refine.
        longest: Bound on edge lengths.
        part: ``[F]`` part id per face.

    Returns:
        The refined mesh and its part ids.
    """
    vertices, faces = mesh.vertices, mesh.faces
    for _ in range(8):
        corners = vertices[faces]
        length = np.linalg.norm(corners - np.roll(corners, -1, axis=1), axis=2)
        split = np.flatnonzero(length.max(axis=1) > longest)
        if len(split) == 0 or len(faces) > 20_000:
            break
        edge = length[split].argmax(axis=1)
        a, b, c = (faces[split, (edge + k) % 3] for k in range(3))
        middle = len(vertices) + np.arange(len(split))
        vertices = np.concatenate([vertices, (vertices[a] + vertices[b]) / 2])
        keep = np.ones(len(faces), dtype=bool)
        keep[split] = False
        halves = [np.stack([a, middle, c], -1), np.stack([middle, b, c], -1)]
        faces = np.concatenate([faces[keep], *halves])
        part = np.concatenate([part[keep], part[split], part[split]])
    return Mesh(vertices, faces), part


def face_geometry(mesh: Mesh) -> tuple[Floats, Floats]:
    """Return areas ``[F]`` and unit normals ``[F, 3]`` of faces.

    Normals of degenerate faces are zero.
    """
    corners = mesh.vertices[mesh.faces]
    u, w = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    cross = np.empty_like(u)
    cross[:, 0] = u[:, 1] * w[:, 2] - u[:, 2] * w[:, 1]
    cross[:, 1] = u[:, 2] * w[:, 0] - u[:, 0] * w[:, 2]
    cross[:, 2] = u[:, 0] * w[:, 1] - u[:, 1] * w[:, 0]
    norm = np.sqrt(np.einsum("ij,ij->i", cross, cross))
    return norm / 2, cross / np.maximum(norm, 1e-12)[:, None]


def sample_surface(mesh: Mesh, count: int, rng: np.random.Generator) -> tuple[Floats, Floats, Ints]:
    """Sample points on the surface, with density proportional to area.

    Args:
        mesh: Mesh with a positive total area.
        count: Number of points.
        rng: Source of randomness.

    Returns:
        Points ``[count, 3]``, unit normals ``[count, 3]`` and the face ``[count]`` each point lies on.
        Stratified over the area, in random order, so equal counts cover equal areas evenly.
    """
    area, normal = face_geometry(mesh)
    total = np.cumsum(area)
    where = (np.arange(count) + rng.random(count)) / count * total[-1]
    face = np.minimum(np.searchsorted(total, where, side="right"), len(area) - 1)
    face = face[rng.permutation(count)]
    r, t = np.sqrt(rng.random(count)), rng.random(count)
    weight = np.stack([1 - r, r * (1 - t), r * t], axis=-1)
    points = np.einsum("nk,nkd->nd", weight, mesh.vertices[mesh.faces[face]])
    return points, normal[face], face
