"""HDF5 folders: a user's own files load, and a broken one is answered with one line that names it."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bench.data import h5io
from bench.data.base import DataPlace, Dataset
from bench.data.h5io import Fields, load_arrays, read_head
from bench.data.modelnet_h5 import ModelNetH5
from bench.data.scanobjectnn_h5 import ScanObjectNNH5
from bench.errors import DataError, SetupError
from bench.store.scratch import scratch_name

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data folder is not beside the repository")


def clouds(rows: int, points: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, points, 3)).astype(np.float32)


def write(path: Path, **fields: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, value in fields.items():
            file[name] = value
    return path


def labels(rows: int, classes: int = 3) -> np.ndarray:
    return (np.arange(rows) % classes).astype(np.uint8).reshape(-1, 1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A sound set: 12 + 6 training objects in two files, 6 test objects, 3 classes."""
    folder = tmp_path / "set"
    write(folder / "ply_data_train0.h5", data=clouds(12), label=labels(12))
    write(folder / "ply_data_train1.h5", data=clouds(6, seed=1), label=labels(6))
    write(folder / "ply_data_test0.h5", data=clouds(6, seed=2), label=labels(6))
    (folder / "shape_names.txt").write_text("cup\nmug\nvase\n", encoding="utf-8")
    return folder


def modelnet(root: Path | None, cache: Path | None = None) -> ModelNetH5:
    return ModelNetH5(DataPlace(cache or (root or Path()).parent / "cache", root))


def scan(root: Path, **options: str) -> ScanObjectNNH5:
    return ScanObjectNNH5(DataPlace(root.parent / "cache", root), ScanObjectNNH5.Options.model_validate(options))


def refusal(dataset: Dataset, split: str = "train") -> str:
    """The line a user gets; it must be one line."""
    with pytest.raises(DataError) as caught:
        dataset.load(split)  # type: ignore[arg-type]
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_a_sound_folder_loads_files_in_order(root: Path) -> None:
    dataset = modelnet(root)
    train = dataset.load("train")
    assert np.array_equal(train.points, np.concatenate([clouds(12), clouds(6, seed=1)]))
    assert train.labels.dtype == np.int64
    assert np.array_equal(train.labels, np.concatenate([labels(12), labels(6)]).ravel())
    assert train.classes == dataset.classes() == ("cup", "mug", "vase")
    assert train.ids[0] == "ply_data_train0/0"
    assert train.ids[12] == "ply_data_train1/0"
    assert len(set(train.ids)) == 18
    assert train.normals is None
    assert train.parts is None
    assert len(dataset.load("test")) == 6
    assert dataset.train_size() == 18


def test_files_are_sorted_by_number_not_by_letter(root: Path) -> None:
    """With train10 before train2 the stored labels would still match, but splits would differ between machines."""
    for number in (2, 10):
        write(root / f"ply_data_train{number}.h5", data=clouds(3, seed=number), label=labels(3))
    assert np.array_equal(modelnet(root).load("train").points[-3:], clouds(3, seed=10))


def test_file_lists_choose_and_order_by_base_name(root: Path) -> None:
    (root / "train_files.txt").write_text(
        "data/set/ply_data_train1.h5\nC:\\x\\ply_data_train0.h5\n\n", encoding="utf-8"
    )
    assert np.array_equal(modelnet(root).load("train").points[:6], clouds(6, seed=1))
    (root / "train_files.txt").write_text("x/ply_data_train1.h5\nx/gone.h5\n", encoding="utf-8")
    assert "line 2 names gone.h5, which is not in" in refusal(modelnet(root))
    (root / "train_files.txt").write_text("x/ply_data_train1.h5\ny/ply_data_train1.h5\n", encoding="utf-8")
    assert "line 2 names ply_data_train1.h5 a second time" in refusal(modelnet(root))


def test_normals_parts_and_names_are_kept_where_stored(root: Path) -> None:
    for name, rows in (("train0", 12), ("train1", 6), ("test0", 6)):
        extra = {"normal": clouds(rows, seed=9), "pid": np.full((rows, 16), 3, np.uint8)}
        write(root / f"ply_data_{name}.h5", data=clouds(rows), label=labels(rows), **extra)
        listed = root / f"ply_data_{name[:-1]}_{name[-1]}_id2file.json"
        listed.write_text(json.dumps([f"cup/{i // 2}.ply" for i in range(rows)]), encoding="utf-8")
    train = modelnet(root).load("train")
    assert train.normals is not None
    assert np.array_equal(train.normals[:12], clouds(12, seed=9))
    assert train.parts is not None
    assert train.parts.dtype == np.int64
    assert set(train.parts.ravel().tolist()) == {3}
    assert train.ids[0] == "cup/0.ply#0", "repeated names are told apart by row"
    assert len(set(train.ids)) == 18
    (root / "ply_data_test_0_id2file.json").write_text('["a"]', encoding="utf-8")
    assert "names 1 objects but ply_data_test0.h5 has 6" in refusal(modelnet(root), "test")
    (root / "ply_data_test_0_id2file.json").write_text('{"a": 1', encoding="utf-8")
    assert "ply_data_test_0_id2file.json: is not a JSON list" in refusal(modelnet(root), "test")


def test_without_a_class_list_classes_are_numbered(root: Path) -> None:
    (root / "shape_names.txt").unlink()
    assert modelnet(root).classes() == ("class_0", "class_1", "class_2")
    stray = np.r_[labels(11).ravel(), np.uint16(65_535)]
    write(root / "ply_data_train0.h5", data=clouds(12), label=stray)
    assert "ply_data_train0.h5: field 'label' row 11 is 65535, but no object has the label 3" in refusal(modelnet(root))


def test_a_named_class_may_be_empty(root: Path) -> None:
    (root / "shape_names.txt").write_text("cup\nmug\nvase\nbowl\n", encoding="utf-8")
    assert modelnet(root).load("train").classes == ("cup", "mug", "vase", "bowl")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"cup\n\nvase\n", "line 2 is blank"),
        (b"cup\nmug\ncup\n", "class 'cup' is on lines 1 and 3"),
        (b"cup\nm\xff\nvase\n", "is not UTF-8"),
        (b"cup\nmug\n", "field 'label' row 2 is 2, expected 0 to 1: shape_names.txt names 2 classes"),
    ],
)
def test_a_broken_class_list_is_named(root: Path, content: bytes, words: str) -> None:
    (root / "shape_names.txt").write_bytes(content)
    assert words in refusal(modelnet(root))


def rewrite(**fields: Any) -> Callable[[Path], object]:
    return lambda path: write(path, **fields)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-300])


def make_group(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_group("data")
        file["label"] = labels(12)


def with_value(value: float) -> np.ndarray:
    points = clouds(12).astype(np.float64)
    points[7, 4, 1] = value
    return points


def flattened(row: int) -> np.ndarray:
    points = clouds(12)
    points[row] = points[row, 0]
    return points


LABELS = labels(12)
BROKEN: list[tuple[str, Callable[[Path], object], str]] = [
    ("truncated", truncate, "is a truncated HDF5 file"),
    ("not hdf5", lambda p: p.write_bytes(b"x" * 4096), "is not an HDF5 file"),
    ("empty file", lambda p: p.write_bytes(b""), "is empty (0 bytes)"),
    ("no data", rewrite(label=LABELS), "field 'data' is missing; the file holds: label"),
    ("no label", rewrite(data=clouds(12)), "field 'label' is missing; the file holds: data"),
    (
        "whole-number data",
        rewrite(data=np.ones((12, 16, 3), int), label=LABELS),
        "'data' holds int64, expected a float",
    ),
    ("flat data", rewrite(data=clouds(12)[:, 0], label=LABELS), "'data' has shape (12, 3), expected [n, N, 3]"),
    ("transposed", rewrite(data=clouds(12).transpose(0, 2, 1), label=LABELS), "looks transposed"),
    ("no points", rewrite(data=np.zeros((12, 0, 3), np.float32), label=LABELS), "clouds without points"),
    ("text labels", rewrite(data=clouds(12), label=[b"cup"] * 12), "'label' holds text, expected whole numbers"),
    (
        "half a label",
        rewrite(data=clouds(12), label=np.arange(12) / 2),
        "'label' row 1 is 0.5, expected a whole number",
    ),
    ("nan label", rewrite(data=clouds(12), label=np.full(12, np.nan)), "'label' row 0 is nan, expected a whole number"),
    (
        "huge label",
        rewrite(data=clouds(12), label=np.full(12, 2**63, np.uint64)),
        "'label' row 0 is 9223372036854775808",
    ),
    ("one-hot labels", rewrite(data=clouds(12), label=np.zeros((12, 3), int)), "(12, 3), expected [n] or [n, 1]"),
    ("scalar label", rewrite(data=clouds(12), label=3), "'label' has shape ()"),
    ("too few labels", rewrite(data=clouds(12), label=labels(11)), "'label' has 11 rows but 'data' has 12"),
    ("negative label", rewrite(data=clouds(12), label=np.array([0] * 11 + [-1])), "'label' row 11 is -1"),
    ("label too large", rewrite(data=clouds(12), label=np.array([0] * 5 + [40] * 7)), "row 5 is 40, expected 0 to 2"),
    ("nan", rewrite(data=with_value(np.nan), label=LABELS), "'data' row 7 point 4 axis y is nan"),
    ("inf", rewrite(data=with_value(np.inf), label=LABELS), "'data' row 7 point 4 axis y is inf"),
    (
        "beyond float32",
        rewrite(data=with_value(1e300), label=LABELS),
        "'data' row 7 point 4 axis y is 1e+300, expected",
    ),
    (
        "absurd",
        rewrite(data=with_value(3.4e38).astype(np.float32), label=LABELS),
        "'data' row 7 point 4 axis y is 3.4e+38",
    ),
    ("one spot", rewrite(data=flattened(8), label=LABELS), "'data' row 8: all 16 points are identical"),
    ("other N", rewrite(data=clouds(12, points=20), label=LABELS), "have 16 points but those of ply_data_train0.h5"),
    ("bad normals", rewrite(data=clouds(12), label=LABELS, normal=clouds(11)), "'normal' has shape (11, 16, 3)"),
    ("group", make_group, "field 'data' is a group"),
]


@pytest.mark.parametrize(("damage", "words"), [b[1:] for b in BROKEN], ids=[b[0] for b in BROKEN])
def test_a_broken_file_gets_one_line_with_its_name(root: Path, damage: Callable[[Path], object], words: str) -> None:
    damage(root / "ply_data_train0.h5")
    line = refusal(modelnet(root))
    assert words in line
    assert "ply_data_train" in line


def test_a_damaged_block_is_reported_when_it_is_read(root: Path) -> None:
    """Damage inside compressed data passes every check on opening."""
    path = root / "ply_data_train0.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=clouds(12), compression="gzip", fletcher32=True)
        file["label"] = labels(12)
        place = file["data"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[place.byte_offset + place.size // 2] ^= 0xFF
    path.write_bytes(bytes(content))
    assert "ply_data_train0.h5: is damaged" in refusal(modelnet(root))


def test_empty_splits_are_refused_but_an_empty_file_among_others_is_not(root: Path) -> None:
    nothing = {"data": np.zeros((0, 16, 3), np.float32), "label": np.zeros((0, 1), np.uint8)}
    write(root / "ply_data_train1.h5", **nothing)
    assert len(modelnet(root).load("train")) == 12
    write(root / "ply_data_test0.h5", **nothing)
    assert "the test split has no objects (ply_data_test0.h5)" in refusal(modelnet(root))


def test_a_test_class_without_training_objects_is_refused(root: Path) -> None:
    """Such objects can only be counted wrong; the accuracy would silently have a lower ceiling."""
    for name, rows in (("train0", 12), ("train1", 6)):
        write(root / f"ply_data_{name}.h5", data=clouds(rows), label=labels(rows, 2))
    line = refusal(modelnet(root))
    assert "ply_data_test0.h5: field 'label' has classes that no training object has: 2 (vase)" in line


def test_missing_folders_are_answered_with_near_ones(root: Path) -> None:
    assert "needs a folder" in refusal(modelnet(None))
    assert f"did you mean {root}?" in refusal(modelnet(root.with_name("sett")))
    assert f"no such folder (did you mean {root}?)" in refusal(modelnet(root.parent / "sat" / "deep"))
    assert "give the folder that holds it" in refusal(modelnet(root / "ply_data_test0.h5"))
    assert f"no ply_data_train*.h5 (nor train_files.txt) here; did you mean {root}?" in refusal(modelnet(root.parent))
    scan_root = root.parent / "scan" / "main_split"
    write(scan_root / "training_objectdataset.h5", data=clouds(6), label=labels(6))
    assert f"try scanobjectnn-h5:{scan_root}" in refusal(modelnet(scan_root))
    assert f"try modelnet-h5:{root}" in refusal(scan(root))


def test_links_read_only_folders_and_names_beyond_ascii_work(root: Path, tmp_path: Path) -> None:
    odd = tmp_path / "Dátové súbory 点群"
    root.rename(odd)
    link = tmp_path / "link"
    link.symlink_to(odd)
    real = odd / "ply_data_test0.h5"
    real.rename(tmp_path / "elsewhere.h5")
    real.symlink_to(tmp_path / "elsewhere.h5")
    for path in odd.iterdir():
        path.chmod(0o444)
    odd.chmod(0o555)
    try:
        dataset = modelnet(link)
        assert len(dataset.load("test")) == 6
        assert len(dataset.manifest()) == 64
    finally:
        odd.chmod(0o755)


def test_manifest_follows_content_and_nothing_else(root: Path, tmp_path: Path) -> None:
    """It decides what is reused: a missed change would report results of other data."""
    first = modelnet(root).manifest()
    moved = tmp_path / "moved"
    root.rename(moved)
    assert modelnet(moved).manifest() == first
    os.utime(moved / "ply_data_test0.h5")
    assert modelnet(moved).manifest() == first
    (moved / "shape_names.txt").write_text("cup\nmug\nbowl\n", encoding="utf-8")
    renamed = modelnet(moved).manifest()
    assert renamed != first
    write(moved / "ply_data_test0.h5", data=clouds(6, seed=3), label=labels(6))
    assert modelnet(moved).manifest() not in (first, renamed)


def test_large_splits_become_memory_maps_once(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, rows in (("train0", 12), ("train1", 6), ("test0", 6)):
        extra = {"pid": np.full((rows, 16), 2, np.uint8), "normal": clouds(rows, seed=4)}
        write(root / f"ply_data_{name}.h5", data=clouds(rows), label=labels(rows), **extra)
    dataset = modelnet(root)
    files = sorted(root.glob("ply_data_train*"))
    heads = [read_head(path, dataset.fields) for path in files]
    store = tmp_path / "cache" / "datasets" / "0123"
    plain = load_arrays(heads, dataset.fields, store, "train")
    assert not store.exists(), "a small set was written to disk"
    seen: list[tuple[int, int]] = []
    mapped = load_arrays(heads, dataset.fields, store, "train", lambda d, t: seen.append((d, t)), mapped_from=0)
    assert isinstance(mapped.points, np.memmap)
    assert not mapped.points.flags.writeable
    for a, b in ((plain.points, mapped.points), (plain.normals, mapped.normals), (plain.parts, mapped.parts)):
        assert a is not None
        assert b is not None
        assert a.dtype == b.dtype
        assert np.array_equal(a, b)
    assert (18, 18) in seen
    monkeypatch.setattr(h5io, "_blocks", None)
    again = load_arrays(heads, dataset.fields, store, "train", mapped_from=0)
    assert np.array_equal(again.points, plain.points), "finished maps must be reused, not converted again"
    assert not list(store.glob("*.part"))


def test_a_half_written_memory_map_is_made_again(root: Path, tmp_path: Path) -> None:
    head = read_head(root / "ply_data_train0.h5", Fields())
    left_over = tmp_path / scratch_name().replace(f"-{os.getpid()}-", "-999999999-")
    left_over.write_bytes(b"of a killed process")
    load_arrays([head], Fields(), tmp_path, "train", mapped_from=0)
    path = tmp_path / "train.points.npy"
    path.write_bytes(path.read_bytes()[:-8])
    whole = load_arrays([head], Fields(), tmp_path, "train", mapped_from=0)
    assert np.array_equal(whole.points, clouds(12))
    assert not left_over.exists()
    assert not list(tmp_path.glob(".*"))


def test_a_cache_that_cannot_be_written_is_a_set_up_error(root: Path, tmp_path: Path) -> None:
    head = read_head(root / "ply_data_train0.h5", Fields())
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(SetupError, match="cannot write"):
        load_arrays([head], Fields(), tmp_path / "file" / "x", "train", mapped_from=0)


def test_a_full_disk_is_a_set_up_error_and_leaves_no_half_map(root: Path, tmp_path: Path) -> None:
    """A limit on file size stands for the full disk: the write fails in the same place."""
    head = read_head(root / "ply_data_train0.h5", Fields())
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, old[1]))
    try:
        with pytest.raises(SetupError, match=r"cannot write .*train\.points\.npy"):
            load_arrays([head], Fields(), tmp_path / "store", "train", mapped_from=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert not list((tmp_path / "store").glob("*.npy*"))


def test_bad_values_are_found_on_the_way_into_a_memory_map(root: Path, tmp_path: Path) -> None:
    path = write(root / "ply_data_train0.h5", data=with_value(np.nan), label=labels(12))
    with pytest.raises(DataError, match="row 7 point 4"):
        load_arrays([read_head(path, Fields())], Fields(), tmp_path, "train", mapped_from=0)
    assert not list(tmp_path.glob("*.npy*"))


@needs_shared
@pytest.mark.shared
def test_the_shared_sets_load_whole() -> None:
    """Real files of both layouts: counts, classes and extras as their notes state."""
    cache = Path(os.devnull)  # nothing may need to be written for sets of this size
    ldraw = ModelNetH5(DataPlace(cache, SHARED / "ldraw40"))
    train, test = ldraw.load("train"), ldraw.load("test")
    assert (len(train), len(test), len(train.classes), train.points.shape[1]) == (1320, 329, 40, 2048)
    assert all(train.classes[label] == name.split("/")[0] for name, label in zip(train.ids, train.labels, strict=True))
    assert train.parts is not None
    assert train.parts.max() == 5
    assert ModelNetH5(DataPlace(cache, SHARED / "capod15")).load("test").normals is not None
    house = ScanObjectNNH5(DataPlace(cache, SHARED / "household7"))
    assert (len(house.load("train")), len(house.load("test"))) == (282, 126)
    assert house.classes() == ("bottle", "box", "cup", "fruit", "pen", "plate", "tool")
    whole = ScanObjectNNH5(house.place, ScanObjectNNH5.Options(split="main_split_complete"))
    assert (whole.train_size(), len(whole.load("test"))) == (47, 21)
    assert house.manifest() != whole.manifest()
    assert house.load("train").ids[0] == "mini_claw_hammer_1#0"
    radar = ScanObjectNNH5(DataPlace(cache, SHARED / "radhar5")).load("test")
    assert radar.parts is not None
    assert set(np.unique(radar.parts).tolist()) == {-1, 1}
