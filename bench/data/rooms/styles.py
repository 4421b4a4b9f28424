"""Styles of the six areas: sizes, colours, furniture, scan noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Colour = tuple[int, int, int]
Range = tuple[float, float]
RoomKind = Literal["office", "conferenceRoom", "storage", "lounge", "study", "hallway"]

KINDS: tuple[RoomKind, ...] = ("office", "conferenceRoom", "storage", "lounge", "study", "hallway")
"""In this cycle any three rooms that follow each other hold a sofa, a board and a bookcase."""


@dataclass(frozen=True)
class RoomSize:
    """Range of width and depth of rooms, in metres."""

    width: Range
    depth: Range


SIZES: dict[RoomKind, RoomSize] = {
    "office": RoomSize((3.2, 5.2), (3.2, 5.0)),
    "conferenceRoom": RoomSize((4.5, 6.8), (4.0, 6.0)),
    "storage": RoomSize((2.6, 4.2), (2.6, 4.0)),
    "lounge": RoomSize((4.5, 6.5), (4.2, 6.0)),
    "study": RoomSize((4.2, 6.5), (3.6, 5.2)),
    "hallway": RoomSize((6.5, 9.5), (1.9, 2.6)),
}


@dataclass(frozen=True)
class AreaStyle:
    """Style of the rooms in one area.

    Attributes:
        height: Range of room heights in metres.
        scale: Factor on floor plans.
        wall, floor, ceiling, door, frame: Colours of the shell (RGB, 0 to 255).
        wood: Colours of tables and shelves.
        cloth: Colours of chairs and sofas.
        window_rows: Number of panes above each other.
        window_width: Range of window widths in metres.
        noise: Standard deviation of the positions in metres.
        light: Factor on brightness.
        clutter: Range of the number of loose objects in a room.
        beam_drop: Height of a beam in metres.
    """

    height: Range
    scale: float
    wall: Colour
    floor: Colour
    ceiling: Colour
    door: Colour
    frame: Colour
    wood: tuple[Colour, ...]
    cloth: tuple[Colour, ...]
    window_rows: int
    window_width: Range
    noise: float
    light: float
    clutter: tuple[int, int]
    beam_drop: float


STYLES: dict[int, AreaStyle] = {
    1: AreaStyle(
        height=(2.7, 3.0),
        scale=1.0,
        wall=(214, 208, 194),
        floor=(120, 108, 98),
        ceiling=(226, 226, 220),
        door=(134, 94, 60),
        frame=(90, 84, 78),
        wood=((150, 110, 72), (172, 132, 90)),
        cloth=((44, 52, 78), (52, 50, 48)),
        window_rows=2,
        window_width=(1.0, 1.8),
        noise=0.004,
        light=1.0,
        clutter=(3, 6),
        beam_drop=0.3,
    ),
    2: AreaStyle(
        height=(3.0, 3.6),
        scale=1.15,
        wall=(196, 200, 206),
        floor=(92, 96, 104),
        ceiling=(206, 208, 210),
        door=(86, 92, 104),
        frame=(60, 62, 66),
        wood=((198, 190, 176), (120, 120, 122)),
        cloth=((124, 38, 40), (70, 74, 80)),
        window_rows=1,
        window_width=(1.4, 2.4),
        noise=0.006,
        light=0.9,
        clutter=(2, 5),
        beam_drop=0.4,
    ),
    3: AreaStyle(
        height=(2.5, 2.8),
        scale=0.9,
        wall=(228, 214, 178),
        floor=(146, 104, 66),
        ceiling=(238, 234, 222),
        door=(160, 122, 82),
        frame=(222, 218, 206),
        wood=((116, 78, 48), (96, 66, 44)),
        cloth=((78, 102, 62), (142, 112, 70)),
        window_rows=2,
        window_width=(0.8, 1.3),
        noise=0.005,
        light=0.95,
        clutter=(4, 8),
        beam_drop=0.22,
    ),
    4: AreaStyle(
        height=(2.8, 3.2),
        scale=1.05,
        wall=(188, 206, 196),
        floor=(110, 122, 116),
        ceiling=(218, 224, 220),
        door=(206, 198, 182),
        frame=(120, 126, 124),
        wood=((186, 152, 104), (214, 208, 196)),
        cloth=((36, 86, 92), (98, 98, 92)),
        window_rows=3,
        window_width=(1.0, 2.0),
        noise=0.008,
        light=0.85,
        clutter=(3, 7),
        beam_drop=0.28,
    ),
    5: AreaStyle(
        height=(2.6, 3.3),
        scale=1.0,
        wall=(208, 178, 168),
        floor=(132, 126, 122),
        ceiling=(230, 228, 226),
        door=(112, 70, 52),
        frame=(74, 70, 72),
        wood=((140, 98, 70), (90, 84, 80)),
        cloth=((62, 46, 88), (110, 84, 56)),
        window_rows=2,
        window_width=(1.1, 2.0),
        noise=0.007,
        light=1.05,
        clutter=(3, 7),
        beam_drop=0.34,
    ),
    6: AreaStyle(
        height=(2.6, 2.9),
        scale=0.95,
        wall=(222, 220, 224),
        floor=(84, 74, 70),
        ceiling=(212, 212, 216),
        door=(176, 176, 182),
        frame=(150, 150, 154),
        wood=((162, 140, 120), (64, 58, 56)),
        cloth=((150, 140, 40), (40, 60, 104)),
        window_rows=1,
        window_width=(0.9, 1.6),
        noise=0.005,
        light=1.0,
        clutter=(2, 6),
        beam_drop=0.25,
    ),
}
