"""ModelNet in its text layout and as the field's ``.dat`` cache: read right, and refused in one line if broken."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.data.base import DataPlace
from bench.data.modelnet import ModelNet
from bench.errors import DataError

CLASSES = ("night_stand", "cup", "vase")
TRAIN, TEST, ROWS = 3, 2, 40


def names(split: str) -> list[str]:
    numbers = range(1, TRAIN + 1) if split == "train" else range(TRAIN + 1, TRAIN + TEST + 1)
    return [f"{name}_{number:04d}" for name in CLASSES for number in numbers]


def table(name: str, rows: int = ROWS) -> np.ndarray:
    seed = [CLASSES.index(name.rpartition("_")[0]), int(name[-4:])]
    return np.round(np.random.default_rng(seed).normal(size=(rows, 6)), 6).astype(np.float32)


def write(folder: Path, categories: int = 40) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"modelnet{categories}_shape_names.txt").write_text("\n".join(CLASSES) + "\n", encoding="utf-8")
    for split in ("train", "test"):
        (folder / f"modelnet{categories}_{split}.txt").write_text("\n".join(names(split)) + "\n", encoding="utf-8")
        for name in names(split):
            below = folder / name.rpartition("_")[0]
            below.mkdir(exist_ok=True)
            np.savetxt(below / f"{name}.txt", table(name), delimiter=",", fmt="%.6f")
    return folder


def write_dat(folder: Path, change: Callable[[list[Any], list[Any]], object] = lambda clouds, labels: None) -> Path:
    """Write the cache: clouds of half as many points, marked by the order of their rows."""
    for split in ("train", "test"):
        clouds = [table(name)[::2].copy() for name in names(split)]
        labels = [np.array([CLASSES.index(name.rpartition("_")[0])]).astype(np.int32) for name in names(split)]
        if split == "train":
            change(clouds, labels)
        path = folder / f"modelnet40_{split}_8192pts_fps.dat"
        path.write_bytes(pickle.dumps([clouds, labels]))
    return folder / "modelnet40_train_8192pts_fps.dat"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(tmp_path / "modelnet40_normal_resampled")


def modelnet(root: Path, **options: Any) -> ModelNet:
    return ModelNet(DataPlace(root.parent / "cache", root), ModelNet.Options.model_validate(options))


def use(root: Path, **options: Any) -> None:
    data = modelnet(root, **options)
    data.manifest()
    data.load("train")
    data.load("test")


def refusal(root: Path, where: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        use(root, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert str(where) in message
    return message


@pytest.mark.parametrize("source", ["txt", "dat"])
def test_both_sources_give_the_clouds_of_the_lists(root: Path, source: str) -> None:
    """A cloud would be evaluated under another object's label."""
    write_dat(root)
    data = modelnet(root, source=source, normals=True)
    step = 2 if source == "dat" else 1
    for split, count in (("train", TRAIN), ("test", TEST)):
        clouds = data.load(split)  # type: ignore[arg-type]
        assert clouds.ids == tuple(names(split))
        assert clouds.classes == CLASSES
        assert clouds.labels.tolist() == np.repeat(np.arange(3), count).tolist()
        assert clouds.normals is not None
        for cloud, normals, name in zip(clouds.points, clouds.normals, clouds.ids, strict=True):
            np.testing.assert_array_equal(np.hstack([cloud, normals]), table(name)[::step])
    assert data.train_size() == TRAIN * 3
    assert modelnet(root, source=source).load("test").normals is None


def test_auto_takes_the_cache_where_it_is_whole(root: Path) -> None:
    """The field's own points (farthest point sampling) would be passed over, or half a cache be used."""
    assert modelnet(root).load("test").points.shape[1] == ROWS
    train = write_dat(root)
    assert modelnet(root).load("test").points.shape[1] == ROWS // 2
    train.unlink()
    assert modelnet(root).load("test").points.shape[1] == ROWS
    assert "which source=dat needs" in refusal(root, root, source="dat")


def test_the_cache_alone_is_enough(root: Path) -> None:
    """ReCon's layout has the lists and the cache, but no text files."""
    write_dat(root)
    for name in CLASSES:
        for path in (root / name).iterdir():
            path.unlink()
        (root / name).rmdir()
    assert len(modelnet(root).load("train")) == 9


@pytest.mark.parametrize("source", ["txt", "dat"])
def test_fewer_points(root: Path, source: str) -> None:
    """The stated choice of points would not be what is read, or change from run to run."""
    write_dat(root)
    every = modelnet(root, source=source).load("train").points
    first = modelnet(root, source=source, points=16).load("train").points
    np.testing.assert_array_equal(first, every[:, :16])
    random = modelnet(root, source=source, points=16, pick="random").load("train").points
    assert random.shape == first.shape
    assert not np.array_equal(random, first)
    for some, cloud in zip(random, every, strict=True):
        assert {tuple(p) for p in some.tolist()} < {tuple(p) for p in cloud.tolist()}
    again = ModelNet(
        DataPlace(root.parent / "other", root),
        ModelNet.Options.model_validate({"source": source, "points": 16, "pick": "random"}),
    )
    np.testing.assert_array_equal(again.load("train").points, random)


def test_clouds_of_different_size_need_a_number(root: Path) -> None:
    """Objects resampled otherwise could not be read at all."""
    path = root / "cup" / "cup_0002.txt"
    np.savetxt(path, table("cup_0002", ROWS + 5), delimiter=",", fmt="%.6f")
    assert "expected the same in every file" in refusal(root, path)
    assert modelnet(root, points=ROWS).load("train").points.shape == (9, ROWS, 3)
    assert f"set data.points={ROWS}" in refusal(root, root / "night_stand", points=ROWS + 1)


def test_ten_categories(tmp_path: Path) -> None:
    """ModelNet10 would be read by the lists of ModelNet40."""
    root = write(tmp_path / "modelnet40_normal_resampled", categories=10)
    assert modelnet(root.parent, categories=10).load("test").classes == CLASSES
    assert "no modelnet40_shape_names.txt" in refusal(root, root)


def test_manifest_follows_content(root: Path) -> None:
    """A changed cloud would reuse old results, or a touched one repeat them."""
    first = modelnet(root).manifest()
    path = root / "cup" / "cup_0002.txt"
    os.utime(path, ns=(1, 10**18))
    assert modelnet(root).manifest() == first
    path.write_text(path.read_text().replace("1", "2"), encoding="utf-8")
    assert modelnet(root).manifest() != first
    assert modelnet(root, normals=True).manifest() != modelnet(root).manifest()


CUP = "cup/cup_0002.txt"
LIST = "modelnet40_train.txt"
SHAPES = "modelnet40_shape_names.txt"


@pytest.mark.parametrize(
    ("where", "harm", "says"),
    [
        (CUP, lambda p: p.unlink(), "1 of 9 are missing"),
        (CUP, lambda p: p.write_text(p.read_text()[:-20]), "line"),
        (CUP, lambda p: p.write_text(""), "is empty"),
        (CUP, lambda p: p.write_text(p.read_text().replace(",", " ")), "(fields have ',' between)"),
        (CUP, lambda p: p.write_text("1,2,nan,4,5,6\n" * ROWS), "expected a finite number"),
        (CUP, lambda p: p.write_text("1,2,3,4\n" * ROWS), "rows have 4 numbers"),
        (CUP, lambda p: p.write_text("1,2,3,4,5,6\n" * ROWS), "identical"),
        (LIST, lambda p: p.write_text("airplane_0001\n"), "line 1 is 'airplane_0001'"),
        (LIST, lambda p: p.write_text("cup_0001\ncup_0001\n"), "line 2 names cup_0001 again"),
        (LIST, lambda p: p.write_text("cup_0001\nvase_0001\n"), "class 'night_stand' has no training object"),
        ("modelnet40_test.txt", lambda p: p.write_text("cup_0001\n"), "again, after line 4 of modelnet40_train.txt"),
        ("modelnet40_test.txt", lambda p: p.write_bytes(b"cup\xff_0001\n"), "is not UTF-8"),
        (SHAPES, lambda p: p.write_text("cup\ncup\nvase\nnight_stand\n"), "names class 'cup' twice"),
        (SHAPES, lambda p: p.write_text("cup\n\nvase\n"), "line 2 is blank"),
    ],
)
def test_broken_folders_name_the_file(root: Path, where: str, harm: Callable[[Path], object], says: str) -> None:
    """A broken file among 12,311 would end in a traceback, or in a wrong number."""
    harm(root / where)
    assert says in refusal(root, root / where)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda clouds, labels: labels.pop(), "9 clouds but 8 labels"),
        (lambda clouds, labels: (labels.pop(), clouds.pop()), "the list of the split has 9"),
        (lambda clouds, labels: labels.__setitem__(2, np.array([1])), "object 2 has label [1]"),
        (lambda clouds, labels: labels.__setitem__(2, np.array([0.5])), "object 2 has label"),
        (lambda clouds, labels: clouds.__setitem__(4, clouds[4][:5]), "object 4 has 5 points"),
        (lambda clouds, labels: clouds.__setitem__(4, clouds[4].astype(int)), "object 4 is int64"),
        (lambda clouds, labels: clouds.__setitem__(4, clouds[4] * np.nan), "object 4 points row 0"),
        (lambda clouds, labels: clouds.__setitem__(4, None), "object 4 is NoneType"),
    ],
)
def test_broken_caches_name_the_file(root: Path, change: Callable[[list[Any], list[Any]], object], says: str) -> None:
    """A cache made of other lists, or damaged, would give wrong labels without a word."""
    path = write_dat(root, change)
    assert says in refusal(root, path)


class Evil:
    """Runs a command where it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


def test_a_cache_is_never_run(root: Path) -> None:
    """Opening a cache from the network would run its author's commands."""
    marker = root / "ran"
    path = write_dat(root, lambda clouds, labels: labels.append(Evil(f"touch '{marker}'")))
    assert "system" in refusal(root, path)
    assert not marker.exists()
    path.write_bytes(path.read_bytes()[:500])
    assert "truncated" in refusal(root, path)
    path.write_bytes(pickle.dumps({"points": 1}))
    assert "pair of lists" in refusal(root, path)
