"""Conversion of many small files: once, restartable, whole, never beside the user's files; careful single files."""

from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.data import converted, digest, filelists
from bench.data.arrays import cloud, read_npy
from bench.data.converted import Column, Converted, Deferred, Reader, convert
from bench.data.filelists import FileList, list_files
from bench.data.holdout import hold_out, shuffled_by_name
from bench.errors import BenchError, DataError, SetupError

COUNT = 150


def read(path: Path) -> dict[str, np.ndarray]:
    points = cloud(read_npy(path), path)
    return {"points": points, "tail": np.arange(int(path.stem.split("_")[0]) % 4)}


READER = Reader("toy", {"points": Column("float32", (None, 3)), "tail": Column("int64", (None,), ragged=True)}, read)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    below = tmp_path / "Wölkchen ☁"
    below.mkdir()
    for i in range(COUNT):
        np.save(below / f"{i}_c.npy", np.random.default_rng(i).normal(size=(8, 3)))
    return below


def names() -> list[str]:
    return [f"{i}_c.npy" for i in range(COUNT)]


def whole(arrays: Converted, below: Path) -> bool:
    return all(
        np.array_equal(arrays.item("points", i), np.load(below / name).astype(np.float32))
        and len(arrays.item("tail", i)) == i % 4
        for i, name in enumerate(names())
    )


def one_line(error: pytest.ExceptionInfo[BenchError], path: Path) -> str:
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)
    return str(error.value)


def test_arrays_are_what_the_files_hold_and_lie_in_the_cache(folder: Path, tmp_path: Path) -> None:
    """A wrong row would put one object's points under another's label."""
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    cache = tmp_path / "cache"
    steps: list[tuple[int, int]] = []
    arrays = convert(list_files(folder, names(), cache), READER, cache, lambda *step: steps.append(step))
    assert whole(arrays, folder)
    assert isinstance(arrays.arrays["points"], np.memmap)
    assert not arrays.arrays["points"].flags.writeable
    assert steps[-1] == (COUNT, COUNT)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert not list((cache / "converted").glob(".*staging*"))


def test_known_files_are_not_read_again(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every start would read gigabytes."""
    monkeypatch.setattr(digest, "SETTLED_NS", -(10**18))
    cache = tmp_path / "cache"
    first = list_files(folder, names(), cache)
    convert(first, READER, cache)

    def never(path: Path) -> Any:
        raise AssertionError(path)

    monkeypatch.setattr(filelists, "_digest", never)
    again = list_files(folder, names(), cache)
    assert again.digest == first.digest
    assert whole(convert(again, Reader("toy", READER.columns, never), cache), folder)


def test_content_counts_and_time_does_not(folder: Path, tmp_path: Path) -> None:
    """A copied data set would get another key, or a changed file the old arrays."""
    cache = tmp_path / "cache"
    first = list_files(folder, names(), cache)
    os.utime(folder / "3_c.npy", ns=(10**18, 10**18))
    touched = list_files(folder, names(), cache)
    assert touched.digest == first.digest
    content = np.load(folder / "3_c.npy")
    np.save(folder / "3_c.npy", content + 1)
    assert list_files(folder, names(), cache).digest != first.digest
    assert list_files(folder, names()[::-1], cache).digest != first.digest


def test_an_interrupted_conversion_goes_on(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill after hours of reading would start everything anew, or leave torn arrays."""
    cache, seen = tmp_path / "cache", list[str]()
    monkeypatch.setattr(converted, "CHUNK_BYTES", 1000)
    monkeypatch.setattr(converted, "BATCH", 16)
    files = list_files(folder, names(), cache)

    def killed(path: Path) -> dict[str, np.ndarray]:
        if path.name == names()[100]:
            raise KeyboardInterrupt
        return read(path)

    with pytest.raises(KeyboardInterrupt):
        convert(files, Reader("toy", READER.columns, killed), cache)
    assert not [path for path in (cache / "converted").iterdir() if not path.name.startswith(".")]
    (staging,) = (cache / "converted").glob(".*staging")
    with (staging / "points.npy").open("ab") as stream:
        stream.write(b"torn")

    def counted(path: Path) -> dict[str, np.ndarray]:
        seen.append(path.name)
        return read(path)

    assert whole(convert(files, Reader("toy", READER.columns, counted), cache), folder)
    assert len(seen) < 80


@pytest.mark.parametrize("harm", ["journal", "array"])
def test_a_damaged_staging_folder_is_started_anew(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    """What a crash of the machine tore would be taken for data."""
    cache = tmp_path / "cache"
    monkeypatch.setattr(converted, "CHUNK_BYTES", 1000)
    files = list_files(folder, names(), cache)

    def killed(path: Path) -> dict[str, np.ndarray]:
        if path.name == names()[100]:
            raise KeyboardInterrupt
        return read(path)

    with pytest.raises(KeyboardInterrupt):
        convert(files, Reader("toy", READER.columns, killed), cache)
    (staging,) = (cache / "converted").glob(".*staging")
    if harm == "journal":
        (staging / "journal.json").write_text('{"done": 90}', encoding="utf-8")
    else:
        os.truncate(staging / "points.npy", 300)
    assert whole(convert(files, READER, cache), folder)


def test_a_damaged_result_is_made_again(folder: Path, tmp_path: Path) -> None:
    """A cache that lost bytes would crash every later run."""
    cache = tmp_path / "cache"
    files = list_files(folder, names(), cache)
    convert(files, READER, cache)
    (done,) = (path for path in (cache / "converted").iterdir() if path.is_dir())
    os.truncate(done / "points.npy", 900)
    assert whole(convert(files, READER, cache), folder)


def _convert_in_process(folder: str, cache: str) -> bool:
    return whole(convert(list_files(Path(folder), names(), Path(cache)), READER, Path(cache)), Path(folder))


def test_two_processes_at_once_both_succeed(folder: Path, tmp_path: Path) -> None:
    """Two runs started together would write into each other's arrays."""
    with multiprocessing.get_context("fork").Pool(3) as pool:
        asked = [(str(folder), str(tmp_path / "cache"))] * 3
        assert pool.starmap(_convert_in_process, asked) == [True] * 3
    assert len([p for p in (tmp_path / "cache" / "converted").iterdir() if p.is_dir()]) == 1


def test_without_locks_each_writes_its_own(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system without locks nothing would work."""
    import errno
    import fcntl

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    assert _convert_in_process(str(folder), str(tmp_path / "cache"))


def test_other_ways_of_reading_get_other_arrays(folder: Path, tmp_path: Path) -> None:
    """An option of a loader would silently get the arrays of another."""
    cache = tmp_path / "cache"
    files = list_files(folder, names(), cache)
    convert(files, READER, cache)
    for other in (
        Reader("toy", READER.columns, read, revision=2),
        Reader("toy", READER.columns, read, options={"k": 1}),
        Reader("toy", {**READER.columns, "points": Column("float64", (8, 3))}, read),
    ):
        convert(files, other, cache)
    assert len([p for p in (cache / "converted").iterdir() if p.is_dir()]) == 4


def test_broken_and_odd_files_are_named(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One odd file among 52,000 would have to be searched for by hand."""
    cache, odd = tmp_path / "cache", folder / "70_c.npy"
    np.save(odd, np.zeros((9, 3)) + np.arange(9)[:, None])
    with pytest.raises(DataError) as shape:
        convert(list_files(folder, names(), cache), READER, cache)
    assert "expected the same in every file" in one_line(shape, odd)
    odd.unlink()
    with pytest.raises(DataError) as gone:
        list_files(folder, names(), cache)
    assert "no such file" in one_line(gone, odd)
    np.save(odd, np.random.default_rng(0).normal(size=(8, 3)))
    files = list_files(folder, names(), cache)
    np.save(odd, np.random.default_rng(1).normal(size=(8, 3)).astype(np.float32))
    with pytest.raises(DataError) as changed:
        convert(files, READER, cache)
    assert "changed while it was read" in one_line(changed, odd)


def test_a_full_disk_is_told_beforehand(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The conversion would fail after an hour of reading."""
    usage = type("Usage", (), {"free": 1000})()
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(SetupError, match="takes about") as full:
        convert(list_files(folder, names(), tmp_path / "cache"), READER, tmp_path / "cache")
    one_line(full, folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_cache_that_cannot_be_written_is_a_setup_error(folder: Path, tmp_path: Path) -> None:
    """The reason would be buried in a traceback."""
    cache = tmp_path / "sealed"
    cache.mkdir(mode=0o500)
    with pytest.raises(SetupError, match="cannot write"):
        convert(list_files(folder, names(), cache), READER, cache)


def test_links_and_read_only_folders_are_fine(folder: Path, tmp_path: Path) -> None:
    """Data sets on read-only or linked storage could not be used."""
    linked = tmp_path / "linked"
    linked.mkdir()
    for name in names():
        (linked / name).symlink_to(folder / name)
    linked.chmod(0o500)
    try:
        cache = tmp_path / "cache"
        files = list_files(linked, names(), cache)
        assert files.digest == list_files(folder, names(), cache).digest
        assert whole(convert(files, READER, cache), folder)
    finally:
        linked.chmod(0o700)


def test_deferred_arrays_stand_in_for_arrays(tmp_path: Path) -> None:
    """Pictures would be decoded for methods that never look at them, or not be found by those that do."""
    made: list[int] = []

    def make() -> np.ndarray:
        made.append(1)
        return np.arange(24, dtype=np.uint8).reshape(2, 3, 4)

    array = Deferred((2, 3, 4), "uint8", make)
    assert (len(array), array.shape, array.ndim, array.dtype) == (2, (2, 3, 4), 3, np.dtype("uint8"))
    assert not made
    np.testing.assert_array_equal(array[np.array([1])], make()[[1]])
    np.testing.assert_array_equal(np.ascontiguousarray(array), make())
    np.testing.assert_array_equal(array.copy(), make())
    assert np.asarray(array).dtype == np.uint8
    assert len(made) == 4


def test_choices_by_name_are_nested_and_stay_put() -> None:
    """A tenth of the data would not lie in a fifth of it, or a new object reshuffle the split."""
    objects = [f"o{i}" for i in range(100)]
    order = shuffled_by_name(objects, "fraction")
    assert sorted(order.tolist()) == list(range(100))
    backwards = shuffled_by_name(objects[::-1], "fraction")
    assert [objects[i] for i in order] == [objects[::-1][i] for i in backwards]
    labels = np.arange(100) % 7
    train, test = hold_out(objects, labels, 0.2)
    assert sorted([*train, *test]) == list(range(100))
    assert set(labels[test].tolist()) == set(range(7))
    assert hold_out(["only"], np.zeros(1, np.int64), 0.5)[1].tolist() == []


def test_a_torn_table_of_digests_is_made_again(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash while the table was written would stop every later run."""
    monkeypatch.setattr(digest, "SETTLED_NS", -(10**18))
    cache = tmp_path / "cache"
    first: FileList = list_files(folder, names(), cache)
    (note,) = (cache / "digests").glob("*.list.json")
    for torn in ("{", "[]", json.dumps({"3_c.npy": 1}), ""):
        note.write_text(torn, encoding="utf-8")
        assert list_files(folder, names(), cache).digest == first.digest
