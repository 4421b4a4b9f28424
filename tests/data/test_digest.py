"""File digests: a forgotten change would reuse results of other data; a needless rehash costs seconds every start."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.data import digest
from bench.data.digest import file_digest, manifest_digest, read_again
from bench.data.filelists import list_files
from bench.data.files import exclusive
from bench.errors import DataError, SetupError
from bench.store.publish import write_whole


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remember digests at once, as if files had been written long ago (no one can set a change time back)."""
    monkeypatch.setattr(digest, "SETTLED_NS", -(10**18))


@pytest.mark.usefixtures("settled")
def test_a_known_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, cache = tmp_path / "a.h5", tmp_path / "cache"
    path.write_bytes(b"content")
    expected = hashlib.sha256(b"content").hexdigest()
    assert file_digest(path, cache) == expected
    with read_again():
        assert file_digest(path, cache) == expected
        monkeypatch.setattr(hashlib, "file_digest", None)
        assert file_digest(path, cache) == expected, "read again, but once"
    assert file_digest(path, cache) == expected
    (tmp_path / "link.h5").symlink_to(path)
    assert file_digest(tmp_path / "link.h5", cache) == expected
    with read_again(), pytest.raises(TypeError):
        file_digest(path, cache)


def rewrite(path: Path) -> None:
    path.write_bytes(b"CONTENT")


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"CONTENT")
    other.replace(path)


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("change", [rewrite, replace])
def test_new_content_of_the_same_size_and_time_is_seen(change: Callable[[Path], None], tmp_path: Path) -> None:
    """Tools that keep times (rsync, cp -p, touch -r) would else bring results of the old content."""
    path, cache = tmp_path / "a.h5", tmp_path / "cache"
    path.write_bytes(b"content")
    os.utime(path, ns=(10**18, 10**18))
    first, listed = file_digest(path, cache), list_files(tmp_path, ["a.h5"], cache).digest
    time.sleep(0.02)  # longer than a tick of the clock that stamps changes
    change(path)
    os.utime(path, ns=(10**18, 10**18))
    assert file_digest(path, cache) == hashlib.sha256(b"CONTENT").hexdigest() != first
    assert list_files(tmp_path, ["a.h5"], cache).digest != listed


def test_a_file_changed_within_one_clock_tick_is_seen(tmp_path: Path) -> None:
    """Same size and time stamp, other content: such a stamp is not trusted while it is fresh."""
    path, cache = tmp_path / "a.h5", tmp_path / "cache"
    path.write_bytes(b"one")
    stamp = path.stat().st_mtime_ns
    first = file_digest(path, cache)
    path.write_bytes(b"two")
    os.utime(path, ns=(stamp, stamp))
    assert file_digest(path, cache) != first


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", '{"size": 7}', "one digit"])
def test_a_damaged_note_is_ignored(tmp_path: Path, damage: str) -> None:
    path, cache = tmp_path / "a.h5", tmp_path / "cache"
    path.write_bytes(b"content")
    expected = file_digest(path, cache)
    (note,) = (cache / "digests").iterdir()
    text = note.read_text(encoding="utf-8")
    assert json.loads(text)["noted"]["sha256"] == expected
    if damage == "one digit":
        digit = "0" if expected[0] != "0" else "1"
        damage = text.replace(expected, digit + expected[1:])
    note.write_text(damage, encoding="utf-8")
    assert file_digest(path, cache) == expected


def test_a_cache_that_cannot_be_written_does_not_stop_the_digest(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(b"content")
    assert file_digest(path, path / "no folder") == hashlib.sha256(b"content").hexdigest()


def test_a_missing_file_gets_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.h5: cannot be read"):
        file_digest(tmp_path / "gone.h5", tmp_path)


def test_manifest_depends_on_every_part_and_on_order() -> None:
    files = [("train", "a.h5", "1" * 64), ("test", "b.h5", "2" * 64)]
    base = manifest_digest("x", 1, {"v": "a"}, files)
    others = [
        manifest_digest("y", 1, {"v": "a"}, files),
        manifest_digest("x", 2, {"v": "a"}, files),
        manifest_digest("x", 1, {"v": "b"}, files),
        manifest_digest("x", 1, {"v": "a"}, files[::-1]),
        manifest_digest("x", 1, {"v": "a"}, files[:1]),
    ]
    assert base == manifest_digest("x", 1, {"v": "a"}, iter(files))
    assert len({base, *others}) == 6


def test_atomic_write_replaces_leaves_no_rest_and_keeps_usual_rights(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.yaml"
    write_whole(path, "one")
    write_whole(path, "two")
    assert path.read_text(encoding="utf-8") == "two"
    assert [p.name for p in path.parent.iterdir()] == ["file.yaml"]
    (tmp_path / "plain").touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)
    with pytest.raises(SetupError, match="cannot write"):
        write_whole(path / "below a file", "x")


def test_the_lock_lets_one_in_at_a_time(tmp_path: Path) -> None:
    """Without it, processes started together would each convert the same data."""
    order: list[str] = []

    def second() -> None:
        with exclusive(tmp_path / "x.lock") as held:
            assert held
            order.append("second")

    with exclusive(tmp_path / "x.lock") as held:
        assert held
        other = threading.Thread(target=second)
        other.start()
        other.join(timeout=0.2)
        order.append("first")
    other.join()
    assert order == ["first", "second"]
