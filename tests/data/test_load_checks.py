"""What any data set hands out is checked, whoever wrote its loader."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.data.base import CloudSet, DataPlace, Dataset, Room
from bench.data.rows import MappedRows
from bench.errors import DataError

Made = Callable[[Path], Any]


class Foreign(Dataset):
    """A plugin's data set, whose loader checks nothing."""

    name = "foreign"

    def __init__(self, place: DataPlace, made: Made) -> None:
        super().__init__(place)
        self.made = made

    def manifest(self) -> str:
        return "0" * 64

    def train_size(self) -> int:
        return 3

    def classes(self) -> tuple[str, ...]:
        return ("cup",)

    def load(self, split: str) -> CloudSet:
        points = self.made(self.place.cache)
        ids = ("cup-0", "cup-1", "cup-2")
        found = CloudSet(points, np.zeros(len(points), np.int64), ids[: len(points)], ("cup",))
        return replace(found, labels=found.labels[:2]) if split == "test" else found

    def rooms(self) -> Sequence[Room]:
        return [
            Room(f"office_{i}", 1, cloud, None, np.zeros(len(cloud), np.int64))
            for i, cloud in enumerate(self.made(self.place.cache))
        ]


class Grandchild(Foreign):
    """A plugin built on another data set's loader."""

    def load(self, split: str) -> CloudSet:
        found = super().load(split)
        return replace(found, points=found.points * 1e30)


def clouds(value: float = 0.5, dtype: str = "float32") -> np.ndarray:
    points = np.random.default_rng(0).normal(size=(3, 40, 3)).astype(dtype)
    points[1, 17, 2] = value
    return points


def mapped(value: float) -> Made:
    """Clouds in a file of the plugin's own, not in the cache."""

    def make(folder: Path) -> np.ndarray:
        np.save(folder / "own.npy", clouds(value))
        return np.load(folder / "own.npy", mmap_mode="r")

    return make


def picked(folder: Path) -> Any:
    return MappedRows(mapped(np.nan)(folder), np.array([2, 1, 0]))


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda _: clouds(np.nan), "object 'cup-1' point 17 axis z is nan, expected a finite number"),
        (lambda _: clouds(-np.inf), "object 'cup-1' point 17 axis z is -inf"),
        (lambda _: clouds(3e38), "object 'cup-1' point 17 axis z is 3e+38, expected at most 1e+12"),
        (mapped(np.nan), "object 'cup-1' point 17 axis z is nan"),
        (picked, "object 'cup-1' point 17 axis z is nan"),
        (lambda _: np.ones((3, 40, 3), np.float32), "object 'cup-0': all 40 points are identical"),
        (lambda _: clouds(dtype="float64"), "points are float64 [3, 40, 3], expected float32 [objects, points, 3]"),
        (lambda _: clouds()[:, :, :2], "points are float32 [3, 40, 2]"),
        (lambda _: clouds()[:, :0], "points are float32 [3, 0, 3]"),
    ],
)
def test_clouds_of_a_plugin_are_refused_by_name(tmp_path: Path, made: Made, said: str) -> None:
    """NaN became features, and the report blamed the weights."""
    for _ in range(2):  # what was refused once is not taken for seen
        with pytest.raises(DataError) as refused:
            Foreign(DataPlace(tmp_path), made).load("train")
        assert str(refused.value).startswith("data set 'foreign', train split: ")
        assert said in str(refused.value)


def test_sound_clouds_pass_and_every_override_is_checked(tmp_path: Path) -> None:
    """A class that builds on a checked loader could still hand out anything."""
    for made in (lambda _: clouds(), mapped(0.5)):
        assert Foreign(DataPlace(tmp_path), made).load("train").points.shape == (3, 40, 3)
    with pytest.raises(DataError, match=r"axis x is .*e\+"):
        Grandchild(DataPlace(tmp_path), lambda _: clouds()).load("train")
    with pytest.raises(DataError, match="test split: 3 clouds, 2 labels and 3 names"):
        Foreign(DataPlace(tmp_path), lambda _: clouds()).load("test")


def test_a_mapped_file_that_changed_is_looked_at_again(tmp_path: Path) -> None:
    """Files are looked at once in a process, as long as they stay what they were."""
    assert len(Foreign(DataPlace(tmp_path), mapped(0.5)).load("train")) == 3
    with pytest.raises(DataError, match="point 17 axis z is nan"):
        Foreign(DataPlace(tmp_path), mapped(np.nan)).load("train")


def test_rooms_are_checked_when_they_are_asked_for(tmp_path: Path) -> None:
    """Rooms are read one at a time, so are they checked."""
    rooms = Foreign(DataPlace(tmp_path), lambda _: clouds(np.nan)).rooms()
    assert (len(rooms), rooms[0].name, rooms[-1].name) == (3, "office_0", "office_2")
    for ask in (lambda: rooms[1], lambda: list(rooms), lambda: rooms[:2][-1]):
        with pytest.raises(DataError, match="data set 'foreign': room 'office_1' point 17 axis z is nan"):
            ask()
