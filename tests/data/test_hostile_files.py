"""What a hostile or careless user feeds the data commands: each must end in one line that names the file."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest

from bench.data.base import DataPlace
from bench.data.clouds import Clouds
from bench.data.digest import file_digest
from bench.data.fewshot_set import FewShotPickles
from bench.data.filelists import list_files
from bench.data.h5io import Fields, load_arrays, read_head
from bench.data.local import list_local
from bench.data.modelnet import ModelNet
from bench.data.modelnet_h5 import ModelNetH5
from bench.data.modelnet_names import MODELNET40
from bench.data.s3dis import S3DIS
from bench.data.shapenet import ShapeNet55
from bench.data.single_h5 import SingleH5
from bench.data.texttable import read_table
from bench.errors import DataError, SetupError, UsageError
from bench.inspection.adding import add_named
from bench.inspection.checking import check_dataset
from bench.inspection.measuring import files_below
from bench.inspection.opening import Opened, open_named
from bench.paths import Workspace
from bench.registry import DATASETS


def xyz(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, 32, 3)).astype(np.float32)


def write_h5(path: Path, **fields: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, value in fields.items():
            file[name] = value
    return path


def one_line(error: pytest.ExceptionInfo[Any], path: Path) -> str:
    message = str(error.value)
    assert "\n" not in message
    assert str(path) in message
    return message


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return Workspace.at(tmp_path / "results")


@pytest.fixture
def rooms(tmp_path: Path) -> Path:
    folder = tmp_path / "stanford_indoor3d"
    folder.mkdir()
    for number, name in enumerate(("Area_1_office_1", "Area_5_office_1")):
        rng = np.random.default_rng(number)
        table = np.concatenate([rng.normal(size=(50, 3)), rng.integers(0, 2, (50, 4))], axis=1)
        np.save(folder / f"{name}.npy", table)
    return folder


@pytest.fixture
def clouds(tmp_path: Path) -> Path:
    for name in "ab":
        (tmp_path / "clouds" / name).mkdir(parents=True)
        for i in range(3):
            np.save(tmp_path / "clouds" / name / f"{i}.npy", xyz(1, i)[0])
    return tmp_path / "clouds"


def test_one_hdf5_file_gets_a_name(tmp_path: Path, place: Workspace) -> None:
    """The format h5 reads one file, and just that could not be named."""
    file = write_h5(tmp_path / "Größe" / "all.h5", data=xyz(20), label=np.arange(20) % 2)
    added = add_named("mine", "h5", file, [], place)
    assert added.contents == "16 train and 4 test clouds of 2 classes (class_0, class_1)"
    assert list_local(place.results)["mine"].root == str(file)
    file.unlink()
    with pytest.raises(DataError) as error:
        open_named("mine", place)
    assert "does not exist any more" in one_line(error, file)
    with pytest.raises(DataError) as error:
        add_named("other", "modelnet-h5", write_h5(file, data=xyz(4)), [], place)
    assert "is a file" in one_line(error, file)


def test_rooms_and_folds_get_a_name_and_the_protocol_that_takes_them(
    rooms: Path, place: Workspace, tmp_path: Path
) -> None:
    """A user with S3DIS was sent away, for rooms are no labelled objects."""
    added = add_named("rooms", "s3dis", rooms, ["data.test_area=1"], place)
    assert added.contents.startswith("1 train and 1 test rooms of 13 classes (ceiling, floor")
    assert added.uses == ("bench run --protocol semseg --dataset rooms",)
    assert list_local(place.results)["rooms"].options == {"test_area": 1}
    added = add_named("folds", "fewshot-pickles", write_folds(tmp_path), [], place)
    assert added.uses == ("bench run --protocol fewshot --dataset folds",)


def test_a_name_that_cannot_be_is_refused_before_anything_is_read(tmp_path: Path, place: Workspace) -> None:
    """Half an hour of reading would end in: choose another name. And an embedded set reads no folder at all."""
    with pytest.raises(UsageError, match="cannot name a data set"):
        add_named("b ad", "clouds", tmp_path / "gone", [], place)
    with pytest.raises(UsageError, match="'shapes' is embedded"):
        add_named("good", "shapes", tmp_path, [], place)
    assert not list_local(place.results)


def write_folds(root: Path) -> Path:
    folder = root / "ModelNetFewshot" / "5way_10shot"
    folder.mkdir(parents=True)
    table = np.random.default_rng(0).normal(size=(32, 6)).astype(np.float32)
    fold = {part: [(table + label, label, 7 * label) for label in range(5) for _ in range(n)] for part, n in PARTS}
    (folder / "0.pkl").write_bytes(pickle.dumps(fold))
    return folder.parent


PARTS = (("train", 10), ("test", 20))


def test_folds_are_not_wrong_for_classes_that_they_did_not_draw(tmp_path: Path) -> None:
    """Every sound set of folds would be called broken, once for each class that no fold has."""
    folds = FewShotPickles(DataPlace(tmp_path / "cache", write_folds(tmp_path)))
    report = check_dataset(Opened(folds, "folds", None))
    assert not [line for line in report.problems if "has no objects" in line]
    assert "folds: 1 of 5w10s" in report.notes
    assert "the release has more folds of 5w10s (1 of 10), 5w20s (0 of 10)" in report.notes[1]
    assert any("35 of the 40 classes have no objects here: bathtub" in note for note in report.notes)
    assert any("few-shot folds draw from one data set" in note for note in report.notes)


def test_rooms_are_not_wrong_for_classes_that_they_do_not_hold(rooms: Path, tmp_path: Path) -> None:
    """The 13 classes are the format's: a user cannot remove one from a list, as was asked."""
    report = check_dataset(Opened(S3DIS(DataPlace(tmp_path / "cache", rooms)), "rooms", rooms))
    assert not report.problems
    assert any("11 of the 13 classes have no points here: wall, beam" in note for note in report.notes)


def test_pipes_and_devices_are_refused_instead_of_read_for_ever(clouds: Path, tmp_path: Path) -> None:
    """`bench` would hang without a word."""
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "clouds"):
        for read in (
            lambda n: list_files(tmp_path, [n], tmp_path / "c"),
            lambda n: file_digest(tmp_path / n, tmp_path),
        ):
            with pytest.raises(DataError) as error:
                read(name)
            assert "expected a file" in one_line(error, tmp_path / name)
    (clouds / "a" / "3.npy").symlink_to("/dev/zero")
    with pytest.raises(DataError) as error:
        Clouds(DataPlace(tmp_path / "cache", clouds)).manifest()
    assert "is a pipe or device" in one_line(error, clouds / "a" / "3.npy")


def test_links_in_a_circle_end(clouds: Path) -> None:
    """A manifest of a folder with a link to itself would list it 40 times, and with two links never end."""
    for number, name in enumerate("ab"):
        (clouds / name / "up").symlink_to(clouds)
        (clouds / name / "again").symlink_to(clouds)
        (clouds / name / "beside").symlink_to(clouds / "ba"[number])
    held = [f"{name}/{i}.npy" for name in "ab" for i in range(3)]
    beside = [f"{name}/beside/{i}.npy" for name in "ab" for i in range(3)]
    assert files_below(clouds) == sorted(held + beside)


class Bomb(NamedTuple):
    """A field that promises much."""

    rows: int
    written: int
    words: str


@pytest.mark.parametrize(
    "bomb", [Bomb(60_000_000, 0, "promises 23.0 GB but was never written"), Bomb(1_000_000, 64, "(a zip bomb?)")]
)
def test_hdf5_that_promises_more_than_it_holds_is_refused_at_once(tmp_path: Path, bomb: Bomb) -> None:
    """A file of a kilobyte would fill the disk with zeros, or a write that was cut short would be read as clouds."""
    path = tmp_path / "bomb.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset("data", (bomb.rows, 32, 3), "f4", chunks=(64, 32, 3), compression="gzip")
        data[: bomb.written] = xyz(bomb.written)
        file["label"] = np.arange(10) % 2
    with pytest.raises(DataError) as error:
        SingleH5(DataPlace(tmp_path / "cache", path)).load("train")
    assert bomb.words in one_line(error, path)


def test_clouds_that_the_disk_cannot_take_are_refused_beforehand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk would be filled to the brim first, and everything else that writes to it would fail too."""
    path = write_h5(tmp_path / "a.h5", data=xyz(300), label=np.zeros(300, np.uint8))
    usage = shutil.disk_usage(tmp_path)._replace(free=100_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(SetupError) as error:
        load_arrays([read_head(path, Fields())], Fields(), tmp_path / "cache", "train", mapped_from=0)
    assert "take 115 kB" in one_line(error, path)
    assert "has 100 kB free" in str(error.value)
    assert "BENCH_CACHE" in str(error.value)
    assert not list((tmp_path / "cache").glob("*.npy*"))


@pytest.mark.parametrize("row", ["1,2", "1,x,3"])
def test_a_broken_row_of_text_is_counted_from_1(tmp_path: Path, row: str) -> None:
    """NumPy counts one fault from 0 and the other from 1: users would mend the wrong line."""
    path = tmp_path / "a.txt"
    path.write_text("1,2,3\n4,5,6\n" + row + "\n7,8,9\n")
    with pytest.raises(DataError) as error:
        read_table(path)
    assert "line 3" in one_line(error, path)


def test_the_word_off_switches_pictures_off() -> None:
    """YAML reads a bare off as false: the option that an error recommends could not be given."""
    from bench.plan.request import parse_assignment

    path, value = parse_assignment("data.images=off")
    assert (path, value) == ("data.images", False)
    assert ShapeNet55.Options.model_validate({"images": value}).images == "off"


def test_counts_belong_to_the_lists_that_are_read(tmp_path: Path) -> None:
    """ModelNet10 would be called incomplete, for it has fewer objects than ModelNet40."""
    ten = ModelNet(DataPlace(tmp_path), ModelNet.Options(categories=10))
    assert ten.known_counts() == {"train": 3_991, "test": 908}
    assert ModelNet(DataPlace(tmp_path)).known_counts() == {"train": 9_843, "test": 2_468}
    (tmp_path / "ShapeNet55-34" / "shapenet_pc").mkdir(parents=True)
    options = [{}, {"whole": True}, {"subset": "34"}, {"fraction": 0.5}]
    counted = [ShapeNet55(DataPlace(tmp_path, tmp_path), ShapeNet55.Options.model_validate(o)) for o in options]
    assert [one.known_counts().get("train") for one in counted] == [41_952, 52_470, None, None]
    for names, counts in ((MODELNET40, {"train": 9_840, "test": 2_468}), (("a", *MODELNET40[1:]), {})):
        folder = tmp_path / names[0]
        for split in ("train", "test"):
            write_h5(folder / f"ply_data_{split}0.h5", data=xyz(40), label=np.arange(40, dtype=np.uint8))
        (folder / "shape_names.txt").write_text("\n".join(names) + "\n")
        assert ModelNetH5(DataPlace(tmp_path, folder)).known_counts() == counts


def test_every_data_set_states_licence_terms_citation_and_normalisation() -> None:
    """A user could not tell what may be done with the data, nor what to cite."""
    cards = {entry.name: DATASETS.load(entry.name).card for entry in DATASETS if entry.source == "built in"}
    assert len(cards) >= 19
    for name, card in cards.items():
        for field in ("summary", "licence", "terms", "citation", "normalisation", "how_to_get"):
            assert len(getattr(card, field)) > 2, (name, field)
        assert all(count > 0 for count in card.counts.values()), name
    assert not cards["s3dis"].counts, "no source in the project's spec counts rooms"
