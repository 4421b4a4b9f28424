"""Read files safely: regular, bounded, never through links.

Somebody else may have made them.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

_CHUNK = 1 << 20
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_FILE = {errno.ELOOP: "a symbolic link", errno.ENXIO: "a socket", errno.ENOTDIR: "not below a folder"}


class NoRegularFileError(ValueError):
    """Not a regular file, or too large to read."""


def read_file(path: Path | str, limit: int) -> bytes:
    """Return the content of a regular file.

    Args:
        path: The file; a symbolic link is refused, a pipe is not waited for.
        limit: Bytes it may have.

    Raises:
        NoRegularFileError: It is no regular file, or larger.
        OSError: The system refused, `FileNotFoundError` where it is absent.
    """
    with _opened(path, limit) as (descriptor, size):
        parts, left = [], size + 1
        while left and (part := os.read(descriptor, min(left, _CHUNK))):
            parts.append(part)
            left -= len(part)
        if left != 1:
            raise NoRegularFileError(f"{_name(path)} changed while it was read")
        return b"".join(parts)


def file_head(path: Path, count: int) -> bytes:
    """Return the first bytes of a regular file.

    A symbolic link may name it.

    Raises:
        NoRegularFileError: It is no regular file.
        OSError: The system refused, `FileNotFoundError` where it is absent.
    """
    descriptor = os.open(path, _FLAGS & ~os.O_NOFOLLOW)
    try:
        _require_regular(path, os.fstat(descriptor).st_mode)
        return os.read(descriptor, count)
    finally:
        os.close(descriptor)


def file_digest(path: Path | str, limit: int | None = None) -> tuple[int, str]:
    """Return size and SHA-256 of a regular file.

    See `read_file`; little of it is in memory.
    """
    with _opened(path, limit) as (descriptor, size):
        sha, left = hashlib.sha256(), size
        while left and (part := os.read(descriptor, min(left, _CHUNK))):
            sha.update(part)
            left -= len(part)
        return size - left, sha.hexdigest()


def file_size(path: Path) -> int:
    """Return a regular file's size without opening it."""
    found = path.lstat()
    _require_regular(path, found.st_mode)
    return found.st_size


def signature(folder: Path | str, names: Iterable[str]) -> str:
    """Return a digest of files' sizes, times and inodes.

    A file that was written, replaced or moved here since has another change time or inode, which programs cannot
    set; one that was added or removed changes the folder's. Nothing is opened.

    Args:
        folder: The folder.
        names: Names of its files.

    Raises:
        OSError: The system refused, or a file is missing.
    """
    place = os.fspath(folder)
    found: list[int] = []
    for path in (place, *(f"{place}/{name}" for name in names)):
        s = os.lstat(path)
        found += (s.st_mode, s.st_size, s.st_ctime_ns, s.st_ino)
    return hashlib.sha256(repr(found).encode()).hexdigest()[:32]


def listing(found: os.stat_result) -> str:
    """Return a text that changes with a folder's entries."""
    return f"{found.st_ino}:{found.st_ctime_ns}"


def shown(text: object) -> str:
    """Escape control characters for one line on a terminal.

    Undecodable bytes are written out too.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


@contextmanager
def _opened(path: Path | str, limit: int | None) -> Iterator[tuple[int, int]]:
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError as error:
        if error.errno not in _NO_FILE:
            raise
        raise NoRegularFileError(f"{_name(path)} is {_NO_FILE[error.errno]}, not a regular file") from error
    try:
        found = os.fstat(descriptor)
        _require_regular(path, found.st_mode)
        if limit is not None and found.st_size > limit:
            raise NoRegularFileError(f"{_name(path)} has {found.st_size:,} bytes, at most {limit:,} are read")
        yield descriptor, found.st_size
    finally:
        os.close(descriptor)


def _require_regular(path: Path | str, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = "a symbolic link" if stat.S_ISLNK(mode) else "a folder" if stat.S_ISDIR(mode) else "a pipe or device"
        raise NoRegularFileError(f"{_name(path)} is {kind}, not a regular file")


def _name(path: Path | str) -> str:
    return shown(Path(path).name)
