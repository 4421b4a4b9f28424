"""One HDF5 file: fields by name, a split of its own or a fixed one, and one clear line for what is broken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bench.data.base import DataPlace, Dataset
from bench.data.single_h5 import SingleH5
from bench.errors import DataError

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def points(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, 24, 3)).astype(np.float32)


def write(path: Path, **fields: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, value in fields.items():
            file[name] = value
    return path


def h5(path: Path, **options: object) -> SingleH5:
    return SingleH5(DataPlace(path.parent / "cache", path), SingleH5.Options.model_validate(options))


def refusal(dataset: Dataset) -> str:
    with pytest.raises(DataError) as caught:
        dataset.load("train")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """One array: 30 objects of 3 classes, with normals and parts."""
    return write(
        tmp_path / "Dinge ö.h5",
        data=points(30),
        label=(np.arange(30) % 3)[:, None],
        normal=points(30, 1),
        pid=np.tile(np.arange(30, dtype=np.uint8)[:, None], (1, 24)),
    )


def test_a_file_without_split_is_split_class_by_class(whole: Path) -> None:
    dataset = h5(whole)
    train, test = dataset.load("train"), dataset.load("test")
    assert len(train) == dataset.train_size() == 24
    assert np.bincount(test.labels).tolist() == [2, 2, 2]
    assert not set(train.ids) & set(test.ids)
    rows = [int(name.rpartition("/")[2]) for name in test.ids]
    assert np.array_equal(test.points, points(30)[rows])
    assert test.normals is not None
    assert np.array_equal(test.normals, points(30, 1)[rows])
    assert test.parts is not None
    assert test.parts[:, 0].tolist() == rows
    assert np.array_equal(test.labels, np.asarray(rows) % 3)
    assert h5(whole).load("test").ids == test.ids
    assert {h5(whole, split_seed=s).load("test").ids for s in range(4)} != {test.ids}


def test_a_files_own_split_is_kept(tmp_path: Path) -> None:
    path = write(
        tmp_path / "own.h5",
        train_data=points(6),
        train_label=np.arange(6) % 2,
        test_data=points(4, 1),
        test_label=np.arange(4) % 2,
        test_pid=np.zeros((4, 24), int),
    )
    train, test = h5(path).load("train"), h5(path).load("test")
    assert np.array_equal(train.points, points(6))
    assert np.array_equal(test.points, points(4, 1))
    assert train.parts is None
    assert test.parts is not None
    assert train.classes == ("class_0", "class_1")


def test_fields_are_named_by_options(tmp_path: Path) -> None:
    path = write(tmp_path / "x.h5", X=points(6).astype(np.float64), y=np.arange(6) % 2)
    assert "has neither field 'train_data' nor 'data'; the file holds: X, y" in refusal(h5(path))
    assert len(h5(path, data="X", label="y").load("train")) == 4
    assert h5(path, data="X", label="y").manifest() != h5(path).manifest()


def test_names_beside_the_file(whole: Path) -> None:
    names = whole.with_name("shape_names.txt")
    before = h5(whole).manifest()
    names.write_text("Tasse\nTeller\nKrug\n", encoding="utf-8")
    assert h5(whole).classes() == ("Tasse", "Teller", "Krug")
    assert h5(whole).manifest() != before
    names.write_text("Tasse\nTeller\n", encoding="utf-8")
    assert "has a label 2, expected 0 to 1" in refusal(h5(whole))
    names.write_text("Tasse\nTeller\nTasse\n", encoding="utf-8")
    assert "a class stands on two lines" in refusal(h5(whole))


def test_a_folder_with_one_file_will_do(whole: Path) -> None:
    """Local names (bench data add) stand for folders."""
    assert h5(whole.parent).manifest() == h5(whole).manifest()
    write(whole.with_name("other.hdf5"), data=points(2))
    assert "there are 2 (Dinge ö.h5, other.hdf5); name it" in refusal(h5(whole.parent))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"data": points(4), "label": np.arange(3)}, "field 'label' has 3 rows but 'data' has 4"),
        ({"data": points(4)}, "field 'label' is missing"),
        ({"data": points(4).astype(int), "label": np.arange(4)}, "expected a float type"),
        ({"data": points(4), "label": np.arange(4) / 2}, "expected whole numbers"),
        ({"data": points(4)[:, :, :2], "label": np.arange(4)}, "expected [n, N, 3]"),
        ({"data": points(4) * np.nan, "label": np.zeros(4, int)}, "expected a finite number"),
        ({"data": points(3), "label": np.arange(3)}, "the test split has no objects"),
        ({"train_data": points(4), "train_label": np.zeros(4, int)}, "field 'test_data' is missing"),
        (
            {"train_data": points(2), "train_label": [0, 1], "test_data": points(1), "test_label": [2]},
            "field 'test_label' has classes no training object has: 2",
        ),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, fields: dict[str, Any], words: str) -> None:
    path = write(tmp_path / "broken.h5", **fields)
    line = refusal(h5(path))
    assert words in line
    assert "broken.h5" in line


def test_files_that_are_no_hdf5_are_named(whole: Path, tmp_path: Path) -> None:
    whole.write_bytes(whole.read_bytes()[:-900])
    assert "Dinge ö.h5: breaks off (truncated" in refusal(h5(whole))
    whole.write_text("text")
    assert "is not an HDF5 file" in refusal(h5(whole))
    assert "no such file" in refusal(h5(tmp_path / "gone.h5"))
    link = tmp_path / "link.h5"
    link.symlink_to(tmp_path / "nowhere.h5")
    assert "no such file" in refusal(h5(link))


@pytest.mark.skipif(not (SHARED / "ldraw40").is_dir(), reason="the shared data folder is not beside the repository")
def test_a_file_of_the_shared_data_reads_as_one(tmp_path: Path) -> None:
    dataset = SingleH5(DataPlace(tmp_path, SHARED / "ldraw40" / "ply_data_test0.h5"))
    assert len(dataset.load("train")) + len(dataset.load("test")) == 329
    assert len(dataset.classes()) == 40
    listed = (SHARED / "ldraw40" / "shape_names.txt").read_text(encoding="utf-8").split()
    assert list(dataset.classes()) == listed
    assert dataset.load("train").parts is not None
