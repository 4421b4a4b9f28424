"""Generate one object, fixed by (stream, index).

Category, deformed mesh, points, caption and views.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from bench.data.shapes.caption import caption
from bench.data.shapes.categories import load_categories
from bench.data.shapes.mesh import Floats, Ints, Mesh, refine, rotation, sample_surface
from bench.data.shapes.render import ViewKind, render, view_angles
from bench.data.shapes.sketch import Category, Group, Sketch, registered
from bench.seeds import numpy_stream

ROOT_SEED = 20_240
"""Root of all shape streams: the data does not depend on a run's seed, only its splits and folds do."""


@dataclass(frozen=True)
class Thing:
    """A generated object.

    Attributes:
        category: What it is.
        mesh: Its surface, y up, in the units of its program.
        part: int64 ``[F]`` part index within the category, per face.
        caption: One sentence.
    """

    category: Category
    mesh: Mesh
    part: Ints
    caption: str


@lru_cache(maxsize=2)
def categories(group: Group) -> tuple[Category, ...]:
    """Return all categories of a group, in label order."""
    load_categories()
    return registered(group)


@lru_cache(maxsize=2)
def part_offsets(group: Group) -> dict[str, int]:
    """Return the first global part id of each category.

    Part ids do not repeat across the categories of a group.
    """
    offsets, total = {}, 0
    for c in categories(group):
        offsets[c.name] = total
        total += len(c.parts)
    return offsets


def part_names(group: Group) -> tuple[str, ...]:
    """Return the names ``category/part`` of the global part ids."""
    return tuple(f"{c.name}/{p}" for c in categories(group) for p in c.parts)


def stream(name: str, index: int, purpose: str) -> np.random.Generator:
    """Return random numbers for one purpose of an object.

    For example its shape or its points. The object is number `index` of stream `name`.
    """
    return numpy_stream(ROOT_SEED, "data", "shapes", name, index, purpose)


def make_thing(name: str, index: int, kind: Category) -> Thing:
    """Generate an object of a category."""
    rng = stream(name, index, "shape")
    sketch = Sketch(rng, kind.parts)
    kind.program(sketch)
    solid = sketch.finish()
    mesh, part = deform(solid.mesh, solid.part, rng)
    return Thing(kind, mesh, part, caption(kind.name, solid, stream(name, index, "caption")))


def deform(mesh: Mesh, part: Ints, rng: np.random.Generator) -> tuple[Mesh, Ints]:
    """Vary a whole object by random deformations.

    It is always stretched; sometimes tapered, sheared, twisted or bent. Diversity by composition and deformation is
    what makes procedural shapes useful for pretraining (arXiv 2411.17467, section 4.3).
    """
    vertices = mesh.vertices * np.exp(rng.normal(0.0, 0.18, 3))
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    centre, half = (low + high) / 2, np.maximum((high - low) / 2, 1e-6)
    size = float(np.linalg.norm(half))
    taper, shear, twist, bend = rng.random(4) < (0.45, 0.3, 0.15, 0.3)
    axis, other = rng.permutation(3)[:2]
    amounts = rng.uniform(-1.0, 1.0, 4)
    if twist or bend:
        mesh, part = refine(Mesh(vertices, mesh.faces), size * 0.25, part)
        vertices = mesh.vertices
    v = (vertices - centre) / size
    along = v[:, axis] * size / half[axis]
    if taper:
        v = v * np.where(np.arange(3) == axis, 1.0, (1 + 0.35 * amounts[0] * along)[:, None])
    if shear:
        v[:, other] += 0.3 * amounts[1] * v[:, axis]
    if twist:
        angle = np.deg2rad(25 * amounts[2]) * v[:, 1] * size / half[1]
        cos, sin = np.cos(angle), np.sin(angle)
        v[:, 0], v[:, 2] = cos * v[:, 0] + sin * v[:, 2], cos * v[:, 2] - sin * v[:, 0]
    if bend:
        v = _bend(v, int(axis), int(other), np.deg2rad(55 * amounts[3]))
    return Mesh(v * size + centre, mesh.faces), part


def _bend(v: Floats, along: int, towards: int, angle: float) -> Floats:
    """Bend axis `along` towards axis `towards` by `angle`.

    The angle spans the object's length.
    """
    if abs(angle) < 0.02:
        return v
    length = float(v[:, along].max() - v[:, along].min())
    radius = length / angle
    t = v[:, along] / radius
    bent = v.copy()
    bent[:, along] = (radius - v[:, towards]) * np.sin(t)
    bent[:, towards] = radius - (radius - v[:, towards]) * np.cos(t)
    return bent


def unit_sphere(points: Floats) -> npt.NDArray[np.float32]:
    """Centre a cloud on its mean, with radius 1."""
    centred = points - points.mean(axis=0)
    reach = float(np.sqrt(np.einsum("ij,ij->i", centred, centred).max()))
    unit: npt.NDArray[np.float32] = (centred / max(reach, 1e-9)).astype(np.float32)
    return unit


def cloud_of(
    thing: Thing, count: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], Ints]:
    """Sample the surface: points, outward normals and part ids.

    Points ``[count, 3]`` lie in the unit sphere.
    """
    points, normals, face = sample_surface(thing.mesh, count, rng)
    return unit_sphere(points), normals.astype(np.float32), thing.part[face]


def views_of(thing: Thing, count: int, size: int, kind: ViewKind, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Render `count` views ``[count, size, size, 1]`` of an object."""
    tones = rng.uniform(0.6, 1.0, len(thing.category.parts))
    return render(thing.mesh, thing.part, view_angles(count, rng), size, kind, tones)


def turned(mesh: Mesh, angles: Sequence[float]) -> Mesh:
    """Rotate by degrees about x, then z, then y."""
    matrix = rotation("y", angles[2]) @ rotation("z", angles[1]) @ rotation("x", angles[0])
    return Mesh(mesh.vertices @ matrix.T, mesh.faces)
