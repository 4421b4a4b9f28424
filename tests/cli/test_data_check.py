"""``bench data check``: what a folder holds must come out right, and what is wrong with it must not stay hidden."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bench.cli.main import main
from tests.conftest import CLASSES, toy_cloud, write_modelnet

TRAIN, TEST, POINTS = 4, 2, 40


class Check:
    """Runs the real command in this process."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.monkeypatch, self.capsys = folder, monkeypatch, capsys
        monkeypatch.setenv("COLUMNS", "80")
        monkeypatch.setenv("BENCH_RESULTS", str(folder / "results"))

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        self.monkeypatch.setattr("sys.argv", ["bench", "data", "check", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = self.capsys.readouterr()
        return int(stop.value.code or 0), captured.out, captured.err

    def facts(self, *arguments: object) -> tuple[int, dict[str, Any]]:
        """Exit code and the findings as JSON."""
        path = self.folder / "findings.json"
        code, _, error = self(*arguments, "--json", path)
        assert not error
        return code, json.loads(path.read_text())


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Check:
    return Check(tmp_path, monkeypatch, capsys)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_modelnet(tmp_path / "toys", TRAIN, TEST, POINTS)


def rewrite(path: Path, **fields: Any) -> None:
    with h5py.File(path, "r+") as file:
        for name, change in fields.items():
            values = change(file[name][()])
            del file[name]
            file[name] = values


def test_counts_classes_shapes_and_coordinates(check: Check, folder: Path) -> None:
    """A user could not tell whether the folder is what was downloaded."""
    code, found = check.facts(f"modelnet-h5:{folder}")
    assert code == 0
    assert not found["problems"]
    train, test = found["splits"]["train"], found["splits"]["test"]
    assert (train["objects"], test["objects"]) == (TRAIN * 6, TEST * 6)
    assert train["per_class"] == dict.fromkeys(CLASSES, TRAIN)
    assert train["arrays"]["points"] == f"float32 [{TRAIN * 6}, {POINTS}, 3]"
    assert "unit sphere" in train["coordinates"]["verdict"]
    assert train["coordinates"]["distinct"]["least"] == POINTS
    assert found["disk"]["by_suffix"][".h5"][0] == 2
    assert len(found["manifest"]) == 64
    code, text, _ = check("modelnet-h5", "--root", folder)
    assert code == 0
    assert all(len(line) <= 80 for line in text.splitlines())
    assert all(name in text for name in CLASSES)
    assert "nothing wrong found" in text


def test_coordinates_of_their_own_scale_are_called_so(check: Check, folder: Path) -> None:
    """Feeding metres to a network that expects the unit sphere costs a user days."""
    rewrite(folder / "ply_data_train0.h5", data=lambda points: points * 3 + 5)
    _, found = check.facts(f"modelnet-h5:{folder}")
    assert found["splits"]["train"]["coordinates"]["verdict"] == "not centred, of their own scale"
    assert found["splits"]["train"]["coordinates"]["high"][0] == pytest.approx(8, abs=0.5)


def test_test_objects_that_are_in_train_are_wrong_and_named(check: Check, folder: Path) -> None:
    """A leaked test set would be reported as a good result."""
    with h5py.File(folder / "ply_data_train0.h5") as file:
        stolen = file["data"][5]
    shuffled = np.random.default_rng(0).permutation(stolen)
    rewrite(folder / "ply_data_test0.h5", data=lambda points: np.concatenate([points[:3], shuffled[None], points[4:]]))
    code, text, _ = check(f"modelnet-h5:{folder}")
    assert code == 1
    flat = " ".join(text.split())
    assert "wrong: 1 of the test split are exact copies of training data" in flat
    assert "test/ply_data_test0/3 = train/ply_data_train0/5" in flat


def test_copies_inside_a_split_are_a_note(check: Check, folder: Path) -> None:
    """Copies within training weigh some objects double; that is unusual, not wrong."""
    rewrite(folder / "ply_data_train0.h5", data=lambda points: np.concatenate([points[:-1], points[:1]]))
    code, found = check.facts(f"modelnet-h5:{folder}")
    assert code == 0
    assert found["splits"]["train"]["copies"] == 1
    assert any("exact copies of other train objects" in note for note in found["notes"])


@pytest.mark.parametrize(
    ("split", "spoil", "said"),
    [
        ("train", lambda points: np.where(np.arange(3) == 1, np.nan, points), "is nan"),
        ("test", lambda points: points.astype(np.int32), "int32"),
    ],
)
def test_files_that_cannot_be_used_are_one_line_each(
    check: Check, folder: Path, split: str, spoil: Any, said: str
) -> None:
    """NaN and wrong types must be found here, not in the third epoch."""
    path = folder / f"ply_data_{split}0.h5"
    rewrite(path, data=spoil)
    code, found = check.facts(f"modelnet-h5:{folder}")
    assert code == 1
    assert len(found["problems"]) == 1
    assert path.name in found["problems"][0]
    assert said in found["problems"][0]


def test_truncated_file_is_wrong_and_says_how_to_get_it(check: Check, folder: Path) -> None:
    """An interrupted download must be told from an empty data set."""
    path = folder / "ply_data_train0.h5"
    path.write_bytes(path.read_bytes()[:2000])
    code, text, _ = check(f"modelnet-h5:{folder}")
    assert code == 1
    assert "wrong: " in text
    assert "to get it: https://" in text


def test_class_without_objects_is_wrong(check: Check, folder: Path) -> None:
    """A class that nobody is in distorts every per-class mean."""
    with (folder / "shape_names.txt").open("a") as names:
        names.write("unicorn\n")
    code, text, _ = check(f"modelnet-h5:{folder}")
    assert code == 1
    assert "class 'unicorn' has no objects" in text


def test_wrong_folder_is_the_loaders_line_and_how_to_get_the_data(check: Check, folder: Path, tmp_path: Path) -> None:
    """A misspelt folder must lead to the right one, or to where the owners distribute the data."""
    code, _, error = check(f"modelnet-h5:{tmp_path / 'toyz'}")
    assert code == 2
    assert len(error.splitlines()) == 1
    assert f"did you mean {folder}" in error
    assert "to get it: https://" in error
    code, _, error = check("s3dis-h5")
    assert code == 2
    assert "to get it: form" in error


def test_manifest_lists_every_file_with_its_hash(check: Check, folder: Path, tmp_path: Path) -> None:
    """Two people could not tell whether their copies of a data set are the same."""
    out = tmp_path / "files.csv"
    code, text, _ = check(f"modelnet-h5:{folder}", "--manifest", out)
    assert code == 0
    rows = list(csv.DictReader(out.open()))
    assert {row["path"] for row in rows} == {path.name for path in folder.iterdir()}
    for row in rows:
        content = (folder / row["path"]).read_bytes()
        assert int(row["size"]) == len(content)
        assert row["sha256"] == hashlib.sha256(content).hexdigest()
    assert hashlib.sha256(out.read_bytes()).hexdigest() in text.replace("\n", "")


def test_embedded_rooms_and_their_manifest(check: Check, tmp_path: Path) -> None:
    """Rooms have no objects to count: areas, points and labels per class are what matters."""
    small = ("--set", "data.rooms_per_area=1", "--set", "data.points_per_room=3000")
    code, text, _ = check("shapes-rooms", *small, "--manifest", tmp_path / "a.csv", "--json", tmp_path / "rooms.json")
    found = json.loads((tmp_path / "rooms.json").read_text())
    test = found["splits"]["test"]
    assert test["areas"] == {"5": 1}
    assert test["points"] == sum(test["per_class"].values()) == 3000
    assert found["splits"]["train"]["points"] == 5 * 3000
    assert code == (1 if found["problems"] else 0)
    assert "rooms per area" in text
    rows = list(csv.DictReader((tmp_path / "a.csv").open()))
    assert len(rows) == 6 * 3
    assert sum(int(row["size"]) for row in rows if row["path"].endswith("/points")) == 6 * 3000 * 12


def test_shared_household_scans_are_sound_but_not_the_release(check: Check, shared: Path) -> None:
    """Another set in a release's layout must not be taken for the release, nor for a broken one."""
    root = shared / "data" / "household7"
    if not root.is_dir():
        pytest.skip("no household7 in ../shared/data")
    code, found = check.facts(f"scanobjectnn-h5:{root}")
    assert code == 0
    assert found["splits"]["train"]["objects"] == 282
    assert found["splits"]["train"]["known"] == 2309
    assert any("counts differ" in note for note in found["notes"])


def test_every_broken_file_is_named_not_the_first_alone(check: Check, folder: Path, tmp_path: Path) -> None:
    """Who mends one file a day finds the last fault after a month."""
    for number in (1, 2, 3):
        shutil.copyfile(folder / "ply_data_train0.h5", folder / f"ply_data_train{number}.h5")
    rewrite(folder / "ply_data_train1.h5", label=lambda labels: np.where(np.arange(24)[:, None] == 5, 200, labels))
    rewrite(folder / "ply_data_train2.h5", data=lambda data: np.where(np.arange(24)[:, None, None] == 7, np.nan, data))
    (folder / "ply_data_test0.h5").write_bytes(b"<!DOCTYPE html><html>404</html>")
    code, found = check.facts(f"modelnet-h5:{folder}")
    assert code == 1
    for fault in ("train2.h5: field 'data' row 7 point 0 axis x is nan", "test0.h5: is a web page"):
        assert sum(fault in line for line in found["problems"]) == 1, found["problems"]
    shutil.copyfile(folder / "ply_data_train0.h5", folder / "ply_data_test0.h5")
    _, found = check.facts(f"modelnet-h5:{folder}")
    assert any("train1.h5: field 'label' row 5 is 200, expected 0 to 5" in line for line in found["problems"])


def test_of_very_many_broken_files_some_are_named_and_the_rest_counted(check: Check, tmp_path: Path) -> None:
    for name in ("cup", "mug"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for i in range(40):
            cloud = toy_cloud(i % 6, np.random.default_rng(i), 30)
            cloud[i % 30, 1] = np.nan if name == "mug" or i % 2 else 0
            np.save(tmp_path / "set" / name / f"{i}.npy", cloud)
    code, found = check.facts(f"clouds:{tmp_path / 'set'}")
    assert code == 1
    assert len(found["problems"]) == 51
    assert all("axis y is nan" in line for line in found["problems"][:50])
    assert found["problems"][50] == "10 more faults; mend these and check again"


def test_new_content_under_the_old_times_is_checked(check: Check, folder: Path) -> None:
    """A remembered digest would show the old data as sound."""
    assert check.facts(f"modelnet-h5:{folder}")[0] == 0
    path = folder / "ply_data_test0.h5"
    stamp = path.stat()
    first = check.facts(f"modelnet-h5:{folder}")[1]["manifest"]
    with h5py.File(path, "r+") as file:
        file["data"][0, 0, 0] += 0.01
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert path.stat().st_size == stamp.st_size
    assert check.facts(f"modelnet-h5:{folder}")[1]["manifest"] != first


def test_a_point_far_from_all_others_is_named(check: Check, folder: Path) -> None:
    """Scaled into the unit sphere, the rest of such an object is a dot: its features say nothing."""

    def stray(points: np.ndarray) -> np.ndarray:
        points[1, 7] = [0, 1000, 0]
        return points

    rewrite(folder / "ply_data_train0.h5", data=stray)
    code, facts = check.facts(f"modelnet-h5:{folder}")
    assert code == 0
    (note,) = (note for note in facts["notes"] if "far from the others" in note)
    assert "train: 1 of 24 objects" in note
    assert ": point 7 is" in note
