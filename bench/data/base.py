"""The contract of a data set.

A `Dataset` is a recipe bound to a place on disk; `load` gives a `CloudSet`, plain arrays that may be
memory-mapped. Validation is never a split of the data set: `bench.data.splits` carves it from `train`.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from bench.data.handed_out import CheckedRooms, check_clouds
from bench.data.rows import select
from bench.errors import UsageError
from bench.progress import Progress as Progress
from bench.progress import silent as silent
from bench.spec import Frozen

SplitName = Literal["train", "test"]


@dataclass(frozen=True)
class CloudSet:
    """One split in memory (or memory-mapped).

    Attributes:
        points: float32 ``[n, N, 3]``, y up.
        labels: int64 ``[n]``, index into `classes`.
        ids: One stable name per object.
        classes: Class names, index = label.
        normals: float32 ``[n, N, 3]`` or None.
        parts: int64 ``[n, N]`` part id per point, or None. Negative: the point belongs to no part (clutter of a scan).
        captions: One sentence per object, or None.
        views: uint8 ``[n, V, H, W, C]`` with C 1 or 3, or None.
        views_kind: How the views came about: ``shaded`` (rendered from the surface) or ``depth-of-points``
            (depth image of the cloud itself, for sets that have no images).
    """

    points: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    ids: tuple[str, ...]
    classes: tuple[str, ...]
    normals: npt.NDArray[np.float32] | None = None
    parts: npt.NDArray[np.int64] | None = None
    captions: tuple[str, ...] | None = None
    views: npt.NDArray[np.uint8] | None = None
    views_kind: str | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, index: npt.NDArray[np.int64]) -> CloudSet:
        """Return the objects at `index` (int64 ``[m]``), in that order; what is too large stays in its memory map."""

        def pick(array: npt.NDArray[np.generic] | None) -> npt.NDArray[np.generic] | None:
            return None if array is None else select(array, index)

        return replace(
            self,
            points=select(self.points, index),
            labels=self.labels[index],
            ids=tuple(self.ids[i] for i in index),
            normals=pick(self.normals),  # type: ignore[arg-type]
            parts=pick(self.parts),  # type: ignore[arg-type]
            captions=None if self.captions is None else tuple(self.captions[i] for i in index),
            views=pick(self.views),  # type: ignore[arg-type]
        )


NO_OBJECTS = CloudSet(np.empty((0, 1, 3), np.float32), np.empty(0, np.int64), (), ())
"""What a data set of rooms has in place of objects."""


@dataclass(frozen=True)
class GivenFold:
    """A few-shot fold that a data set brings along.

    Attributes:
        classes: int64 ``[way]``, position = local label.
        support: int64 ``[way * shot]``, positions in the training split.
        query: int64 ``[q]``, positions in the test split.
    """

    classes: npt.NDArray[np.int64]
    support: npt.NDArray[np.int64]
    query: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Room:
    """One room for semantic segmentation.

    Attributes:
        name: E.g. ``Area_5_office_3``.
        area: Number of the area (building part) it belongs to; whole areas are held out.
        points: float32 ``[n, 3]``, metres, z up, shifted so that the smallest coordinate of each axis is 0.
        colours: uint8 ``[n, 3]``, or None.
        labels: int64 ``[n]``, index into `Dataset.classes`.
    """

    name: str
    area: int
    points: npt.NDArray[np.float32]
    colours: npt.NDArray[np.uint8] | None
    labels: npt.NDArray[np.int64]


class DatasetCard(BaseModel):
    """Typed, validated metadata of a data set, shown by ``bench list datasets -v`` and in reports."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    summary: str
    licence: str
    terms: str
    citation: str
    normalisation: str
    """What the field does to the coordinates before a network sees them."""
    in_unit_sphere: bool = False
    """Whether clouds are stored centred on their mean, with the farthest point at distance 1."""
    has_images: bool = False
    has_captions: bool = False
    has_parts: bool = False
    has_rooms: bool = False
    """Rooms with a label per point (`Dataset.rooms`) instead of labelled objects."""
    size: str = ""
    """Size on disk and number of files, in words; empty where it is not known."""
    counts: dict[str, int] = {}
    """Known number of objects (or rooms) per split of the official release; empty where it is not known."""
    how_to_get: str = "embedded: made on demand"

    @property
    def unstated(self) -> str:
        """Return the words for a size or count that is not given."""
        if self.how_to_get.startswith("embedded"):
            return "set by the options"
        return "that of your files" if self.how_to_get.startswith("your own") else "not known"


@dataclass
class DataPlace:
    """Folders that a data set reads and caches in; never in a key."""

    cache: Path
    root: Path | None = None
    progress: Progress = field(default=silent, repr=False)


class Dataset(ABC):
    """A data set bound to its place.

    Subclasses set `name`, `card` and `Options`, and implement `manifest`, `classes` and `load`. What `load` and `rooms`
    return is checked before anybody gets it (`bench.data.handed_out`).
    Importing the module must not import torch.
    """

    name: ClassVar[str]
    card: ClassVar[DatasetCard]
    needs_root: ClassVar[bool] = False
    takes_file: ClassVar[bool] = False
    """Whether the root may be one file instead of a folder."""
    fixed_classes: ClassVar[bool] = False
    """Whether the format names the classes, not the user's files: one of them may then have no objects."""

    class Options(Frozen):
        """Options that change the data; they enter the key."""

    def __init_subclass__(cls, **arguments: object) -> None:
        super().__init_subclass__(**arguments)
        if "load" in vars(cls):
            setattr(cls, "load", _checking_load(cls.load))  # noqa: B010 (a method may not be assigned to)
        if "rooms" in vars(cls):
            setattr(cls, "rooms", _checking_rooms(cls.rooms))  # noqa: B010

    def __init__(self, place: DataPlace, options: BaseModel | None = None) -> None:
        self.place = place
        self.options = options if options is not None else self.Options()

    @abstractmethod
    def manifest(self) -> str:
        """SHA-256 hex digest of everything the loaded arrays depend on (files or generator and options).

        Must be cheap when asked again: file digests are remembered (`bench.data.digest`).
        """

    @abstractmethod
    def train_size(self) -> int:
        """Number of objects of the training split, without loading or generating clouds where that is possible."""

    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """Class names, index = label, without loading clouds."""

    def rooms(self) -> Sequence[Room]:
        """Return all rooms, lazily read where they are many.

        Raises:
            UsageError: This data set has no rooms.
        """
        raise UsageError(f"data set '{self.name}' has no rooms; semantic segmentation needs s3dis or shapes-rooms")

    def part_names(self) -> dict[str, tuple[int, ...]]:
        """Part ids of each category, for part segmentation; read off the training split where nothing states them."""
        train = self.load("train")
        if train.parts is None:
            raise UsageError(f"data set '{self.name}' has no part labels")
        return {
            name: tuple(int(part) for part in np.unique(train.parts[train.labels == label]) if part >= 0)
            for label, name in enumerate(train.classes)
        }

    @property
    def test_area(self) -> int:
        """Area whose rooms are the test split of semantic segmentation (Area 5 in the field)."""
        return 5

    def offers_parts(self) -> bool:
        """Whether `load` gives parts under these options; part segmentation needs them in both splits."""
        return self.card.has_parts

    def known_counts(self) -> dict[str, int]:
        """Objects (or rooms) per split of the official release under these options; empty where not known."""
        return self.card.counts

    def remarks(self) -> tuple[str, ...]:
        """Return further lines for ``bench data check``."""
        return ()

    def offers_images(self) -> bool:
        """Whether `load` gives views under these options."""
        return self.card.has_images

    def offers_folds(self) -> bool:
        """Whether it consists of few-shot folds (`few_shot_folds`), which no other protocol can use."""
        return False

    def few_shot_folds(self, way: int, shot: int) -> tuple[GivenFold, ...]:
        """Return the few-shot folds of a setting.

        Raises:
            UsageError: This data set has none; folds are then drawn.
        """
        raise UsageError(f"data set '{self.name}' brings no few-shot folds along")

    @abstractmethod
    def load(self, split: SplitName) -> CloudSet:
        """Load one split.

        Raises:
            DataError: One line naming the file and what is wrong with it.
        """


def _checking_load(load: Callable[[Dataset, SplitName], CloudSet]) -> Callable[[Dataset, SplitName], CloudSet]:
    """Wrap a loader so that nobody gets clouds that were not checked."""

    @functools.wraps(load)
    def checked(self: Dataset, split: SplitName) -> CloudSet:
        return check_clouds(f"data set '{self.name}', {split} split", load(self, split))

    return checked


def _checking_rooms(rooms: Callable[[Dataset], Sequence[Room]]) -> Callable[[Dataset], Sequence[Room]]:
    """Wrap a loader of rooms likewise; each room is checked when it is asked for."""

    @functools.wraps(rooms)
    def checked(self: Dataset) -> Sequence[Room]:
        return CheckedRooms(f"data set '{self.name}'", rooms(self))

    return checked
