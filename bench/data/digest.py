"""Digests of data files, remembered so that asking again costs a `stat`, and the manifest built from them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Iterable
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from pydantic import JsonValue

from bench.data.files import write_atomic
from bench.errors import DataError, SetupError
from bench.spec import content_key

SETTLED_NS = 2_000_000_000
"""A file changed less than this before it was read may change again within one tick of its clock, unnoticed."""


def file_digest(path: Path, cache: Path) -> str:
    """Return the SHA-256 hex digest of a file's content.

    The digest is remembered under ``cache/digests`` by resolved path, size and modification time. A cache that
    cannot be written costs time, never the answer.

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
    stamp: dict[str, JsonValue] = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    known = _recall(note, stamp)
    if known is not None:
        return known
    started = time.time_ns()
    try:
        with resolved.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    if stat.st_mtime_ns + SETTLED_NS < started:
        with contextlib.suppress(SetupError, UnicodeError):
            write_atomic(note, json.dumps({"path": str(resolved), **stamp, "sha256": digest}))
    return digest


def _recall(note: Path, stamp: dict[str, JsonValue]) -> str | None:
    try:
        known = json.loads(note.read_text(encoding="utf-8"))
        if {key: known[key] for key in stamp} != stamp:
            return None
        digest = known["sha256"]
        return digest if isinstance(digest, str) and len(digest) == 64 else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def manifest_digest(
    name: str, revision: int, options: dict[str, JsonValue], files: Iterable[tuple[str, str, str]]
) -> str:
    """Return the SHA-256 hex digest that stands for a file data set's content.

    Args:
        name: The data set's name.
        revision: Raised whenever the loader gives other arrays for the same files.
        options: The data set's options.
        files: (role, base name, content digest) of every file, in the order in which they are read.
    """
    listed: list[JsonValue] = [list(entry) for entry in files]
    return content_key({"name": name, "revision": revision, "options": options, "files": listed})
