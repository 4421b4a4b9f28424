"""Cached files: whatever is not what was written must count as absent, or a changed cache changes results unseen."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.errors import SetupError
from bench.store import cached
from bench.store.cached import open_array, publishing, read_bytes, seal, write_array

VALUES = np.arange(24, dtype=np.float32).reshape(6, 4)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "features" / "encoder-1-cls.npy"
    write_array(path, VALUES)
    write_array(path.with_name("encoder-2-cls.npy"), VALUES + 100)
    return path


def exchange_rows(path: Path) -> None:
    mapped = np.memmap(path, np.float32, "r+", 128, (6, 4))
    mapped[[0, 5]] = mapped[[5, 0]]
    mapped.flush()


def flip(position: int) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[position] ^= 1
        path.write_bytes(content)

    return damage


def without_seal(path: Path) -> None:
    np.save(path, VALUES)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "rows exchanged": exchange_rows,
    "a value": flip(130),
    "the head": flip(20),
    "the digest": flip(-1),
    "the mark": flip(-40),
    "cut short": lambda path: os.truncate(path, path.stat().st_size - 5),
    "seal cut off": lambda path: os.truncate(path, path.stat().st_size - 48),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "empty": lambda path: path.write_bytes(b""),
    "another key's": lambda path: shutil.copyfile(path.with_name("encoder-2-cls.npy"), path),
    "another seal": lambda path: path.write_bytes(
        path.read_bytes()[:-48] + path.with_name("encoder-2-cls.npy").read_bytes()[-48:]
    ),
    "of an older bench": without_seal,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_altered_array_counts_as_absent_with_one_line(
    file: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    np.testing.assert_array_equal(open_array(file, np.float32, (6, 4)), VALUES)
    stamp = file.stat()
    DAMAGES[damage](file)
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert open_array(file, np.float32, (6, 4)) is None
    assert open_array(file, np.float32, (6, 4)) is None
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert str(file) in line
    assert line.endswith("made again")
    write_array(file, VALUES)
    np.testing.assert_array_equal(open_array(file, np.float32, (6, None)), VALUES)


def test_a_file_is_read_once_in_a_process_until_it_changes(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    later = time.time_ns() + 10 * 10**9
    monkeypatch.setattr(cached.time, "time_ns", lambda: later)
    assert open_array(file, np.float32, (6, 4)) is not None
    monkeypatch.setattr(cached, "_begun", None)
    assert open_array(file, np.float32, (6, 4)) is not None
    monkeypatch.undo()
    stamp = file.stat()
    exchange_rows(file)
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert open_array(file, np.float32, (6, 4)) is None


def test_type_and_shape_are_compared_and_absent_is_silent(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert open_array(file, np.float64, (6, 4)) is None
    assert open_array(file, np.float32, (4, 6)) is None
    assert open_array(file, np.float32, (6, 4, 1)) is None
    assert open_array(file.with_name("none.npy"), np.float32, (6, 4)) is None
    assert not caplog.records
    mapped = open_array(file, np.float32, (6, 4))
    assert isinstance(mapped, np.memmap)
    assert not mapped.flags.writeable
    for shape in ((0, 3), (3, 0)):
        write_array(file, np.empty(shape, np.int32))
        empty = open_array(file, np.int32, shape)
        assert empty is not None
        assert empty.shape == shape


def test_a_pipe_in_the_place_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    os.mkfifo(path)
    assert open_array(path, np.float32, (1,)) is None
    write_array(path, VALUES)
    assert open_array(path, np.float32, (6, 4)) is not None


def test_a_folder_moved_to_another_key_counts_as_absent(tmp_path: Path) -> None:
    """Arrays of one split have one name in all data sets: the folders above them must be in the digest."""
    staged, right, wrong = tmp_path / "staging", tmp_path / "a" / "train", tmp_path / "b" / "train"
    staged.mkdir()
    np.save(staged / "points.npy", VALUES)
    seal(staged / "points.npy", right / "points.npy", 3)
    right.parent.mkdir()
    staged.rename(right)
    assert open_array(right / "points.npy", np.float32, (6, 4), 3) is not None
    shutil.copytree(right, wrong)
    assert open_array(wrong / "points.npy", np.float32, (6, 4), 3) is None


def test_a_failed_write_leaves_nothing_and_old_leftovers_go(tmp_path: Path) -> None:
    old, fresh = tmp_path / ".incoming-a.part", tmp_path / ".incoming-b.part"
    for path in (old, fresh):
        path.touch()
    os.utime(old, (1, 1))

    def fail() -> None:
        with publishing(tmp_path / "x") as stream:
            stream.write(b"half")
            raise OSError(28, "No space left on device")

    with pytest.raises(SetupError, match="cannot write"):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == [".incoming-b.part"]
    with publishing(tmp_path / "x") as stream:
        stream.write(b"whole")
    assert read_bytes(tmp_path / "x") == b"whole"
