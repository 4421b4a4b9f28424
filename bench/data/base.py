"""The contract of a data set.

A `Dataset` is a recipe bound to a place on disk; `load` gives a `CloudSet`, plain arrays that may be
memory-mapped. Validation is never a split of the data set: `bench.data.splits` carves it from `train`.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from bench.data.containers import NO_OBJECTS as NO_OBJECTS
from bench.data.containers import CloudSet as CloudSet
from bench.data.containers import GivenFold as GivenFold
from bench.data.containers import Room as Room
from bench.data.handed_out import CheckedRooms, check_clouds
from bench.errors import UsageError
from bench.progress import Progress as Progress
from bench.progress import silent as silent
from bench.spec import Frozen

SplitName = Literal["train", "test"]


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
