"""Check clouds and rooms that data sets return."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from bench.data.containers import CloudSet, Room
from bench.data.coordinates import check_coordinates
from bench.data.rows import MappedRows, release, underlying
from bench.errors import DataError

_CLOUDS = 1024
"""Number of clouds checked at a time."""
_seen: set[tuple[object, ...]] = set()
"""Memory-mapped clouds that this process has checked, with the signature of their file."""


def check_clouds(where: str, clouds: CloudSet) -> CloudSet:
    """Return the clouds, after checking types, shapes and coordinates.

    Args:
        where: Data set and split, for errors.
        clouds: Clouds that its loader returned.

    Raises:
        DataError: Points are not float32 ``[n, N, 3]``, one cloud for each label and name, or `check_coordinates`.
    """
    points, count = clouds.points, len(clouds.labels)
    if points.ndim != 3 or points.shape[-1] != 3 or points.dtype != np.float32 or (count and not points.shape[1]):
        shape = ", ".join(map(str, points.shape))
        raise DataError(f"{where}: points are {points.dtype} [{shape}], expected float32 [objects, points, 3]")
    if not len(points) == len(clouds.ids) == count:
        raise DataError(
            f"{where}: {len(points)} clouds, {count} labels and {len(clouds.ids)} names; expected one each per object"
        )
    view = _view_of_file(points)
    if view is None or view not in _seen:
        for start in range(0, count, _CLOUDS):

            def name(cloud: int, point: int | None, start: int = start) -> str:
                return f"{where}: object '{clouds.ids[start + cloud]}'" + ("" if point is None else f" point {point}")

            check_coordinates(np.asarray(points[start : start + _CLOUDS]), name)
        whole = underlying(points)
        release(whole.source if isinstance(whole, MappedRows) else whole)
    if view is not None:
        _seen.add(view)
    return clouds


class CheckedRooms(Sequence[Room]):
    """Sequence of rooms, each checked when it is read.

    Args:
        where: Data set, for errors.
        rooms: Rooms that its loader returned, possibly read lazily.

    Attributes:
        rooms: The same, unchecked.
    """

    def __init__(self, where: str, rooms: Sequence[Room]) -> None:
        self._where, self.rooms = where, rooms
        self._sound: set[int] = set()

    def __len__(self) -> int:
        return len(self.rooms)

    @overload
    def __getitem__(self, index: int) -> Room: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Room]: ...

    def __getitem__(self, index: int | slice) -> Room | Sequence[Room]:
        if isinstance(index, slice):
            return CheckedRooms(self._where, self.rooms[index])
        return self._checked(range(len(self))[index], self.rooms[index])

    def __iter__(self) -> Iterator[Room]:
        return itertools.starmap(self._checked, enumerate(self.rooms))

    def _checked(self, position: int, room: Room) -> Room:
        if position in self._sound:
            return room
        where = f"{self._where}: room '{room.name}'"
        if room.points.ndim != 2 or room.points.shape[1] != 3 or not len(room.points) == len(room.labels) > 0:
            raise DataError(
                f"{where}: points have shape {list(room.points.shape)} and labels {list(room.labels.shape)}, "
                "expected [points, 3] and [points]"
            )
        check_coordinates(room.points[None], lambda _, point: where + ("" if point is None else f" point {point}"))
        self._sound.add(position)
        return room


def _view_of_file(array: npt.NDArray[Any]) -> tuple[object, ...] | None:
    """Return an identifier of a part of a memory-mapped file.

    None for arrays in memory and selected rows.
    """
    found = underlying(array)
    base: object = found
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
        base = base.base
    if isinstance(found, MappedRows) or not isinstance(base, np.memmap) or not base.filename or base.mode != "r":
        return None
    file = Path(base.filename).stat()
    start = found.__array_interface__["data"][0] - base.__array_interface__["data"][0]
    stamp = (file.st_dev, file.st_ino, file.st_size, file.st_mtime_ns, file.st_ctime_ns)
    return (*stamp, base.offset, start, found.shape, found.strides)
