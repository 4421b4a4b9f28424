"""Parametric parts as meshes.

Each function returns one `Mesh`, resting on or centred at the origin as stated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from bench.data.shapes.mesh import Axis, Floats, Ints, Mesh, loft

Point = Floats | Sequence[float]
Path = Floats | Sequence[Point]
Profile = Sequence[tuple[float, float]]


@lru_cache(maxsize=64)
def _circle(sides: int, power: float) -> Floats:
    """Return a unit superellipse ``[sides, 2]``.

    Power 2 is a circle; larger powers tend to a square.
    """
    angle = 2 * np.pi * (np.arange(sides) + 0.5) / sides
    points = np.stack([np.cos(angle), np.sin(angle)], -1)
    bent: Floats = np.sign(points) * np.abs(points) ** (2.0 / power)
    return bent


_BOX_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=float)
_BOX_FACES: Ints = np.array(
    [
        *([0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1]),
        *([2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]),
    ],
    dtype=np.int64,
)
"""Wound so that normals point outward, as all closed parts here are up to a global flip."""


def _bevel_faces() -> Ints:
    """Return the faces of a chamfered box.

    Vertex ``3 * corner + axis`` lies on the face normal to `axis`.
    """
    faces: list[list[int]] = []
    for a in range(3):
        b, c = (a + 1) % 3, (a + 2) % 3
        bit_a, bit_b, bit_c = (4 >> axis for axis in (a, b, c))
        for side in (0, bit_a):
            ring = [side, side | bit_b, side | bit_b | bit_c, side | bit_c]
            p, q, r, s = (3 * k + a for k in ring)
            faces += [[p, q, r], [p, r, s]]
        for k in range(4):
            low = (bit_a if k & 1 else 0) | (bit_b if k & 2 else 0)
            high = low | bit_c
            p, q, r, s = 3 * low + a, 3 * high + a, 3 * high + b, 3 * low + b
            faces += [[p, q, r], [p, r, s]]
    faces += [[3 * k, 3 * k + 1, 3 * k + 2] for k in range(8)]
    index = np.array(faces, dtype=np.int64)
    at = np.repeat(_BOX_CORNERS, 3, axis=0) * np.where(np.tile(np.eye(3), (8, 1)) > 0, 1.0, 0.8)
    corner = at[index]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    inward = np.einsum("ij,ij->i", normal, corner.sum(axis=1)) < 0
    oriented: Ints = np.where(inward[:, None], index[:, ::-1], index)
    return oriented


_BEVEL_FACES = _bevel_faces()


def box(width: float, height: float, depth: float, bevel: float = 0.0) -> Mesh:
    """Box centred at the origin, with optional chamfer.

    Sizes are along x, y, z; `bevel` > 0 chamfers every edge by that length.
    """
    half = np.array([width, height, depth]) / 2
    if bevel <= 0:
        return Mesh(_BOX_CORNERS * half, _BOX_FACES)
    cut = min(bevel, 0.95 * float(half.min()))
    inner = _BOX_CORNERS * (half - cut)
    vertices = np.repeat(inner[:, None], 3, axis=1)
    for axis in range(3):
        vertices[:, axis, axis] = _BOX_CORNERS[:, axis] * half[axis]
    return Mesh(vertices.reshape(-1, 3), _BEVEL_FACES)


def slab(width: float, height: float, depth: float, bevel: float = 0.0) -> Mesh:
    """Box standing on y = 0."""
    return box(width, height, depth, bevel).move(y=height / 2)


def lathe(profile: Profile, sides: int = 18, power: float = 2.0, caps: bool = True) -> Mesh:
    """Revolve a profile of (radius, height) points about y.

    Args:
        profile: Two or more points from one end to the other.
        sides: Points per turn.
        power: Cross section: 2 round, 4 a rounded square, 1 a diamond.
        caps: Close both ends.
    """
    points = np.asarray(profile, dtype=float)
    circle = _circle(sides, power)
    rings = np.empty((len(points), sides, 3))
    rings[:, :, 0] = points[:, :1] * circle[:, 0]
    rings[:, :, 1] = points[:, 1:]
    rings[:, :, 2] = points[:, :1] * circle[:, 1]
    return loft(rings, caps=caps)


def cylinder(radius: float, height: float, top: float | None = None, sides: int = 16) -> Mesh:
    """Cylinder or frustum standing on y = 0.

    `top` is the other radius of a frustum (0 for a cone).
    """
    return lathe([(radius, 0.0), (radius if top is None else max(top, 1e-4), height)], sides)


def disc(radius: float, thickness: float, sides: int = 18) -> Mesh:
    """Flat cylinder centred at the origin, with axis z."""
    return cylinder(radius, thickness, sides=sides).move(y=-thickness / 2).turn("x", 90)


def ellipsoid(rx: float, ry: float, rz: float, power: float = 2.0, rise: float = 2.0, sides: int = 14) -> Mesh:
    """(Super)ellipsoid centred at the origin.

    `power` shapes the cross section, `rise` the outline.
    """
    angle = np.linspace(-np.pi / 2, np.pi / 2, 10)
    radius = np.abs(np.cos(angle)) ** (2 / rise)
    height = np.sign(angle) * np.abs(np.sin(angle)) ** (2 / rise)
    profile = list(zip(np.maximum(radius, 1e-4).tolist(), height.tolist(), strict=True))
    return lathe(profile, sides, power).stretch(rx, ry, rz)


def dome(radius: float, height: float, sides: int = 16) -> Mesh:
    """Half ellipsoid standing on y = 0."""
    angle = np.linspace(0, np.pi / 2, 7)
    return lathe([(max(radius * float(np.cos(a)), 1e-4), height * float(np.sin(a))) for a in angle], sides)


def _frames(path: Floats, loop: bool, up: Axis | None) -> tuple[Floats, Floats]:
    """Return two unit vectors ``[n, 3]`` across the path.

    The second is nearest to the reference axis `up`.
    """
    tangent = np.roll(path, -1, axis=0) - np.roll(path, 1, axis=0) if loop else np.gradient(path, axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    reference = np.zeros(3)
    reference["xyz".index(up) if up else int(np.abs(tangent).max(axis=0).argmin())] = 1.0
    across = np.cross(tangent, reference)
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-9)
    return across, np.cross(across, tangent)


def sweep(
    path: Path,
    width: float | Sequence[float],
    height: float | Sequence[float] | None = None,
    *,
    sides: int = 8,
    power: float = 2.0,
    loop: bool = False,
    caps: bool = True,
    up: Axis | None = None,
) -> Mesh:
    """Sweep an elliptic section along a path.

    Args:
        path: ``[n, 3]``.
        width: Half axis across the path, in the plane normal to the axis `up`; one value, or values at equal
            steps along the path.
        height: The other half axis, towards `up`; `width` where left out.
        sides: Points per section.
        power: 2 round, 4 a rounded rectangle.
        loop: Join the end to the start.
        caps: Close both ends.
        up: Reference axis; where left out, the coordinate axis furthest from the path's directions.
    """
    points = np.asarray(path, dtype=float)
    across, rise = _frames(points, loop, up)
    spread = [_along(width, len(points)), _along(width if height is None else height, len(points))]
    circle = _circle(sides, power)
    rings = (
        points[:, None]
        + spread[0][:, None, None] * circle[None, :, :1] * across[:, None]
        + spread[1][:, None, None] * circle[None, :, 1:] * rise[:, None]
    )
    return loft(rings, loop=loop, caps=caps)


def _along(value: float | Sequence[float], count: int) -> Floats:
    """Interpolate values at equal steps to `count` points."""
    values = np.atleast_1d(np.asarray(value, dtype=float))
    spread: Floats = np.interp(np.linspace(0, 1, count), np.linspace(0, 1, len(values)), values)
    return spread


def rod(start: Point, end: Point, radius: float, tip: float | None = None, sides: int = 8) -> Mesh:
    """Straight round rod between two points, tapering to radius `tip`."""
    return sweep([start, end], [radius, radius if tip is None else tip], sides=sides)


def plank(start: Point, end: Point, width: float, height: float) -> Mesh:
    """Straight rod of rectangular section (full sizes) between two points."""
    return sweep([start, end], width / 2**0.5, height / 2**0.5, sides=4, power=2.0)


def curve(knots: Path, steps: int = 12) -> Floats:
    """Smooth path ``[steps, 3]`` near the knots.

    A quadratic B-spline from the first to the last knot.
    """
    points = np.asarray(knots, dtype=float)
    if len(points) == 2:
        line: Floats = points[0] + np.linspace(0, 1, steps)[:, None] * (points[1] - points[0])
        return line
    middle = (points[1:-2] + points[2:-1]) / 2
    ends = np.concatenate([points[:1], middle, points[-1:]])
    t = np.linspace(0, len(ends) - 1 - 1e-9, steps)
    k = t.astype(int)
    u = (t - k)[:, None]
    path: Floats = (1 - u) ** 2 * ends[k] + 2 * u * (1 - u) * points[k + 1] + u**2 * ends[k + 1]
    return path


def arc(radius: float, start: float = 0.0, stop: float = 360.0, steps: int = 16, squash: float = 1.0) -> Floats:
    """Circular path ``[steps, 3]`` in the xy plane.

    Degrees from the x axis; a full turn leaves out its end.
    """
    full = abs(stop - start) >= 360
    angle = np.deg2rad(np.linspace(start, stop, steps, endpoint=not full))
    return np.stack([radius * np.cos(angle), radius * squash * np.sin(angle), np.zeros(steps)], -1)


def torus(radius: float, tube: float, height: float | None = None, sides: int = 8, steps: int = 20) -> Mesh:
    """Ring in the xy plane, centred at the origin.

    Its axis is z; `height` is the half size along z.
    """
    return sweep(arc(radius, steps=steps), tube, tube if height is None else height, sides=sides, loop=True)


def outline(radius: Callable[[Floats], Floats], steps: int = 24) -> Floats:
    """Closed star-shaped polygon ``[steps, 2]``.

    `radius` is a function of the angle in radians.
    """
    angle = 2 * np.pi * np.arange(steps) / steps
    r = radius(angle)
    return np.stack([r * np.cos(angle), r * np.sin(angle)], -1)


def extrude(polygon: npt.ArrayLike, depth: float, taper: float = 1.0) -> Mesh:
    """Extrude a polygon of the xy plane symmetrically along z.

    Args:
        polygon: ``[m, 2]``, star-shaped about the mean of its points (the caps are fans).
        depth: Thickness.
        taper: Scale of the far face about the mean.
    """
    flat = np.asarray(polygon, dtype=float)
    centre = flat.mean(axis=0)
    rings = np.zeros((2, len(flat), 3))
    rings[0, :, :2] = flat
    rings[1, :, :2] = centre + taper * (flat - centre)
    rings[:, :, 2] = np.array([[-depth / 2], [depth / 2]])
    return loft(rings)


def shell(profile: Profile, thickness: float, sides: int = 18, power: float = 2.0) -> Mesh:
    """Open vessel with walls of a given thickness.

    The profile (base to rim, base closed) is revolved outside and, inset by `thickness`, inside.
    """
    outer = [(max(r, 1e-4), y) for r, y in profile]
    base = outer[0][1] + thickness
    inner = [(max(r - thickness, 1e-3), max(y, base)) for r, y in reversed(outer)]
    return lathe([(1e-4, outer[0][1]), *outer, *inner, (1e-4, base)], sides, power)


def blade(path: Path, width: float | Sequence[float], thickness: float, up: Axis, sides: int = 8) -> Mesh:
    """Thin leaf-like body along a path, flat side towards `up`.

    `width` is half the width across, `thickness` the full thickness.
    """
    return sweep(path, width, thickness / 2, sides=sides, up=up)
