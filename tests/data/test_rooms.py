"""shapes-rooms: the embedded rooms are rooms, labelled right, different by area, and the same every time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from bench.data.base import DataPlace, Room
from bench.data.rooms.dataset import ShapesRooms
from bench.data.rooms.generate import build_room, make_room, room_name
from bench.data.rooms.roomset import CLASSES, area_of
from bench.errors import SetupError, UsageError
from bench.plan.presets import PRESETS

CEILING, FLOOR, WALL = (CLASSES.index(name) for name in ("ceiling", "floor", "wall"))


def rooms_of(cache: Path, **options: int) -> ShapesRooms:
    return ShapesRooms(DataPlace(cache), ShapesRooms.Options.model_validate(options))


def small(cache: Path, **options: int) -> ShapesRooms:
    return rooms_of(cache, **{"rooms_per_area": 1, "points_per_room": 400, **options})


@pytest.fixture(scope="module")
def default(tmp_path_factory: pytest.TempPathFactory) -> list[Room]:
    """All rooms of the default set, with fewer points: the layout does not depend on them."""
    return list(rooms_of(tmp_path_factory.mktemp("rooms"), points_per_room=6000).rooms())


def test_every_area_has_every_class(default: list[Room]) -> None:
    """A class that the held-out area lacks would make the mean IoU a matter of convention."""
    for area in range(1, 7):
        labels = np.concatenate([room.labels for room in default if room.area == area])
        assert set(np.unique(labels)) == set(range(len(CLASSES))), area


def test_rooms_lie_as_those_of_s3dis_do(default: list[Room]) -> None:
    """Blocks are cut in metres from the corner; z up decides what a column of 1 m x 1 m holds."""
    for room in default:
        assert room.points.dtype == np.float32
        assert np.allclose(room.points.min(axis=0), 0)
        extent = room.points.max(axis=0)
        assert 1.5 < extent[0] < 12
        assert 1.5 < extent[1] < 12
        assert 2.4 < extent[2] < 4.2
        height = room.points[:, 2]
        assert height[room.labels == FLOOR].max() < 0.2
        assert height[room.labels == CEILING].min() > extent[2] - 0.2
        assert room.labels.dtype == np.int64
        assert room.colours is not None
        assert room.colours.dtype == np.uint8
        assert area_of(room.name) == room.area
        shares = np.bincount(room.labels, minlength=len(CLASSES)) / len(room.labels)
        assert 0.1 < shares[WALL] < 0.6
        furniture = 1 - shares[[CEILING, FLOOR, WALL]].sum()
        assert furniture > 0.1, f"{room.name} is empty"


def test_walls_stand_at_the_sides_and_furniture_stands_inside(default: list[Room]) -> None:
    for room in default:
        x, y = room.points[room.labels == WALL][:, :2].T
        w, d = room.points[:, :2].max(axis=0)
        assert (np.minimum.reduce([x, y, w - x, d - y]) < 0.45).all()
        inside = room.points[np.isin(room.labels, [CLASSES.index(n) for n in ("chair", "sofa", "bookcase")])]
        if len(inside):
            assert (inside[:, :2].min(axis=0) > 0).all()
            assert (inside[:, :2].max(axis=0) < (w, d)).all()


def test_furniture_does_not_stand_in_furniture() -> None:
    """Two labels in one place would put a bound on every method's IoU."""
    for area in range(1, 7):
        pieces, shell = build_room(0, area, 1)
        boxes = [
            (p.mesh.vertices.min(axis=0), p.mesh.vertices.max(axis=0))
            for p in pieces[shell:]
            if p.mesh.vertices[:, 2].min() < 0.01
        ]
        assert len(boxes) >= 3
        for i, (low, high) in enumerate(boxes):
            for other_low, other_high in boxes[i + 1 :]:
                assert not ((low[:2] < other_high[:2]) & (high[:2] > other_low[:2])).all(), (area, i)


def test_areas_differ_in_colour(default: list[Room]) -> None:
    """If all areas looked alike, holding one out would test nothing."""
    means = []
    for area in range(1, 7):
        walls = [r.colours[r.labels == WALL] for r in default if r.area == area and r.colours is not None]
        means.append(np.concatenate(walls).mean(axis=0))
    gaps = [np.abs(a - b).max() for i, a in enumerate(means) for b in means[i + 1 :]]
    assert min(gaps) > 5


def test_the_same_in_another_process_and_from_the_cache(tmp_path: Path) -> None:
    """A result is only found again if the rooms behind its manifest are the same."""
    first = small(tmp_path / "a").rooms()
    again = small(tmp_path / "a").rooms()
    code = (
        "import sys; from pathlib import Path; from bench.data.base import DataPlace\n"
        "from bench.data.rooms.dataset import ShapesRooms\n"
        "o = ShapesRooms.Options(rooms_per_area=1, points_per_room=400)\n"
        "s = ShapesRooms(DataPlace(Path(sys.argv[1])), o); s.rooms(); print(s.manifest())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "b")],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "7"},
    )
    assert done.stdout.strip() == small(tmp_path).manifest()
    other = small(tmp_path / "b").rooms()
    for a, b, c in zip(first, again, other, strict=True):
        assert a.name == b.name == c.name
        assert np.array_equal(a.points, b.points)
        assert np.array_equal(a.points, c.points)
        assert np.array_equal(a.labels, c.labels)


def test_a_room_does_not_depend_on_the_others() -> None:
    """More rooms per area keep the ones there were, so that a larger set extends a smaller."""
    assert np.array_equal(make_room(0, 2, 1, 500).points, make_room(0, 2, 1, 500).points)
    assert not np.array_equal(make_room(0, 2, 1, 500).points, make_room(1, 2, 1, 500).points)
    names = [room_name(3, index) for index in range(14)]
    assert len(set(names)) == 14


def test_the_manifest_follows_the_options(tmp_path: Path) -> None:
    seen = {small(tmp_path, **o).manifest() for o in ({}, {"seed": 1}, {"points_per_room": 999}, {"test_area": 3})}
    assert len(seen) == 4


def test_the_train_size_counts_rooms_outside_the_held_out_area(tmp_path: Path) -> None:
    dataset = rooms_of(tmp_path)
    assert dataset.train_size() == dataset.card.counts["train"] == 20
    assert len(dataset.areas()) - dataset.train_size() == dataset.card.counts["test"]
    assert dataset.known_counts() == dataset.card.counts
    assert rooms_of(tmp_path, rooms_per_area=2, test_area=1).known_counts() == {"train": 10, "test": 2}
    with pytest.raises(ValidationError):
        rooms_of(tmp_path, test_area=7)


def test_rooms_are_no_objects(tmp_path: Path) -> None:
    """A linear probe on rooms must say what to use instead."""
    with pytest.raises(UsageError, match=r"shapes-rooms.*semseg"):
        small(tmp_path).load("train")


def test_another_test_area_needs_no_new_rooms(tmp_path: Path) -> None:
    small(tmp_path).rooms()
    small(tmp_path, test_area=2).rooms()
    assert len(list((tmp_path / "datasets").iterdir())) == 1


def test_slices_and_negative_places(tmp_path: Path) -> None:
    rooms = small(tmp_path).rooms()
    assert len(rooms) == 6
    assert rooms[-1].area == 6
    assert [room.area for room in rooms[1:3]] == [2, 3]
    with pytest.raises(IndexError):
        rooms[6]


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "datasets").write_text("in the way")
    with pytest.raises(SetupError) as caught:
        small(tmp_path).rooms()
    assert "\n" not in str(caught.value)


def test_a_damaged_cache_is_made_again(tmp_path: Path) -> None:
    rooms = small(tmp_path).rooms()
    points = np.array(rooms[0].points)
    stored = next((tmp_path / "datasets").glob("*/rooms/points.npy"))
    stored.write_bytes(stored.read_bytes()[:-100])
    assert np.array_equal(small(tmp_path).rooms()[0].points, points)


def test_smoke_rooms_take_no_time(tmp_path: Path) -> None:
    start = time.process_time()
    rooms = rooms_of(tmp_path, **PRESETS["smoke"].data["shapes-rooms"]).rooms()  # type: ignore[arg-type]
    assert len(rooms) == 6
    assert time.process_time() - start < 5
