"""Generate one procedural room, fixed by (seed, area, index).

It is built, furnished, and sampled like a scan.
"""

from __future__ import annotations

import numpy as np

from bench.data.base import Room
from bench.data.rooms.furnish import Stage, footprint, furnish
from bench.data.rooms.shell import (
    Opening,
    Piece,
    Wall,
    beam,
    board,
    column,
    door,
    ground_and_ceiling,
    painted,
    sheet,
    walls_of,
    window,
)
from bench.data.rooms.styles import KINDS, SIZES, STYLES, RoomKind
from bench.data.shapes.mesh import Floats, face_geometry, join, sample_surface
from bench.data.shapes.primitives import box
from bench.seeds import numpy_stream

FURNITURE_DENSITY = 2.0
"""Furniture gets this many times the points per square metre of the shell: scanners stand in the middle of a room."""
_LIGHT = np.array([0.3, 0.2, 0.93])


def room_kind(area: int, index: int) -> RoomKind:
    """Return the kind of a room from its number.

    Neighbouring areas begin at different places of the cycle of kinds.
    """
    return KINDS[(area + index) % len(KINDS)]


def room_name(area: int, index: int) -> str:
    """Return a name as in S3DIS, e.g. ``Area_5_office_1``.

    Rooms of a kind are numbered within their area.
    """
    kind = room_kind(area, index)
    return f"Area_{area}_{kind}_{index // len(KINDS) + 1}"


def make_room(seed: int, area: int, index: int, points: int) -> Room:
    """Generate a room.

    Args:
        seed: Root seed of the set.
        area: 1 to 6.
        index: Number of the room within its area, from 0.
        points: Number of points.

    Returns:
        The room: metres, z up, least coordinates 0, colours and the 13 classes of S3DIS.
    """
    pieces, shell = build_room(seed, area, index)
    return _scan(
        room_name(area, index), area, pieces, shell, points, numpy_stream(seed, "data", "rooms", area, index, "points")
    )


def build_room(seed: int, area: int, index: int) -> tuple[list[Piece], int]:
    """Build the surfaces of a room.

    Returns:
        Its pieces, and the number of the first ones that are shell.
    """
    rng = numpy_stream(seed, "data", "rooms", area, index, "layout")
    style, kind = STYLES[area], room_kind(area, index)
    size = SIZES[kind]
    width, depth = (float(rng.uniform(*span)) * style.scale for span in (size.width, size.depth))
    height = float(rng.uniform(*style.height))
    if rng.random() < 0.5:
        width, depth = depth, width
    stage = Stage(width, depth, height, walls_of(width, depth), style, rng)
    shell = _shell(stage, kind, area + index)
    furnish(stage, kind)
    return [*shell, *stage.pieces], len(shell)


def _shell(stage: Stage, kind: RoomKind, turn: int) -> list[Piece]:
    """Build walls, floor and ceiling with doors and windows.

    An even `turn` adds a column, an odd one beams.
    """
    style, rng, height = stage.style, stage.rng, stage.height
    fittings: list[Piece] = []
    order = [stage.walls[int(k)] for k in rng.permutation(4)]
    doors = 2 if kind == "hallway" else 1
    for wall in order[:doors]:
        fittings += door(wall, height, style, rng)
        stage.taken += [_threshold(wall, opening) for opening in wall.openings]
    if kind not in ("storage", "hallway"):
        for wall in order[doors : doors + int(rng.integers(1, 3))]:
            fittings += window(wall, height, style, rng)
    if kind in ("office", "conferenceRoom", "study"):
        fittings += board(order[3], rng) or board(order[0], rng)
    if turn % 2 == 0 or rng.random() < 0.3:
        pillar, area = column(order[2], height, style, rng)
        fittings += pillar
        stage.taken += [] if area is None else [area]
    if turn % 2 or rng.random() < 0.3:
        fittings += beam(stage.width, stage.depth, height, style, rng)
    sheets = [painted(sheet(wall, height), "wall", style.wall) for wall in stage.walls]
    return [*ground_and_ceiling(stage.width, stage.depth, height, style), *sheets, *fittings]


def _threshold(wall: Wall, opening: Opening) -> Floats:
    """Return the footprint before a door, which stays free."""
    reach = wall.place(box(opening.stop - opening.start, 0.9, 0.1), (opening.start + opening.stop) / 2, 0.45)
    return footprint(reach)


def _scan(name: str, area: int, pieces: list[Piece], shell: int, points: int, rng: np.random.Generator) -> Room:
    """Sample the surfaces with noise in position and colour.

    Light comes from above.
    """
    style = STYLES[area]
    groups = [pieces[:shell], pieces[shell:]] if pieces[shell:] else [pieces]
    weights = [_area(group) * factor for group, factor in zip(groups, (1.0, FURNITURE_DENSITY), strict=False)]
    first = points if len(groups) == 1 else round(points * weights[0] / sum(weights))
    found, labels, colours = [], [], []
    for group, count in zip(groups, (first, points - first), strict=False):
        where, normals, face = sample_surface(join(*(p.mesh for p in group)), count, rng)
        label = np.repeat([p.label for p in group], [len(p.mesh.faces) for p in group])[face]
        lit = 0.8 + 0.2 * np.abs(normals @ _LIGHT)
        found.append(where + rng.normal(0.0, style.noise, where.shape))
        labels.append(label)
        colours.append(np.concatenate([p.colours for p in group])[face] * (style.light * lit)[:, None])
    order = rng.permutation(points)
    where = np.concatenate(found)[order]
    shades = np.concatenate(colours)[order] + rng.normal(0.0, 8.0, (points, 3))
    return Room(
        name=name,
        area=area,
        points=(where - where.min(axis=0)).astype(np.float32),
        colours=np.clip(np.rint(shades), 0, 255).astype(np.uint8),
        labels=np.concatenate(labels)[order].astype(np.int64),
    )


def _area(pieces: list[Piece]) -> float:
    return float(face_geometry(join(*(piece.mesh for piece in pieces)))[0].sum())
