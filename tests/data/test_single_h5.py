"""One HDF5 file: fields by name, a split of its own or a fixed one, and one clear line for what is broken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from pydantic import ValidationError

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
    assert "field 'label' row 2 is 2, expected 0 to 1: shape_names.txt names 2 classes" in refusal(h5(whole))
    names.write_text("Tasse\nTeller\nTasse\n", encoding="utf-8")
    assert "class 'Tasse' is on lines 1 and 3" in refusal(h5(whole))


def test_names_by_option(whole: Path) -> None:
    whole.with_name("shape_names.txt").write_text("x\n", encoding="utf-8")
    named = h5(whole, classes="Tasse, Teller,Krug,Vase")
    assert named.classes() == ("Tasse", "Teller", "Krug", "Vase")
    assert named.manifest() != h5(whole).manifest()
    assert "classes" not in h5(whole).options.model_dump(mode="json"), "keys stored before stay"
    assert "row 2 is 2, expected 0 to 1: the option classes names 2 classes" in refusal(h5(whole, classes="a,b"))
    for wrong in ("", "a,,b", "a,b,a"):
        with pytest.raises(ValidationError):
            h5(whole, classes=wrong)


def with_part(value: float) -> np.ndarray:
    parts = np.arange(30 * 24).reshape(30, 24) % 4.0
    parts[7, 3] = value
    return parts


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.5, "'pid' row 7 point 3 is 0.5, expected a whole number"),
        (np.nan, "'pid' row 7 point 3 is nan"),
        (-2, "'pid' row 7 point 3 is -2, expected a part id from 0 to 32767, or -1"),
        (2**20, "'pid' row 7 point 3 is 1048576"),
        (255, "'pid' holds part id 255, but none from 4 to 254"),
    ],
)
def test_a_stray_part_is_named(tmp_path: Path, value: float, words: str) -> None:
    path = write(tmp_path / "x.h5", data=points(30), label=np.arange(30) % 3, pid=with_part(value))
    assert words in refusal(h5(path))
    write(path, data=points(30), label=np.arange(30) % 3, pid=with_part(-1))
    assert h5(path).load("train").parts is not None


@pytest.mark.parametrize("value", [65_535, 10**7, 255, 2**62])
def test_a_stray_label_is_named_by_row_before_memory_is_spent(tmp_path: Path, value: int) -> None:
    """10^7 took 4.6 GB, and 255 listed every class in between."""
    labels = np.arange(30) % 3
    labels[17] = value
    path = write(tmp_path / "x.h5", data=points(30), label=labels)
    for act in (h5(path).classes, h5(path).train_size):
        with pytest.raises(DataError, match=f"x.h5: field 'label' row 17 is {value}, but no object has the label 3;"):
            act()


def outside(tmp_path: Path) -> Path:
    return write(tmp_path / "other.h5", data=points(12), label=np.arange(12) % 3)


def external(file: h5py.File, other: Path) -> None:
    file["data"] = h5py.ExternalLink(other.name, "/data")


def hidden_external(file: h5py.File, other: Path) -> None:
    file["beside"] = h5py.ExternalLink(other.name, "/")
    file["data"] = h5py.SoftLink("/beside/data")


def dangling(file: h5py.File, other: Path) -> None:
    file["data"] = h5py.SoftLink("/nowhere")


def loop(file: h5py.File, other: Path) -> None:
    file["data"] = h5py.SoftLink("/data")


def virtual(file: h5py.File, other: Path) -> None:
    layout = h5py.VirtualLayout((12, 24, 3), np.float32)
    layout[:] = h5py.VirtualSource(str(other), "data", (12, 24, 3))
    file.create_virtual_dataset("data", layout)


def stored_outside(file: h5py.File, other: Path) -> None:
    size = 12 * 24 * 3 * 4
    file.create_dataset("data", (12, 24, 3), np.float32, external=[(str(other), 0, size)])


def written_in_part(file: h5py.File, other: Path) -> None:
    file.create_dataset("data", (12, 24, 3), np.float32, chunks=(4, 24, 3))[:4] = points(4)


def huge_chunk(file: h5py.File, other: Path) -> None:
    shape = (12, 24, 3)
    field = file.create_dataset("data", shape, np.float32, maxshape=(None, 24, 3), chunks=(2**20, 24, 3), compression=9)
    field.id.write_direct_chunk((0, 0, 0), b"x")


def references(file: h5py.File, other: Path) -> None:
    file.create_dataset("data", (12,), h5py.ref_dtype)[0] = file.ref


def compound(file: h5py.File, other: Path) -> None:
    file["data"] = np.zeros((12, 24), [("x", "f4"), ("y", "f4"), ("z", "f4")])


def named_type(file: h5py.File, other: Path) -> None:
    file["data"] = np.dtype("f4")


def null_space(file: h5py.File, other: Path) -> None:
    file["data"] = h5py.Empty("f4")


def of_time(file: h5py.File, other: Path) -> None:
    space = h5py.h5s.create_simple((12, 24, 3))
    h5py.h5d.create(file.id, b"data", h5py.h5t.UNIX_D32LE, space)


def unknown_filter(file: h5py.File, other: Path) -> None:
    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    made.set_chunk((12, 24, 3))
    made.set_filter(32_001, h5py.h5z.FLAG_OPTIONAL, (2, 2, 4))
    space = h5py.h5s.create_simple((12, 24, 3))
    field = h5py.h5d.create(file.id, b"data", h5py.h5t.IEEE_F32LE, space, made)
    field.write_direct_chunk((0, 0, 0), b"packed by a filter that is not here")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (external, "'data' is an external link to other.h5:/data"),
        (hidden_external, "is an external link to other.h5:/"),
        (dangling, "'data' is a soft link to '/nowhere', which leads nowhere"),
        (loop, "'/data', which leads nowhere"),
        (virtual, "'data' is a virtual data set"),
        (stored_outside, "'data' is stored outside, in other files"),
        (written_in_part, "'data' was written in part: 1 of 3 chunks were found"),
        (huge_chunk, "'data' is stored in chunks of 302 MB"),
        (references, "'data' holds references to other objects, expected a float type"),
        (compound, "'data' holds compound values (x, y, z), expected a float type"),
        (named_type, "'data' is a named type, expected an array"),
        (null_space, "'data' is empty (it has no shape)"),
        (of_time, "'data' has a type that NumPy does not know"),
        (unknown_filter, "'data' is packed with the HDF5 filter 32001 (blosc), which is not installed"),
    ],
)
def test_only_data_inside_the_file_are_read(
    make: Callable[[h5py.File, Path], None], words: str, tmp_path: Path
) -> None:
    """What lies in other files is in no digest: it may change, and stored results would be taken for its own."""
    other = outside(tmp_path)
    path = write(tmp_path / "x.h5", label=np.arange(12) % 3)
    with h5py.File(path, "a") as file:
        make(file, other)
    line = refusal(h5(path))
    assert str(path) in line
    assert words in line


def test_soft_links_inside_the_file_and_groups_are_followed(tmp_path: Path) -> None:
    path = write(tmp_path / "x.h5", **{"clouds/points": points(12), "label": np.arange(12) % 3})
    with h5py.File(path, "a") as file:
        file["set"] = h5py.SoftLink("/clouds")
        file["data"] = h5py.SoftLink("set/points")
    assert np.array_equal(h5(path).load("train").points, h5(path, data="clouds/points").load("train").points)


def test_a_cloud_far_away_keeps_its_shape(tmp_path: Path) -> None:
    """Cast to float32 as they are, coordinates of maps fall on steps of half a metre."""
    near = points(12).astype(np.float64)
    path = write(tmp_path / "x.h5", data=near + np.array([500_000, 0, 5_819_822]), label=np.arange(12) % 3)
    loaded = h5(path).load("train")
    rows = [int(name.rpartition("/")[2]) for name in loaded.ids]
    apart = loaded.points - loaded.points[:, :1]
    np.testing.assert_allclose(apart, near[rows] - near[rows][:, :1], atol=1e-5)


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
        ({"data": points(4), "label": np.arange(4) / 2}, "'label' row 1 is 0.5, expected a whole number"),
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
    assert "Dinge ö.h5: is a truncated" in refusal(h5(whole))
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
