"""Blocks of rooms: columns of 1 m x 1 m.

They are drawn at random, laid out as tiles, or slid over a room.

Coordinates of a block are metres: x and y relative to the middle of its column, z above the room's lowest point.

Source: docs/reference.md#semantic-segmentation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.data.base import Room
from bench.data.splits import carve_validation
from bench.errors import DataError, UsageError
from bench.seeds import numpy_stream

Index = npt.NDArray[np.int64]
Points = npt.NDArray[np.float32]

BLOCK = 1.0
"""Side of a column in metres."""
STRIDE = 0.5
"""Distance between windows that slide over a room, in metres."""
_REACH = BLOCK / 2 + 1e-6
"""Half a block, and what rounding may take from it: a point on the edge of the last window belongs to it."""
TRIES = 20
"""Columns tried for one training block; where none is full enough the fullest is taken."""


@dataclass(frozen=True)
class RoomSplit:
    """Rooms of training, validation and test, as positions in `Dataset.rooms`.

    Attributes:
        train: Trained on.
        val: Choices are made on them.
        test: Rooms of the held-out area.
    """

    train: Index
    val: Index
    test: Index


def split_rooms(
    rooms: Sequence[Room], test_area: int, validation_area: int | None, fraction: float, split_seed: int
) -> RoomSplit:
    """Split rooms into training, validation and the held-out test area.

    Validation rooms come from the other areas.

    Args:
        rooms: All rooms.
        test_area: Area that is held out.
        validation_area: Area that is validated on; None carves rooms from every training area.
        fraction: Share of every training area's rooms that is carved, at least one of two and never all; where each
            area has one room, the share of all rooms.
        split_seed: Root seed of the split.

    Raises:
        UsageError: The validation area is the test area.
        DataError: An area has no rooms, or nothing is left to train on.
    """
    areas = np.array([room.area for room in rooms], dtype=np.int64)
    test, others = np.flatnonzero(areas == test_area), np.flatnonzero(areas != test_area)
    if not len(test) or not len(others):
        held = ", ".join(str(area) for area in np.unique(areas))
        raise DataError(f"semantic segmentation: Area {test_area} is held out; expected rooms in and outside of it, "
                        f"there are areas {held or 'none'}")  # fmt: skip
    if validation_area is None:
        # All blocks of one room (``room#3``) stay together.
        names = [rooms[i].name.partition("#")[0] for i in others.tolist()]
        single = len(set(names)) == len(set(areas[others].tolist()))
        strata = np.zeros_like(others) if single else areas[others]
        train, val = carve_validation(strata, fraction, split_seed, names)
        return RoomSplit(others[train], others[val], test)
    if validation_area == test_area:
        raise UsageError(f"semseg: validation_area is {validation_area}, the held-out test area; choose another one")
    val, train = np.flatnonzero(areas == validation_area), others[areas[others] != validation_area]
    if not len(val) or not len(train):
        raise DataError(f"semseg: validation_area is {validation_area}; expected an area with rooms besides others")
    return RoomSplit(train, val, test)


class RoomGrid:
    """Points of a room in cells, for fast column lookup.

    A cell's side is that of a block.

    Attributes:
        points: float32 ``[n, 3]``, as in `Room`.
    """

    def __init__(self, points: Points) -> None:
        self.points = points
        flat = points[:, :2]
        self._low = flat.min(axis=0).astype(np.float64)
        cells = np.floor((flat - self._low) / BLOCK).astype(np.int64)
        self._shape = cells.max(axis=0) + 1
        flattened = cells[:, 0] * self._shape[1] + cells[:, 1]
        self._order = np.argsort(flattened, kind="stable").astype(np.int64)
        self._starts = np.searchsorted(flattened[self._order], np.arange(int(self._shape.prod()) + 1))

    def column(self, x: float, y: float) -> Index:
        """Return rows of points in a block, ascending."""
        centre = np.array([x, y])
        first = np.maximum(np.floor((centre - _REACH - self._low) / BLOCK).astype(np.int64), 0)
        last = np.minimum(np.floor((centre + _REACH - self._low) / BLOCK).astype(np.int64), self._shape - 1)
        rows = [
            self._order[self._starts[i * self._shape[1] + first[1]] : self._starts[i * self._shape[1] + last[1] + 1]]
            for i in range(first[0], last[0] + 1)
            if first[1] <= last[1]
        ]
        near = np.sort(np.concatenate(rows)) if rows else np.empty(0, np.int64)
        inside = (np.abs(self.points[near, :2] - centre) <= _REACH).all(axis=1)
        found: Index = near[inside]
        return found

    def relative(self, rows: Index, x: float, y: float) -> Points:
        """Return coordinates ``[..., 3]`` relative to a block's middle."""
        return np.asarray(self.points[rows] - np.array([x, y, 0.0]), dtype=np.float32)


class BlockSampler:
    """Draws random training blocks.

    A room is drawn in proportion to its points, then one of its points as the middle, then points of the column around
    it.
    """

    def __init__(self, rooms: Sequence[Room], points: int) -> None:
        """Store the rooms; each is sorted when first used.

        Args:
            rooms: Training rooms.
            points: Points of a block; a column with more than half as many is accepted.
        """
        self.rooms = rooms
        self.points = points
        self._sizes = np.cumsum([len(room.labels) for room in rooms])
        self._grids: dict[int, tuple[RoomGrid, Index]] = {}

    @property
    def total(self) -> int:
        """Number of points of all rooms."""
        return int(self._sizes[-1])

    def draw(self, rng: np.random.Generator) -> tuple[Points, Index]:
        """Draw coordinates ``[points, 3]`` and labels ``[points]`` of a block.

        Points repeat in sparse columns only.
        """
        number = int(np.searchsorted(self._sizes, int(rng.random() * self.total), side="right"))
        if number not in self._grids:
            room = self.rooms[number]
            self._grids[number] = RoomGrid(room.points), room.labels
        grid, labels = self._grids[number]
        fullest: tuple[Index, float, float] = (np.empty(0, np.int64), 0.0, 0.0)
        for _ in range(TRIES):
            x, y = (float(v) for v in grid.points[int(rng.random() * len(grid.points)), :2])
            column = grid.column(x, y)
            if len(column) > len(fullest[0]):
                fullest = column, x, y
            if len(column) > self.points // 2:
                break
        column, x, y = fullest
        rows = pick(column, self.points, rng)
        return grid.relative(rows, x, y), labels[rows]


def pick(rows: Index, count: int, rng: np.random.Generator) -> Index:
    """Draw `count` rows at random; repeat if there are fewer."""
    order = rows[np.argsort(rng.random(len(rows)), kind="stable")]
    if len(rows) >= count:
        return order[:count]
    more = np.minimum((rng.random(count - len(rows)) * len(rows)).astype(np.int64), len(rows) - 1)
    return np.concatenate([order, rows[more]])


def tile_blocks(rooms: Sequence[Room], points: int, seed: int) -> tuple[Points, Index]:
    """Return one block per tile that holds points.

    Every epoch is validated on them.

    Args:
        rooms: The rooms.
        points: Points drawn from each tile.
        seed: Root seed of the draws, which are the same for every method.

    Returns:
        Coordinates ``[b, points, 3]`` and labels ``[b, points]``.
    """
    blocks: list[Points] = []
    labels: list[Index] = []
    for room in rooms:
        grid = RoomGrid(room.points)
        rng = numpy_stream(seed, "split", "tiles", room.name)
        for x, y, column in windows(grid, BLOCK):
            rows = pick(column, points, rng)
            blocks.append(grid.relative(rows, x, y))
            labels.append(room.labels[rows])
    return np.stack(blocks), np.stack(labels)


def windows(grid: RoomGrid, stride: float = STRIDE) -> Iterator[tuple[float, float, Index]]:
    """Slide a column over a room, covering every point.

    Yields:
        Middle x and y and the rows of the points inside, for every window that holds any.
    """
    low, high = grid.points[:, :2].min(axis=0).astype(float), grid.points[:, :2].max(axis=0).astype(float)
    for x in _starts(low[0], high[0], stride):
        for y in _starts(low[1], high[1], stride):
            column = grid.column(x + BLOCK / 2, y + BLOCK / 2)
            if len(column):
                yield x + BLOCK / 2, y + BLOCK / 2, column


def _starts(low: float, high: float, stride: float) -> list[float]:
    """Return the starts of windows along an axis.

    A last one that would reach beyond the room is moved back to end with it.
    """
    steps = max(int(np.ceil((high - low - BLOCK) / stride)), 0) + 1
    return [max(min(low + i * stride, high - BLOCK), low) for i in range(steps)]


def window_batches(column: Index, points: int, rng: np.random.Generator) -> Index:
    """Cut a window's points into blocks, in random order.

    The last block is filled up with repeats.

    Returns:
        int64 ``[b, points]``: every row of the column occurs.
    """
    blocks = -(-len(column) // points)
    return pick(column, blocks * points, rng).reshape(blocks, points)
