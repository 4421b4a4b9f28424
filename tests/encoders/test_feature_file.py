"""Files of features. If these fail, a row is judged under another object's label, or a stranger's file runs code."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bench.encoders.base import named_features
from bench.encoders.feature_file import read_feature_file
from bench.errors import DataError, UsageError

IDS = {"train": [f"chair/{i}" for i in range(6)], "test": [f"lamp/{i}" for i in range(4)]}
Arrays = dict[str, Any]


def arrays() -> Arrays:
    """A sound file, its rows in an order of their own."""
    ids, split = np.array(IDS["train"] + IDS["test"]), np.array(["train"] * 6 + ["test"] * 4)
    order = np.random.default_rng(0).permutation(10)
    features = np.arange(30, dtype=np.float32).reshape(10, 3)
    return {"ids": ids[order], "split": split[order], "features": features[order]}


def write(folder: Path, content: Arrays, kind: str) -> Path:
    path = folder / f"mine.{kind}"
    if kind == "npz":
        np.savez(path, **content)
        return path
    with h5py.File(path, "w") as file:
        for name, values in content.items():
            texts = np.asarray(values).dtype.kind == "U"
            file.create_dataset(name, data=[*map(str, values)] if texts else values)
    return path


def changed(**other: object) -> Callable[[Arrays], None]:
    return lambda content: content.update(other)


def at(name: str, row: int, value: object) -> Callable[[Arrays], None]:
    def change(content: Arrays) -> None:
        values = content[name].astype("U20") if isinstance(value, str) else content[name]
        values[row] = value
        content[name] = values

    return change


def rows(*kept: int) -> Callable[[Arrays], None]:
    return lambda content: content.update({name: values[list(kept)] for name, values in content.items()})


def added(one: str, split: str) -> Callable[[Arrays], None]:
    def change(content: Arrays) -> None:
        more = {"ids": one, "split": split, "features": np.zeros(3, np.float32)}
        content.update({name: np.concatenate([values, [more[name]]]) for name, values in content.items()})

    return change


@pytest.mark.parametrize("kind", ["npz", "h5"])
def test_rows_are_found_by_id_not_by_place(tmp_path: Path, kind: str) -> None:
    """The writer's order is its own."""
    found = read_feature_file(write(tmp_path, arrays(), kind))
    found.check(IDS, "data set 'x'")
    np.testing.assert_array_equal(found.of("features", "train", ["chair/4", "chair/0"])[:, 0], [12, 0])
    np.testing.assert_array_equal(found.of("features", "test", IDS["test"])[:, 0], [18, 21, 24, 27])


FAULTS: list[tuple[Callable[[Arrays], None], str]] = [
    (rows(*range(9)), r"has no row for object 'chair/\d' of the train split of data set 'x'|split of data set 'x'"),
    (added("ghost", "test"), "row 10 is of object 'ghost', which is not in the test split of data set 'x'"),
    (added("chair/2", "train"), r"rows \d and 10 are both of object 'chair/2' in split 'train'"),
    (added("chair/2", "test"), "row 10 is of object 'chair/2', which is not in the test split"),
    (at("split", 3, "validation"), "split of row 3 is 'validation', expected 'train' or 'test'"),
    (changed(split=np.array(["test"] * 10)), r"is of split 'test', but data set 'x' has it in 'train' \(and 5 more\)"),
    (at("features", 2, np.nan), r"'features' row 2 \(object '[a-z]+/\d'\) column 0 is nan, expected a finite float32"),
    (changed(features=np.full((10, 3), 1e300)), r"column 0 is 1e\+300, expected a finite float32 \(and 9 more\)"),
    (changed(features=np.zeros((3, 10))), r"'features' is float64 \[3, 10\], expected floats \[10 objects, width\]"),
    (changed(features=np.zeros(10)), r"is float64 \[10\], expected floats"),
    (changed(features=np.zeros((10, 0))), r"is float64 \[10, 0\], expected floats"),
    (changed(features=np.zeros((10, 3), int)), r"is int64 \[10, 3\], expected floats"),
    (changed(features=np.zeros((10, 3), complex)), r"is complex128 \[10, 3\], expected floats"),
    (changed(ids=np.arange(10)), r"'ids' is int64 \[10\], expected texts"),
    (changed(split=np.array(["train"] * 9)), "10 ids and 9 splits"),
    (lambda content: content.pop("ids"), "array 'ids' is missing"),
    (lambda content: content.pop("split"), "array 'split' is missing"),
    (lambda content: content.pop("features"), "holds no features"),
]


@pytest.mark.parametrize("kind", ["npz", "h5"])
@pytest.mark.parametrize(
    ("break_it", "words"), FAULTS, ids=lambda value: value[:30] if isinstance(value, str) else None
)
def test_a_wrong_file_is_one_line(tmp_path: Path, kind: str, break_it: Callable[[Arrays], None], words: str) -> None:
    """Whoever wrote it has to see which row to mend."""
    content = arrays()
    break_it(content)
    path = write(tmp_path, content, kind)
    with pytest.raises(DataError, match=words) as error:
        read_feature_file(path).check(IDS, "data set 'x'")
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("a stranger's code ran",))


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    """A file from the internet would run as the reader."""
    content = arrays()
    content["ids"] = np.array([Bomb()] * 10, dtype=object)
    path = write(tmp_path, content, "npz")
    with pytest.raises(DataError, match="array 'ids': holds Python objects, which could run code"):
        read_feature_file(path)
    for name in ("bare.npz", "bare.h5"):
        (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
        with pytest.raises(DataError):
            read_feature_file(tmp_path / name)


@pytest.mark.parametrize("kind", ["npz", "h5"])
def test_damaged_and_misnamed_files_are_one_line(tmp_path: Path, kind: str) -> None:
    """Half a download must not be read as half of the objects."""
    path = write(tmp_path, arrays(), kind)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (tmp_path / f"empty.{kind}").touch()
    (tmp_path / "mine.csv").write_text("ids,split\n")
    (tmp_path / f"folder.{kind}").mkdir()
    for bad in (
        path,
        tmp_path / f"empty.{kind}",
        tmp_path / "mine.csv",
        tmp_path / f"folder.{kind}",
        tmp_path / "no.npz",
    ):
        with pytest.raises(DataError) as error:
            read_feature_file(bad)
        assert str(bad) in str(error.value)
        assert "\n" not in str(error.value)


def test_which_of_several_features_is_judged_is_not_guessed(tmp_path: Path) -> None:
    """The first of two arrays would be an accident of the writer's order."""
    content = arrays()
    one = read_feature_file(write(tmp_path, content, "npz")).declared
    assert named_features(one, "it") == {"features": "features", "transfer": "features", "svm": "features"}
    content["other"] = content["features"][:, :2]
    with pytest.raises(UsageError, match="features, other: call the one that protocols are to judge 'transfer'"):
        named_features(read_feature_file(write(tmp_path, content, "npz")).declared, "it")
    content["transfer"] = content.pop("other")
    two = read_feature_file(write(tmp_path, content, "npz")).declared
    assert named_features(two, "it") == {"features": "features", "transfer": "transfer", "svm": "transfer"}
