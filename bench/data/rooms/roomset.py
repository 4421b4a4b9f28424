"""Base of data sets of rooms, with S3DIS's classes.

Whole areas are held out, and there are no objects to classify.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, NoReturn, overload

import numpy as np
import numpy.typing as npt
from pydantic import Field

from bench.data.base import Dataset, Room, SplitName
from bench.errors import UsageError
from bench.spec import Frozen

CLASSES = (
    *("ceiling", "floor", "wall", "beam", "column", "window", "door"),
    *("table", "chair", "sofa", "bookcase", "board", "clutter"),
)
"""The published order of S3DIS (index = label); everything else in a room is clutter."""
AREAS = 6


@dataclass(frozen=True)
class StoredRooms(Sequence[Room]):
    """Rooms stored end to end in (memory-mapped) arrays.

    A `Room` is made when it is indexed.

    Attributes:
        names: Name of each room.
        areas: Area of each room.
        points: float32 ``[sum, 3]``.
        colours: uint8 ``[sum, 3]``.
        labels: uint8 ``[sum]``.
        offsets: int64 ``[rooms + 1]``: room i holds rows ``offsets[i]`` to ``offsets[i + 1]``.
    """

    names: tuple[str, ...]
    areas: tuple[int, ...]
    points: npt.NDArray[np.float32]
    colours: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> Room: ...

    @overload
    def __getitem__(self, index: slice) -> list[Room]: ...

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        rows = slice(int(self.offsets[place]), int(self.offsets[place + 1]))
        return Room(
            name=self.names[place],
            area=self.areas[place],
            points=self.points[rows],
            colours=self.colours[rows],
            labels=np.array(self.labels[rows], dtype=np.int64),
        )


class RoomSet(Dataset):
    """Base of data sets of rooms in six areas.

    One area is held out (Area 5 in the literature). Subclasses implement `manifest`, `areas` and `rooms`.
    """

    class Options(Frozen):
        """Options of the split by areas; they enter the key."""

        test_area: int = Field(5, ge=1, le=AREAS, description="area held out for the test")

    @property
    def test_area(self) -> int:
        """Return the held-out area."""
        assert isinstance(self.options, RoomSet.Options)
        return self.options.test_area

    @abstractmethod
    def areas(self) -> tuple[int, ...]:
        """Return the area of every room without reading points.

        In the order of `rooms`.
        """

    @abstractmethod
    def rooms(self) -> Sequence[Room]:
        """Return all rooms, in a fixed order."""

    def train_size(self) -> int:
        """Return the number of rooms outside the test area."""
        return sum(area != self.test_area for area in self.areas())

    def classes(self) -> tuple[str, ...]:
        """Return the 13 classes of S3DIS, index = point label."""
        return CLASSES

    def load(self, split: SplitName) -> NoReturn:
        """Refuse, since rooms are not labelled objects.

        Raises:
            UsageError: Always.
        """
        raise UsageError(
            f"data set '{self.name}' holds rooms with a label per point, not labelled objects; "
            "use it with the protocol semseg, or choose a data set of objects"
        )


def area_of(name: str) -> int | None:
    """Return the area in a room's name, or None.

    For example 5 for ``Area_5_office_3``.
    """
    head = PurePath(name).name.split("_")
    if len(head) < 3 or head[0].lower() != "area" or not (head[1].isascii() and head[1].isdigit()):
        return None
    return int(head[1])
