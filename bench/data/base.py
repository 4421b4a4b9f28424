"""Interface of a data set.

A `Dataset` reads or generates data at a place on disk; `load` returns a `CloudSet` of plain arrays that may be
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
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from bench.data.containers import NO_OBJECTS as NO_OBJECTS
from bench.data.containers import CloudSet as CloudSet
from bench.data.containers import GivenFold as GivenFold
from bench.data.containers import Room as Room
from bench.data.corruptions import CONDITIONS, SUITE, Condition, corrupt
from bench.data.load_checks import CheckedRooms, check_clouds
from bench.errors import UsageError
from bench.progress import Progress as Progress
from bench.progress import silent as silent
from bench.spec import Frozen

SplitName = Literal["train", "test"]


class DatasetCard(BaseModel):
    """Description of a data set, for listings and reports."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    summary: str
    licence: str
    terms: str
    citation: str
    normalisation: str
    """Usual normalisation of the coordinates in the literature."""
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
        """Return the words for an unknown size or count."""
        if self.how_to_get.startswith("embedded"):
            return "set by the options"
        return "that of your files" if self.how_to_get.startswith("your own") else "not known"


@dataclass
class DataPlace:
    """Folders that a data set reads and caches in.

    They never enter a key.
    """

    cache: Path
    root: Path | None = None
    progress: Progress = field(default=silent, repr=False)


class Dataset(ABC):
    """A data set with its folders and options.

    Subclasses set `name`, `card` and `Options`, and implement `manifest`, `classes` and `load`. The results of `load`
    and `rooms` are checked before they are returned (`bench.data.load_checks`).
    Importing the module must not import torch.
    """

    name: ClassVar[str]
    card: ClassVar[DatasetCard]
    needs_root: ClassVar[bool] = False
    takes_file: ClassVar[bool] = False
    """Whether the root may be one file instead of a folder."""
    fixed_classes: ClassVar[bool] = False
    """Whether the format defines the classes, so that a class may have no objects in the user's files."""

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
        """Return the SHA-256 of everything that determines the arrays.

        These are files or generator, and options. Must be cheap when called again: file digests are cached
        (`bench.data.digest`).
        """

    @abstractmethod
    def train_size(self) -> int:
        """Return the number of training objects.

        Without loading or generating clouds where possible.
        """

    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """Return class names, index = label, without loading clouds."""

    def rooms(self) -> Sequence[Room]:
        """Return all rooms; large ones are read lazily.

        Raises:
            UsageError: This data set has no rooms.
        """
        raise UsageError(f"data set '{self.name}' has no rooms; semantic segmentation needs s3dis or shapes-rooms")

    def part_names(self) -> dict[str, tuple[int, ...]]:
        """Return the part ids of each category.

        Read from the training split if the data set does not define them.
        """
        train = self.load("train")
        if train.parts is None:
            raise UsageError(f"data set '{self.name}' has no part labels")
        return {
            name: tuple(int(part) for part in np.unique(train.parts[train.labels == label]) if part >= 0)
            for label, name in enumerate(train.classes)
        }

    def corruptions(self) -> tuple[str, tuple[str, ...]]:
        """Return identity and conditions of the corrupted test clouds.

        By default those of `bench.data.corruptions`; released corrupted files override it and `corrupted`.
        """
        return SUITE, tuple(map(str, CONDITIONS))

    def corrupted(self, condition: str, clouds: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the test clouds under a condition.

        Args:
            condition: One of `corruptions`.
            clouds: The clean test clouds ``[n, N, 3]``.

        Returns:
            float32 ``[n, N', 3]``, in the same order.
        """
        return corrupt(clouds, Condition.of(condition))

    @property
    def test_area(self) -> int:
        """Return the area whose rooms are the test split.

        Area 5 in the literature.
        """
        return 5

    def offers_parts(self) -> bool:
        """Return whether `load` returns parts in both splits.

        Part segmentation needs them.
        """
        return self.card.has_parts

    def known_counts(self) -> dict[str, int]:
        """Return the official numbers of objects or rooms per split.

        They hold for these options; empty if unknown.
        """
        return self.card.counts

    def remarks(self) -> tuple[str, ...]:
        """Return further lines for ``bench data check``."""
        return ()

    def offers_images(self) -> bool:
        """Return whether `load` returns views under these options."""
        return self.card.has_images

    def offers_folds(self) -> bool:
        """Return whether the set consists of few-shot folds.

        No other protocol can use them (`few_shot_folds`).
        """
        return False

    def few_shot_folds(self, way: int, shot: int) -> tuple[GivenFold, ...]:
        """Return the few-shot folds of a setting.

        Raises:
            UsageError: This data set has none; the caller then draws folds.
        """
        raise UsageError(f"data set '{self.name}' has no few-shot folds")

    @abstractmethod
    def load(self, split: SplitName) -> CloudSet:
        """Load one split.

        Raises:
            DataError: A file is invalid; the message names file and fault.
        """


def _checking_load(load: Callable[[Dataset, SplitName], CloudSet]) -> Callable[[Dataset, SplitName], CloudSet]:
    """Wrap a `load` method so that its clouds are checked."""

    @functools.wraps(load)
    def checked(self: Dataset, split: SplitName) -> CloudSet:
        return check_clouds(f"data set '{self.name}', {split} split", load(self, split))

    return checked


def _checking_rooms(rooms: Callable[[Dataset], Sequence[Room]]) -> Callable[[Dataset], Sequence[Room]]:
    """Wrap a `rooms` method so that its rooms are checked.

    Each room is checked when it is read.
    """

    @functools.wraps(rooms)
    def checked(self: Dataset) -> Sequence[Room]:
        return CheckedRooms(f"data set '{self.name}'", rooms(self))

    return checked
