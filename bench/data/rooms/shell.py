"""Build the shell of a room.

Floor, ceiling, walls with openings, doors, windows, boards, columns and beams. Coordinates are metres, z up, one corner
of the floor at the origin. Each wall has its own coordinates: u along it, `out` into the room, z up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from bench.data.rooms.roomset import CLASSES
from bench.data.rooms.styles import AreaStyle, Colour
from bench.data.shapes.mesh import Floats, Mesh, join
from bench.data.shapes.primitives import box

CORNER = 0.15
"""Doors, windows and boards stay this far from the corners (metres)."""


@dataclass(frozen=True)
class Piece:
    """A mesh in room coordinates, with class and colours.

    Attributes:
        mesh: Triangles.
        label: Index into the 13 classes.
        colours: float64 ``[F, 3]``, 0 to 255.
    """

    mesh: Mesh
    label: int
    colours: Floats


def painted(mesh: Mesh, name: str, colour: Colour | Floats) -> Piece:
    """Return a mesh with a class and one colour."""
    return Piece(mesh, CLASSES.index(name), np.broadcast_to(np.asarray(colour, dtype=float), (len(mesh.faces), 3)))


@dataclass(frozen=True)
class Opening:
    """A rectangular hole in a wall.

    In metres along the wall and above the floor.
    """

    start: float
    stop: float
    bottom: float
    top: float


@dataclass
class Wall:
    """One side of a room.

    Attributes:
        origin: Position ``(x, y)`` of u = 0.
        along: Unit direction of u.
        inward: Unit normal into the room.
        length: Metres.
        openings: Holes in the wall.
        taken: Occupied spans of u.
    """

    origin: tuple[float, float]
    along: tuple[int, int]
    inward: tuple[int, int]
    length: float
    openings: list[Opening] = field(default_factory=list)
    taken: list[tuple[float, float]] = field(default_factory=list)

    def place(self, mesh: Mesh, u: float = 0.0, out: float = 0.0, z: float = 0.0) -> Mesh:
        """Move a mesh from wall coordinates to room coordinates."""
        v = mesh.vertices + np.array([u, out, z])
        x = self.origin[0] + v[:, 0] * self.along[0] + v[:, 1] * self.inward[0]
        y = self.origin[1] + v[:, 0] * self.along[1] + v[:, 1] * self.inward[1]
        return Mesh(np.stack([x, y, v[:, 2]], axis=-1), mesh.faces)

    def free_span(self, width: float, rng: np.random.Generator) -> float | None:
        """Draw and occupy a free span of a wall.

        Returns its start, or None if no span of this `width` is free.
        """
        room = self.length - width - 2 * CORNER
        for _ in range(12):
            share = float(rng.random())
            if room < 0:
                return None
            start = CORNER + share * room
            if all(start + width < low - 0.05 or start > high + 0.05 for low, high in self.taken):
                self.taken.append((start, start + width))
                return start
        return None


def walls_of(width: float, depth: float) -> list[Wall]:
    """Return the four walls of a rectangle, in order."""
    return [
        Wall((0.0, 0.0), (1, 0), (0, 1), width),
        Wall((width, 0.0), (0, 1), (-1, 0), depth),
        Wall((width, depth), (-1, 0), (0, -1), width),
        Wall((0.0, depth), (0, -1), (1, 0), depth),
    ]


def rectangle(corners: Sequence[Sequence[float]]) -> Mesh:
    """Return two triangles over four corners.

    The normal follows the right-hand rule.
    """
    return Mesh(np.asarray(corners, dtype=float), np.array([[0, 1, 2], [0, 2, 3]], dtype=np.int64))


def sheet(wall: Wall, height: float) -> Mesh:
    """Return the wall's surface without its openings."""
    us = sorted({0.0, wall.length, *(edge for o in wall.openings for edge in (o.start, o.stop))})
    zs = sorted({0.0, height, *(edge for o in wall.openings for edge in (o.bottom, o.top))})
    cells = []
    for u0, u1 in pairwise(us):
        for z0, z1 in pairwise(zs):
            u, z = (u0 + u1) / 2, (z0 + z1) / 2
            if not any(o.start < u < o.stop and o.bottom < z < o.top for o in wall.openings):
                cells.append(rectangle([[u0, 0, z0], [u0, 0, z1], [u1, 0, z1], [u1, 0, z0]]))
    return wall.place(join(*cells))


def ground_and_ceiling(width: float, depth: float, height: float, style: AreaStyle) -> list[Piece]:
    """Return floor and ceiling, with normals into the room."""
    floor = rectangle([[0, 0, 0], [width, 0, 0], [width, depth, 0], [0, depth, 0]])
    ceiling = rectangle([[0, 0, height], [0, depth, height], [width, depth, height], [width, 0, height]])
    return [painted(floor, "floor", style.floor), painted(ceiling, "ceiling", style.ceiling)]


def _bar(wall: Wall, opening: Opening, thickness: float, sides: str) -> Mesh:
    """Return bars around an opening.

    `sides` selects them: l, r, b, t.
    """
    width, tall = opening.stop - opening.start, opening.top - opening.bottom
    middle, half = (opening.start + opening.stop) / 2, (opening.bottom + opening.top) / 2
    at = {
        "l": (box(thickness, 0.14, tall), opening.start, half),
        "r": (box(thickness, 0.14, tall), opening.stop, half),
        "b": (box(width, 0.14, thickness), middle, opening.bottom),
        "t": (box(width, 0.14, thickness), middle, opening.top),
    }
    return join(*(wall.place(mesh, u, 0.0, z) for side, (mesh, u, z) in at.items() if side in sides))


def door(wall: Wall, height: float, style: AreaStyle, rng: np.random.Generator) -> list[Piece]:
    """Add a door to a wall: leaf, frame and handle.

    Nothing if the wall is full.
    """
    width, tall = rng.uniform(0.85, 1.05), min(rng.uniform(2.0, 2.2), height - 0.25)
    start = wall.free_span(width, rng)
    if start is None:
        return []
    opening = Opening(start, start + width, 0.0, tall)
    wall.openings.append(opening)
    leaf = wall.place(box(width, 0.05, tall), start + width / 2, -0.06, tall / 2)
    handle = wall.place(box(0.13, 0.06, 0.03), start + 0.12 * width, 0.0, 1.02)
    frame = _bar(wall, opening, 0.06, "lrt")
    return [painted(join(leaf, handle), "door", style.door), painted(frame, "door", style.frame)]


def window(wall: Wall, height: float, style: AreaStyle, rng: np.random.Generator) -> list[Piece]:
    """Add a window to a wall: panes, bars and sill.

    Nothing if the wall is full.
    """
    width = min(rng.uniform(*style.window_width), wall.length - 2 * CORNER)
    bottom, top = rng.uniform(0.75, 1.0), height - rng.uniform(0.3, 0.5)
    start = wall.free_span(width, rng)
    if start is None:
        return []
    opening = Opening(start, start + width, bottom, top)
    wall.openings.append(opening)
    pane = wall.place(box(width, 0.02, top - bottom), start + width / 2, -0.1, (bottom + top) / 2)
    bars = [_bar(wall, opening, 0.07, "lrbt")]
    for row in range(1, style.window_rows):
        z = bottom + (top - bottom) * row / style.window_rows
        bars.append(wall.place(box(width, 0.08, 0.05), start + width / 2, -0.08, z))
    columns = max(1, round(width / 0.7))
    for column in range(1, columns):
        u = start + width * column / columns
        bars.append(wall.place(box(0.05, 0.08, top - bottom), u, -0.08, (bottom + top) / 2))
    bars.append(wall.place(box(width + 0.1, 0.2, 0.03), start + width / 2, 0.06, bottom))
    sky = np.array([168.0, 192.0, 214.0]) * rng.uniform(0.8, 1.1)
    return [painted(pane, "window", sky), painted(join(*bars), "window", style.frame)]


def board(wall: Wall, rng: np.random.Generator) -> list[Piece]:
    """Add a white or dark writing board to a wall.

    Nothing if the wall is full.
    """
    width, tall, bottom = rng.uniform(1.2, 2.6), rng.uniform(0.9, 1.25), rng.uniform(0.8, 1.0)
    width = min(width, wall.length - 2 * CORNER - 0.1)
    dark = rng.random() < 0.3
    start = wall.free_span(width, rng)
    if start is None:
        return []
    slab = wall.place(box(width, 0.03, tall), start + width / 2, 0.03, bottom + tall / 2)
    tray = wall.place(box(width * 0.9, 0.08, 0.02), start + width / 2, 0.06, bottom - 0.01)
    return [painted(join(slab, tray), "board", (52, 70, 60) if dark else (240, 241, 243))]


def column(wall: Wall, height: float, style: AreaStyle, rng: np.random.Generator) -> tuple[list[Piece], Floats | None]:
    """Add a column before a wall; return its footprint, too.

    The footprint is ``[2, 2]`` (least and greatest corner); None if the wall is full.
    """
    side = rng.uniform(0.3, 0.5)
    shade = np.asarray(style.wall) * rng.uniform(0.88, 1.0)
    start = wall.free_span(side, rng)
    if start is None:
        return [], None
    pillar = wall.place(box(side, side, height), start + side / 2, side / 2, height / 2)
    flat = pillar.vertices[:, :2]
    return [painted(pillar, "column", shade)], np.stack([flat.min(axis=0), flat.max(axis=0)])


def beam(width: float, depth: float, height: float, style: AreaStyle, rng: np.random.Generator) -> list[Piece]:
    """Return beams under the ceiling, across the shorter side."""
    across = min(width, depth)
    along = max(width, depth)
    thick, count = rng.uniform(0.2, 0.35), int(rng.integers(1, 3))
    shade = np.asarray(style.ceiling) * rng.uniform(0.82, 0.95)
    pieces = []
    for place in (np.arange(count) + 0.5) / count * along:
        size = (thick, across) if width >= depth else (across, thick)
        at = (float(place), across / 2) if width >= depth else (across / 2, float(place))
        bar = box(size[0], size[1], style.beam_drop).move(at[0], at[1], height - style.beam_drop / 2)
        pieces.append(painted(bar, "beam", shade))
    return pieces
