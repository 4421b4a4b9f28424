"""S3DIS: the official files load as they are, and a broken one is answered with one line that names it."""

from __future__ import annotations

import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from bench.data.base import DataPlace, Dataset
from bench.data.rooms.roomset import CLASSES
from bench.data.s3dis import S3DIS, S3DISH5
from bench.errors import DataError, UsageError


def table(rows: int = 60, seed: int = 0) -> np.ndarray:
    """A room as collect_indoor3d_data writes it: float64 x y z r g b label."""
    rng = np.random.default_rng(seed)
    xyz = rng.uniform(-20, 30, (rows, 3))
    return np.concatenate([xyz, rng.integers(0, 256, (rows, 3)), rng.integers(0, 13, (rows, 1))], axis=1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "Größe" / "stanford_indoor3d"
    folder.mkdir(parents=True)
    for place, name in enumerate(("Area_1_office_10", "Area_1_office_2", "Area_5_hallway_6", "Area_6_WC_1")):
        np.save(folder / f"{name}.npy", table(50 + place, place))
    return folder


def s3dis(root: Path, **options: int) -> S3DIS:
    return S3DIS(DataPlace(root.parent / "cache", root), S3DIS.Options.model_validate(options))


def refusal(dataset: Dataset) -> str:
    with pytest.raises(DataError) as caught:
        dataset.rooms()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_rooms_load_as_stored_from_the_corner(root: Path) -> None:
    rooms = s3dis(root).rooms()
    assert [r.name for r in rooms] == ["Area_1_office_2", "Area_1_office_10", "Area_5_hallway_6", "Area_6_WC_1"]
    assert [r.area for r in rooms] == [1, 1, 5, 6]
    wanted = table(51, 1)
    room = rooms[0]
    assert room.points.dtype == np.float32
    assert np.allclose(room.points, wanted[:, :3] - wanted[:, :3].min(axis=0), atol=1e-5)
    assert room.colours is not None
    assert np.array_equal(room.colours, wanted[:, 3:6])
    assert np.array_equal(room.labels, wanted[:, 6])
    assert room.labels.dtype == np.int64


def test_the_folder_above_will_do_and_gives_the_same_manifest(root: Path) -> None:
    assert s3dis(root.parent).manifest() == s3dis(root).manifest()
    assert len(s3dis(root.parent).rooms()) == 4


def test_area_5_is_held_out_unless_asked_otherwise(root: Path) -> None:
    """Which area is the test decides the number; the field's is 5."""
    assert s3dis(root).train_size() == 3
    assert s3dis(root, test_area=1).train_size() == 2
    assert s3dis(root, test_area=1).manifest() != s3dis(root).manifest()
    assert s3dis(root).classes() == CLASSES
    assert CLASSES[0] == "ceiling"
    assert CLASSES[12] == "clutter"
    assert "no room of Area 3" in refusal(s3dis(root, test_area=3))


def test_the_second_look_reads_no_room(root: Path) -> None:
    """272 rooms of a million points are converted once, not at each start."""
    first = s3dis(root).rooms()[2].points.copy()
    inode = [p.stat().st_ino for p in sorted((root.parent / "cache" / "converted").glob("*/*.npy"))]
    again = s3dis(root).rooms()
    assert np.array_equal(again[2].points, first)
    assert isinstance(again.rooms.points, np.memmap)  # type: ignore[attr-defined]
    assert inode == [p.stat().st_ino for p in sorted((root.parent / "cache" / "converted").glob("*/*.npy"))]
    assert not any(p.suffix != ".npy" for p in root.iterdir()), "nothing is written beside the user's files"


def test_rooms_are_no_objects(root: Path) -> None:
    with pytest.raises(UsageError, match="semseg"):
        s3dis(root).load("train")


def test_links_are_followed(root: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    linked.mkdir()
    for path in root.iterdir():
        (linked / path.name).symlink_to(path)
    assert s3dis(linked).manifest() == s3dis(root).manifest()
    (linked / "Area_6_WC_1.npy").unlink()
    (linked / "Area_6_WC_1.npy").symlink_to(tmp_path / "gone.npy")
    assert "Area_6_WC_1.npy: no such file" in refusal(s3dis(linked))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (table()[:, :6], "has shape (60, 6), expected [N, 7]"),
        (np.zeros((0, 7)), "holds no points"),
        (table() + np.array([0, 0, 0, 0, 0, 0, 20]), "label is"),
        (table() / np.array([1, 1, 1, 255, 255, 255, 1]), "colour is"),
        (np.where(np.arange(7) == 1, np.nan, table()), "points row 0 axis y is nan"),
        (table().astype(str), "expected a float"),
        (np.array([{"a": 1}]), "holds Python objects"),
    ],
)
def test_a_broken_room_is_named(root: Path, content: np.ndarray, words: str) -> None:
    np.save(root / "Area_5_hallway_6.npy", content, allow_pickle=True)
    line = refusal(s3dis(root))
    assert words in line
    assert "Area_5_hallway_6.npy" in line


def test_a_room_that_breaks_off_is_named(root: Path) -> None:
    path = root / "Area_1_office_2.npy"
    path.write_bytes(path.read_bytes()[:-100])
    assert "Area_1_office_2.npy: is truncated" in refusal(s3dis(root))
    path.write_bytes(b"")
    assert "Area_1_office_2.npy: is empty" in refusal(s3dis(root))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", b"0")
    assert "Area_1_office_2.npy: is a zip archive" in refusal(s3dis(root))


def test_what_is_no_room_is_named(root: Path) -> None:
    np.save(root / "office_3.npy", table())
    assert "office_3.npy: its name has no area" in refusal(s3dis(root))


def test_a_wrong_folder_says_where_to_look(root: Path, tmp_path: Path) -> None:
    assert f"did you mean {root}" in refusal(s3dis(tmp_path))
    assert "no such folder" in refusal(s3dis(tmp_path / "nowhere"))
    raw = tmp_path / "raw" / "Area_1" / "office_1" / "Annotations"
    raw.mkdir(parents=True)
    assert "raw release" in refusal(s3dis(tmp_path / "raw"))


def blocks(rows: int, seed: int, points: int = 32) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    data = rng.uniform(0, 1, (rows, points, 9)).astype(np.float32)
    data[:, :, :2] -= 0.5
    return data, rng.integers(0, 13, (rows, points)).astype(np.uint8)


def write(path: Path, data: np.ndarray, label: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        file["data"], file["label"] = data, label


@pytest.fixture
def h5_root(tmp_path: Path) -> Path:
    folder = tmp_path / "indoor3d_sem_seg_hdf5_data"
    folder.mkdir()
    write(folder / "ply_data_all_0.h5", *blocks(4, 0))
    write(folder / "ply_data_all_1.h5", *blocks(3, 1))
    lines = ["indoor3d_sem_seg_hdf5_data/ply_data_all_0.h5", "indoor3d_sem_seg_hdf5_data/ply_data_all_1.h5"]
    (folder / "all_files.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    rooms = ["Area_1_conferenceRoom_1"] * 3 + ["Area_2_office_1"] * 2 + ["Area_5_office_7"] * 2
    (folder / "room_filelist.txt").write_text("\n".join(rooms) + "\n", encoding="utf-8")
    return folder


def s3dis_h5(root: Path) -> S3DISH5:
    return S3DISH5(DataPlace(root.parent / "cache", root))


def test_each_block_is_a_room_piece(h5_root: Path) -> None:
    rooms = s3dis_h5(h5_root).rooms()
    assert len(rooms) == 7
    assert [r.name for r in rooms[2:5]] == ["Area_1_conferenceRoom_1#2", "Area_2_office_1#0", "Area_2_office_1#1"]
    assert [r.area for r in rooms] == [1, 1, 1, 2, 2, 5, 5]
    data, label = blocks(3, 1)
    last = rooms[6]
    assert np.allclose(last.points, data[2, :, :3] - data[2, :, :3].min(axis=0))
    assert last.colours is not None
    assert np.array_equal(last.colours, np.rint(data[2, :, 3:6] * 255))
    assert np.array_equal(last.labels, label[2])
    assert s3dis_h5(h5_root).train_size() == 5
    assert s3dis_h5(h5_root.parent).manifest() == s3dis_h5(h5_root).manifest()


def test_the_list_of_files_sets_the_order(h5_root: Path) -> None:
    """Blocks are matched to rooms by order: files in another order would swap areas."""
    before = s3dis_h5(h5_root).rooms()[0].points.copy()
    (h5_root / "all_files.txt").write_text("x/ply_data_all_1.h5\nx/ply_data_all_0.h5\n", encoding="utf-8")
    dataset = s3dis_h5(h5_root)
    assert not np.array_equal(dataset.rooms()[0].points, before)
    (h5_root / "all_files.txt").write_text("x/ply_data_all_1.h5\nx/gone.h5\n", encoding="utf-8")
    assert "line 2 names gone.h5, which is not in" in refusal(s3dis_h5(h5_root))


def test_lists_and_blocks_must_agree(h5_root: Path) -> None:
    rooms = h5_root / "room_filelist.txt"
    rooms.write_text("Area_1_office_1\nArea_5_office_1\n", encoding="utf-8")
    assert "names the rooms of 2 blocks but the HDF5 files hold 7" in refusal(s3dis_h5(h5_root))
    rooms.write_text("Area_5_office_1\noffice\n", encoding="utf-8")
    assert "room_filelist.txt: line 2 is 'office'" in refusal(s3dis_h5(h5_root))
    rooms.unlink()
    assert "room_filelist.txt: no such file" in refusal(s3dis_h5(h5_root))


def test_a_broken_block_file_is_named(h5_root: Path) -> None:
    path = h5_root / "ply_data_all_1.h5"
    sound = path.read_bytes()
    path.write_bytes(sound[:-2000])
    assert "ply_data_all_1.h5: is a truncated" in refusal(s3dis_h5(h5_root))
    data, label = blocks(3, 1)
    for wrong, words in (
        ((data[:, :, :6], label), "expected floats [n, N, 9]"),
        ((data, label[:2]), "field 'label' is uint8 (2, 32), expected whole numbers (3, 32)"),
        ((data, label + 13), "row 0 holds a class outside 0 to 12"),
        ((data * 255, label), "expected 0 to 1"),
        ((np.where(data > 0.99, np.nan, data), label), "is not finite"),
        ((data.astype(int), label), "expected floats"),
    ):
        write(path, *wrong)
        line = refusal(s3dis_h5(h5_root))
        assert "ply_data_all_1.h5" in line
        assert words in line
