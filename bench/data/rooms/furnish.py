"""Furniture: embedded shapes, scaled and placed without overlap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from bench.data.rooms.roomset import CLASSES
from bench.data.rooms.shell import Piece, Wall
from bench.data.rooms.styles import AreaStyle, Colour, RoomKind
from bench.data.shapes.mesh import Floats, Mesh
from bench.data.shapes.objects import categories
from bench.data.shapes.primitives import slab
from bench.data.shapes.sketch import Category, Sketch

AISLE = 0.06
"""Least distance between the footprints of two things, in metres."""
TRIES = 10
LOOSE: dict[str, tuple[float, float]] = {
    "bucket": (0.25, 0.4),
    "lamp": (0.9, 1.7),
    "fan": (0.4, 1.2),
    "vase": (0.25, 0.6),
    "flower": (0.35, 0.7),
    "cactus": (0.3, 0.9),
    "stool": (0.45, 0.7),
    "drum": (0.4, 0.6),
    "umbrella": (0.7, 0.9),
}
"""Loose things of a room (S3DIS calls all of them clutter) and the range of their heights in metres."""
TABLE_TOP = {"laptop": (0.22, 0.3), "television": (0.4, 0.55), "mug": (0.09, 0.13), "vase": (0.15, 0.3)}
PAINTS: tuple[Colour, ...] = (
    (196, 60, 48),
    (60, 120, 180),
    (210, 180, 70),
    (86, 140, 80),
    (150, 150, 150),
    (60, 60, 66),
)


def upright(mesh: Mesh) -> Mesh:
    """Rotate a mesh from y up to z up.

    A front facing +z then faces -y.
    """
    v = mesh.vertices
    return Mesh(np.stack([v[:, 0], -v[:, 2], v[:, 1]], axis=-1), mesh.faces)


def footprint(mesh: Mesh) -> Floats:
    """Return a mesh's bounds on the floor, ``[2, 2]``.

    Least and greatest ``(x, y)``.
    """
    flat = mesh.vertices[:, :2]
    return np.stack([flat.min(axis=0), flat.max(axis=0)])


@dataclass
class Stage:
    """A room while it is being furnished.

    Attributes:
        width: Extent along x in metres.
        depth: Extent along y.
        height: Extent along z.
        walls: Its walls, with doors and windows already in.
        style: The area's style.
        rng: Source of randomness.
        taken: Occupied footprints.
        pieces: Placed furniture.
    """

    width: float
    depth: float
    height: float
    walls: list[Wall]
    style: AreaStyle
    rng: np.random.Generator
    taken: list[Floats] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)

    def thing(
        self, name: str, size: tuple[float, float, float] | None = None, tall: float = 0.0
    ) -> tuple[Mesh, Floats]:
        """Make an object standing at the origin.

        Its underside is z = 0, its front faces -y, and it has one tone per face.

        Args:
            name: Category of the embedded shapes.
            size: Extents (x, y, z) to stretch it to; or
            tall: Height to scale it to.

        Returns:
            The mesh, and per face a factor on its colour, by part.
        """
        kind = _category(name)
        sketch = Sketch(self.rng, kind.parts)
        kind.program(sketch)
        solid = sketch.finish()
        mesh = upright(solid.mesh)
        low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
        extent = np.maximum(high - low, 1e-3)
        factor = np.asarray(size) / extent if size is not None else np.full(3, tall / extent[2])
        centred = (mesh.vertices - [*((low + high)[:2] / 2), low[2]]) * factor
        tones = self.rng.uniform(0.7, 1.15, len(kind.parts))
        return Mesh(centred, mesh.faces), tones[solid.part]

    def add(self, mesh: Mesh, name: str, colour: Floats, tones: Floats | None = None) -> None:
        """Add a mesh that is already at its position."""
        base = np.asarray(colour, dtype=float)
        shades = np.ones(len(mesh.faces)) if tones is None else tones
        self.pieces.append(Piece(mesh, CLASSES.index(name), np.clip(shades[:, None] * base, 0, 255)))

    def fits(self, area: Floats) -> bool:
        """Return whether a footprint lies in the room without overlap."""
        if (area[0] < 0.01).any() or area[1, 0] > self.width - 0.01 or area[1, 1] > self.depth - 0.01:
            return False
        return not any(((area[0] - AISLE < o[1]) & (area[1] + AISLE > o[0])).all() for o in self.taken)

    def settle(self, mesh: Mesh, poses: Callable[[], tuple[float, float, float]]) -> Mesh | None:
        """Try random poses until a mesh fits; occupy its footprint.

        Poses are degrees about z, x and y. None if no pose fits.
        """
        for _ in range(TRIES):
            degrees, x, y = poses()
            placed = mesh.turn("z", degrees).move(x, y)
            area = footprint(placed)
            if self.fits(area):
                self.taken.append(area)
                return placed
        return None

    def by_wall(self, mesh: Mesh) -> Mesh | None:
        """Place a mesh with its back to a wall."""
        extent = np.ptp(mesh.vertices, axis=0)

        def pose() -> tuple[float, float, float]:
            wall = self.walls[int(self.rng.integers(4))]
            room = max(wall.length - extent[0] - 0.1, 0.0)
            u, out = 0.05 + extent[0] / 2 + float(self.rng.random()) * room, extent[1] / 2 + 0.03
            x = wall.origin[0] + u * wall.along[0] + out * wall.inward[0]
            y = wall.origin[1] + u * wall.along[1] + out * wall.inward[1]
            # The front looks to -y; turned by this angle it looks along the wall's inward normal.
            return float(np.degrees(np.arctan2(wall.inward[0], -wall.inward[1]))), x, y

        return self.settle(mesh, pose)

    def anywhere(self, mesh: Mesh) -> Mesh | None:
        """Place a mesh on the floor at a random angle."""

        def pose() -> tuple[float, float, float]:
            turn, x, y = self.rng.random(3)
            return 360 * float(turn), float(x) * self.width, float(y) * self.depth

        return self.settle(mesh, pose)

    def colour(self, choices: Sequence[Colour]) -> Floats:
        """Return a random colour of `choices`, slightly varied."""
        chosen = np.asarray(choices[int(self.rng.integers(len(choices)))], dtype=float)
        varied: Floats = chosen * self.rng.uniform(0.9, 1.1, 3)
        return varied


def _category(name: str) -> Category:
    return next(c for c in categories("seen") if c.name == name)


def desk(stage: Stage) -> None:
    """Place a desk at a wall, with objects and chair."""
    size = (stage.rng.uniform(1.1, 1.7), stage.rng.uniform(0.6, 0.8), stage.rng.uniform(0.7, 0.78))
    mesh, tones = stage.thing("table", size)
    at = stage.by_wall(mesh)
    if at is None:
        return
    stage.add(at, "table", stage.colour(stage.style.wood), tones)
    on_top(stage, at)
    chairs_round(stage, at, 1)


def big_table(stage: Stage) -> None:
    """Place a long table in the middle, with chairs."""
    along = stage.width >= stage.depth
    reach = (max(stage.width, stage.depth) * stage.rng.uniform(0.4, 0.5), stage.rng.uniform(1.0, 1.4))
    mesh, tones = stage.thing("table", (reach[0], reach[1], stage.rng.uniform(0.7, 0.78)))
    at = stage.settle(mesh, lambda: (0.0 if along else 90.0, stage.width / 2, stage.depth / 2))
    if at is None:
        return
    stage.add(at, "table", stage.colour(stage.style.wood), tones)
    on_top(stage, at)
    chairs_round(stage, at, int(stage.rng.integers(5, 9)))


def low_table(stage: Stage) -> None:
    """Place a low table on the open floor."""
    size = (stage.rng.uniform(0.6, 1.1), stage.rng.uniform(0.5, 0.8), stage.rng.uniform(0.38, 0.5))
    mesh, tones = stage.thing("table", size)
    at = stage.anywhere(mesh)
    if at is not None:
        stage.add(at, "table", stage.colour(stage.style.wood), tones)
        on_top(stage, at)


def on_top(stage: Stage, table: Mesh) -> None:
    """Place one or two objects (clutter) on a table."""
    low, high = table.vertices.min(axis=0), table.vertices.max(axis=0)
    middle, half = (low + high) / 2, (high - low) / 2
    for _ in range(int(stage.rng.integers(1, 3))):
        name = list(TABLE_TOP)[int(stage.rng.integers(len(TABLE_TOP)))]
        mesh, tones = stage.thing(name, tall=float(stage.rng.uniform(*TABLE_TOP[name])))
        x, y = middle[:2] + stage.rng.uniform(-0.5, 0.5, 2) * half[:2]
        turned = mesh.turn("z", float(stage.rng.uniform(0, 360))).move(float(x), float(y), float(high[2]))
        stage.add(turned, "clutter", stage.colour(PAINTS), tones)


def chairs_round(stage: Stage, table: Mesh, count: int) -> None:
    """Place chairs along a table, facing it, half pushed under."""
    area = footprint(table)
    middle, half = area.mean(axis=0), (area[1] - area[0]) / 2
    placed = 0
    colour = stage.colour(stage.style.cloth)
    for k in range(4 * count):
        if placed == count:
            return
        mesh, tones = stage.thing("chair", tall=float(stage.rng.uniform(0.8, 1.05)))
        side = k % 4
        long = 0 if side < 2 else 1
        sign = 1.0 if side % 2 else -1.0
        centre = middle.copy()
        centre[1 - long] += sign * (half[1 - long] + 0.22 + np.ptp(mesh.vertices[:, 1]) / 2)
        centre[long] += stage.rng.uniform(-0.8, 0.8) * max(half[long] - 0.25, 0.0)
        towards = middle - centre
        towards[long] = 0.0
        angle = np.degrees(np.arctan2(towards[0], -towards[1])) + stage.rng.uniform(-12, 12)
        chair = mesh.turn("z", float(angle)).move(float(centre[0]), float(centre[1]))
        spot = footprint(chair)
        if stage.fits(spot):
            stage.taken.append(spot)
            stage.add(chair, "chair", colour, tones)
            placed += 1


def sofa(stage: Stage) -> None:
    """Place a sofa at a wall."""
    size = (stage.rng.uniform(1.3, 2.2), stage.rng.uniform(0.75, 0.95), stage.rng.uniform(0.7, 0.9))
    mesh, tones = stage.thing("sofa", size)
    at = stage.by_wall(mesh)
    if at is not None:
        stage.add(at, "sofa", stage.colour(stage.style.cloth), tones)


def bookcase(stage: Stage) -> None:
    """Place a bookcase at a wall."""
    size = (stage.rng.uniform(0.7, 1.4), stage.rng.uniform(0.25, 0.4), stage.rng.uniform(1.3, 2.1))
    mesh, tones = stage.thing("bookshelf", size)
    at = stage.by_wall(mesh)
    if at is not None:
        stage.add(at, "bookcase", stage.colour(stage.style.wood), tones)


def cabinet(stage: Stage) -> None:
    """Place a chest of drawers at a wall.

    Its class is clutter, as in S3DIS.
    """
    size = (stage.rng.uniform(0.4, 1.0), stage.rng.uniform(0.4, 0.55), stage.rng.uniform(0.5, 1.2))
    mesh, tones = stage.thing("dresser", size)
    at = stage.by_wall(mesh)
    if at is not None:
        stage.add(at, "clutter", stage.colour(stage.style.wood), tones)


def loose(stage: Stage) -> None:
    """Place a box or another loose object on the floor."""
    names = list(LOOSE)
    pick = int(stage.rng.integers(len(names) + 3))
    if pick < len(names):
        mesh, tones = stage.thing(names[pick], tall=float(stage.rng.uniform(*LOOSE[names[pick]])))
        wide = float(np.ptp(mesh.vertices[:, :2], axis=0).max())
        if wide > 0.7:
            mesh = mesh.stretch(x=0.7 / wide, y=0.7 / wide)
    else:
        mesh = upright(slab(*stage.rng.uniform(0.25, 0.55, 3).tolist()))
        tones = np.ones(len(mesh.faces))
    at = stage.anywhere(mesh)
    if at is not None:
        stage.add(at, "clutter", stage.colour(PAINTS), tones)


def lone_chair(stage: Stage) -> None:
    """Place a chair at a wall."""
    mesh, tones = stage.thing("chair", tall=float(stage.rng.uniform(0.8, 1.05)))
    at = stage.by_wall(mesh)
    if at is not None:
        stage.add(at, "chair", stage.colour(stage.style.cloth), tones)


Order = Callable[[Stage], None]
ORDERS: dict[RoomKind, tuple[Order, ...]] = {
    "office": (desk, bookcase, desk, sofa, bookcase, cabinet),
    "conferenceRoom": (big_table, cabinet, lone_chair, lone_chair),
    "storage": (bookcase, bookcase, bookcase, cabinet, low_table, loose, loose, lone_chair),
    "lounge": (sofa, sofa, low_table, bookcase, lone_chair, low_table),
    "study": (desk, desk, bookcase, desk, cabinet, bookcase),
    "hallway": (lone_chair, cabinet, lone_chair, low_table),
}
"""What is put into a room of each kind, the important things first; loose things follow."""


def furnish(stage: Stage, kind: RoomKind) -> None:
    """Furnish a room of a kind, then add loose objects.

    The area's style determines the number of loose objects.
    """
    for order in ORDERS[kind]:
        order(stage)
    low, high = stage.style.clutter
    for _ in range(int(stage.rng.integers(low, high + 1))):
        loose(stage)
