"""Cached digests of data files, and the manifest.

Asking again costs one `stat`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import cast

from pydantic import JsonValue

from bench.errors import DataError, SetupError
from bench.spec import content_key
from bench.store.cached import SETTLED_NS
from bench.store.publish import write_whole

Stamp = tuple[int, int, int, int, int]
"""Size, modification time, change time (both in ns), inode and device of a file."""
_read_here: ContextVar[dict[Path, JsonValue] | None] = ContextVar("notes of files read again", default=None)


@contextlib.contextmanager
def read_again() -> Iterator[None]:
    """Ignore cached digests: read every file again, once."""
    token = _read_here.set({})
    try:
        yield
    finally:
        _read_here.reset(token)


def stamp_of(stat: os.stat_result) -> Stamp:
    """Return size, times, inode and device of a file.

    The change time is set by the system whenever a file is altered.
    """
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_dev


def settled(stamp: Stamp, began: int) -> bool:
    """Return whether a later change would alter the stamp.

    The file was read from time `began` (ns) on.
    """
    return max(stamp[1], stamp[2]) + SETTLED_NS < began


def file_digest(path: Path, cache: Path) -> str:
    """Return the SHA-256 hex digest of a file's content.

    The digest is cached under ``cache/digests`` by resolved path and `Stamp`. If the cache cannot be written, only time
    is lost.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        resolved = path.resolve(strict=True)
        stat = resolved.stat()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not S_ISREG(stat.st_mode):  # reading a pipe or a device would never end
        raise DataError(f"{path}: is {'a folder' if S_ISDIR(stat.st_mode) else 'a pipe or device'}, expected a file")
    note = cache / "digests" / f"{hashlib.sha256(str(resolved).encode('utf-8', 'surrogateescape')).hexdigest()}.json"
    stamp = stamp_of(stat)
    known = _recall(note, stamp)
    if known is not None:
        return known
    started = time.time_ns()
    try:
        with resolved.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    if settled(stamp, started):
        with contextlib.suppress(SetupError, UnicodeError):
            store_facts(note, {"path": str(resolved), "stamp": list(stamp), "sha256": digest})
    return digest


def _recall(note: Path, stamp: Stamp) -> str | None:
    known = stored_facts(note)
    if not isinstance(known, dict) or known.get("stamp") != list(stamp):
        return None
    digest = known.get("sha256")
    return digest if isinstance(digest, str) else None


def store_facts(note: Path, content: JsonValue) -> None:
    """Store facts about files, with a digest of the facts.

    Raises:
        SetupError: The place cannot be written.
    """
    fresh = _read_here.get()
    if fresh is not None:
        fresh[note] = content
    write_whole(note, json.dumps({"check": _check(content), "noted": content}))


def stored_facts(note: Path) -> JsonValue:
    """Return stored facts, or None.

    None if they are absent or altered, or inside `read_again`.
    """
    fresh = _read_here.get()
    if fresh is not None:
        return fresh.get(note)
    try:
        read = json.loads(note.read_text(encoding="utf-8"))
        return cast("JsonValue", read["noted"]) if _check(read["noted"]) == read["check"] else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _check(content: JsonValue) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def manifest_digest(
    name: str, revision: int, options: dict[str, JsonValue], files: Iterable[tuple[str, str, str]]
) -> str:
    """Return the digest of a file data set's content.

    Args:
        name: The data set's name.
        revision: Version of the loader; increased when it returns other arrays for the same files.
        options: The data set's options.
        files: (role, base name, content digest) of every file, in the order in which they are read.
    """
    listed: list[JsonValue] = [list(entry) for entry in files]
    return content_key({"name": name, "revision": revision, "options": options, "files": listed})
