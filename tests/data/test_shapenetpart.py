"""ShapeNetPart: both releases load in the official layout with global part ids; broken files are named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from bench.data.base import DataPlace, Dataset
from bench.data.resample import resample_index
from bench.data.shapenetpart import PARTS, ShapeNetPart, ShapeNetPartH5
from bench.errors import DataError

AIRPLANE, BAG = "02691156", "02773838"
SIZES = {"train": 3, "val": 2, "test": 2}


def rows(count: int, first: int, last: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(size=(count, 6)), rng.integers(first, last + 1, (count, 1))], axis=1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two categories, 3 + 2 + 2 objects each, of 40 to 90 points."""
    folder = tmp_path / "shapenetcore_partanno_segmentation_benchmark_v0_normal"
    (folder / "train_test_split").mkdir(parents=True)
    (folder / "synsetoffset2category.txt").write_text(f"Airplane\t{AIRPLANE}\nBag\t{BAG}\n", encoding="utf-8")
    seed = 0
    for part, size in SIZES.items():
        listed = []
        for synset, (first, last) in ((BAG, (4, 5)), (AIRPLANE, (0, 3))):
            (folder / synset).mkdir(exist_ok=True)
            for number in range(size):
                seed += 1
                model = f"{part}{number}"
                np.savetxt(folder / synset / f"{model}.txt", rows(40 + 5 * seed % 90, first, last, seed), fmt="%.6f")
                listed.append(f"shape_data/{synset}/{model}")
        path = folder / "train_test_split" / f"shuffled_{part}_file_list.json"
        path.write_text(json.dumps(listed), encoding="utf-8")
    return folder


def txt(root: Path, points: int = 64) -> ShapeNetPart:
    return ShapeNetPart(DataPlace(root.parent / "cache", root), ShapeNetPart.Options(points=points))


def refusal(dataset: Dataset, split: str = "train") -> str:
    with pytest.raises(DataError) as caught:
        dataset.load(split)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_train_and_val_are_the_training_split(root: Path) -> None:
    """The field trains on trainval; leaving val out would give fewer objects than every published figure had."""
    dataset = txt(root)
    train, test = dataset.load("train"), dataset.load("test")
    assert len(train) == dataset.train_size() == 10
    assert len(test) == 4
    assert train.classes == dataset.classes() == ("Airplane", "Bag")
    assert train.ids[0] == f"{BAG}/train0"
    assert train.labels[0] == 1
    assert not set(train.ids) & set(test.ids)
    assert train.points.shape == (10, 64, 3)
    assert train.points.dtype == np.float32
    assert train.parts is not None
    assert train.parts.dtype == np.int64
    assert train.normals is not None
    for label, (first, last) in enumerate(((0, 3), (4, 5))):
        held = train.parts[train.labels == label]
        assert first <= held.min()
        assert held.max() <= last
    assert dataset.part_names() == {"Airplane": (0, 1, 2, 3), "Bag": (4, 5)}


def test_points_normals_and_parts_belong_together(root: Path) -> None:
    """A part that goes with another point would make every segmentation figure wrong."""
    loaded = txt(root).load("train")
    assert loaded.normals is not None
    assert loaded.parts is not None
    for place, name in enumerate(loaded.ids):
        table = np.loadtxt(root / f"{name}.txt").astype(np.float32)
        given = np.concatenate([loaded.points[place], loaded.normals[place], loaded.parts[place][:, None]], axis=1)
        lookup = {row.tobytes() for row in table}
        assert all(row.tobytes() in lookup for row in given.astype(np.float32))
        distinct = len({row.tobytes() for row in given.astype(np.float32)})
        assert distinct == min(len(table), 64), "points repeat only where the cloud has fewer"


def test_resampling_does_not_depend_on_the_other_objects(root: Path) -> None:
    before = dict(zip(txt(root).load("train").ids, np.array(txt(root).load("train").points), strict=True))
    path = root / "train_test_split" / "shuffled_train_file_list.json"
    path.write_text(json.dumps(json.loads(path.read_text())[1:]), encoding="utf-8")
    after = txt(root).load("train")
    assert len(after) == 9
    for name, points in zip(after.ids, after.points, strict=True):
        assert np.array_equal(points, before[name])
    assert txt(root, points=32).manifest() != txt(root).manifest()


def test_resample_index_gives_every_row_before_any_twice() -> None:
    assert sorted(resample_index(50, 50, "a")) == list(range(50))
    fewer = resample_index(20, 50, "a")
    assert set(fewer) == set(range(20))
    assert not np.array_equal(resample_index(50, 50, "a"), resample_index(50, 50, "b"))
    assert np.array_equal(resample_index(1, 3, "x"), [0, 0, 0])
    assert resample_index(100, 5, "fixed").tolist() == resample_index(100, 5, "fixed").tolist()


def test_the_published_table_has_50_parts_in_16_categories() -> None:
    assert len(PARTS) == 16
    assert [part for parts in PARTS.values() for part in parts] == list(range(50))


def edit_list(change: Callable[[list[str]], object]) -> Callable[[Path], None]:
    def edit(root: Path) -> None:
        path = root / "train_test_split" / "shuffled_val_file_list.json"
        path.write_text(json.dumps(change(json.loads(path.read_text()))), encoding="utf-8")

    return edit


def replace_object(content: bytes) -> Callable[[Path], None]:
    def replace(root: Path) -> None:
        (root / BAG / "val1.txt").write_bytes(content)

    return replace


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (edit_list(lambda x: [*x, f"shape_data/{BAG}/gone"]), "shuffled_val_file_list.json: lists 02773838/gone.txt"),
        (edit_list(lambda x: [*x, "shape_data/09/m"]), "entry 4 is 09/m, whose synset no category has"),
        (edit_list(lambda x: [*x, f"shape_data/{BAG}/train0"]), "which shuffled_train_file_list.json lists already"),
        (edit_list(lambda x: [*x, f"{BAG}/val0"]), "expected shape_data/<synset>/<model>"),
        (edit_list(lambda x: [*x, "shape_data/../etc"]), "expected shape_data/<synset>/<model>"),
        (edit_list(lambda _: {}), "expected a JSON list"),
        (replace_object(b"1 2 3 0 0 1 4\n1 2"), "val1.txt"),
        (replace_object(b"1 2 3 4\n2 3 4 4\n"), "has 4 numbers a line, expected 7"),
        (replace_object(b"1 2 3 0 0 1 4\n1 2 4 0 0 1 7\n"), "val1.txt: line 2: part is 7, Bag has 4 to 5"),
        (replace_object(b"1 2 3 0 0 1 4\n1 2 4 0 0 1 4.5\n"), "part is 4.5"),
        (replace_object(b"1 2 3 0 0 1 4\n1 nan 4 0 0 1 4\n"), "line 2: field 2 is 'nan'"),
        (replace_object(b"1 2 3 0 0 1 4\n1 2 3 0 0 1 4\n"), "identical"),
        (replace_object(b""), "is empty"),
        (lambda r: (r / "synsetoffset2category.txt").write_text("Airplane\n"), "expected a name and a synset"),
        (lambda r: (r / "synsetoffset2category.txt").unlink(), "no synsetoffset2category.txt here"),
    ],
)
def test_what_is_broken_is_named(root: Path, damage: Callable[[Path], object], words: str) -> None:
    damage(root)
    assert words in refusal(txt(root))


def test_the_folder_above_will_do(root: Path) -> None:
    assert txt(root.parent).manifest() == txt(root).manifest()
    assert len(txt(root.parent).load("test")) == 4


def write_h5(path: Path, count: int, seed: int, **replaced: np.ndarray) -> None:
    rng = np.random.default_rng(seed)
    label = (np.arange(count) % 16).astype(np.uint8)
    parts = np.stack([rng.choice(list(PARTS.values())[k], 32) for k in label]).astype(np.uint8)
    fields = {"data": rng.normal(size=(count, 32, 3)).astype(np.float32), "label": label[:, None], "pid": parts}
    with h5py.File(path, "w") as file:
        for name, value in {**fields, **replaced}.items():
            file[name] = value


@pytest.fixture
def h5_root(tmp_path: Path) -> Path:
    folder = tmp_path / "hdf5_data"
    folder.mkdir()
    for seed, (name, count) in enumerate({"train0": 16, "train10": 18, "train2": 17, "val0": 16, "test0": 16}.items()):
        write_h5(folder / f"ply_data_{name}.h5", count, seed)
    return folder


def h5_set(root: Path) -> ShapeNetPartH5:
    return ShapeNetPartH5(DataPlace(root.parent / "cache", root))


def test_hdf5_files_load_in_numerical_order_val_last(h5_root: Path) -> None:
    train = h5_set(h5_root).load("train")
    assert len(train) == h5_set(h5_root).train_size() == 67
    assert [train.ids[k].partition("/")[0] for k in (0, 16, 33, 51)] == [
        "ply_data_train0",
        "ply_data_train2",
        "ply_data_train10",
        "ply_data_val0",
    ]
    assert train.classes == tuple(PARTS)
    assert train.parts is not None
    assert train.parts.shape == (67, 32)
    assert h5_set(h5_root).part_names() == PARTS
    assert h5_set(h5_root.parent).manifest() == h5_set(h5_root).manifest()


def test_broken_hdf5_is_named(h5_root: Path) -> None:
    path = h5_root / "ply_data_val0.h5"
    write_h5(path, 16, 3, pid=np.zeros((16, 32), np.uint8))
    assert "ply_data_val0/1 (Bag) has part 0, expected 4 to 5" in refusal(h5_set(h5_root))
    write_h5(path, 16, 3, pid=np.zeros((15, 32), np.uint8))
    assert "ply_data_val0.h5: field 'pid' has shape (15, 32)" in refusal(h5_set(h5_root))
    write_h5(path, 16, 3, label=np.full(16, 16, np.uint8))
    assert "row 0 is 16, expected 0 to 15: the release names 16" in refusal(h5_set(h5_root))
    path.write_bytes(path.read_bytes()[:-500])
    assert "ply_data_val0.h5: is a truncated HDF5 file" in refusal(h5_set(h5_root))
    path.unlink()
    assert "no *val*.h5 here" in refusal(h5_set(h5_root))


def test_one_release_points_at_the_other(root: Path, h5_root: Path) -> None:
    assert "try shapenetpart:" in refusal(h5_set(root))
    assert "try shapenetpart-h5:" in refusal(txt(h5_root))
