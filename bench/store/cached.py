"""Cached files with digests, verified when opened.

A cached file is its content, then a seal: a mark and the SHA-256 of the file's place and content. NumPy reads an array
in front of a seal like any other, so that large files are mapped. A file that was altered, cut short or put in the
place of another counts as absent, with a warning, and whoever wanted it makes it again.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from bench.store.publish import whole_file
from bench.store.scratch import remove_abandoned

_log = logging.getLogger(__name__)

PART = ".part"
"""Suffix of a file that is still being written."""
SETTLED_NS = 2_000_000_000
"""A file changed less than this before it was read may change again within one tick of its clock, unnoticed."""
_MARK = b"bench seal 1\n\0\0\0"
_SEAL_BYTES = len(_MARK) + 32
_CHUNK = 1 << 20
_sound: dict[Path, tuple[int, ...]] = {}
"""Files whose digest this process has found right, and how they looked then; each is read once."""

_told: dict[Path, tuple[int, ...]] = {}
"""Files that a warning was given of, and how they looked then."""


class _Sealing:
    """A stream that computes a digest while writing."""

    def __init__(self, stream: BinaryIO, place: str) -> None:
        self._stream, self._sha = stream, _begun(place)

    def write(self, data: Any) -> int:
        self._sha.update(data)
        return self._stream.write(data)

    def seal(self) -> None:
        """Append the seal."""
        self._stream.write(_MARK + self._sha.digest())


@contextlib.contextmanager
def publishing(path: Path, levels: int = 2) -> Iterator[BinaryIO]:
    """Write a cached file through a stream.

    It appears whole and sealed, or not at all.

    Args:
        path: Its place; folders are made.
        levels: Last parts of `path` that say what the content is; they are covered by the digest.

    Raises:
        SetupError: It cannot be written.
    """
    remove_abandoned(path.parent)
    with whole_file(path, suffix=PART) as stream:
        sealing = _Sealing(stream, _place(path, levels))
        yield cast("BinaryIO", sealing)
        sealing.seal()


def write_array(path: Path, array: npt.NDArray[Any], levels: int = 2) -> None:
    """Write an array as a cached file (see `publishing`)."""
    with publishing(path, levels) as stream:
        begin_array(stream, array.dtype, array.shape)
        rows = max(1, _CHUNK * max(len(array), 1) // max(array.nbytes, 1)) if array.ndim else 1
        for start in range(0, len(array) if array.ndim else 1, rows):
            stream.write((array[start : start + rows] if array.ndim else array).tobytes())


def begin_array(stream: BinaryIO, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> None:
    """Write NumPy's header of an array, whose rows follow."""
    head = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, head)


def seal(path: Path, destination: Path, levels: int = 2) -> None:
    """Seal a finished file that will be moved.

    Args:
        path: Its present path.
        destination: Its final path.
        levels: See `publishing`.

    Raises:
        OSError: As the system reports it.
    """
    with path.open("r+b") as stream:
        sha = _begun(_place(destination, levels))
        while chunk := stream.read(_CHUNK):
            sha.update(chunk)
        stream.write(_MARK + sha.digest())
        stream.flush()
        os.fsync(stream.fileno())


def open_array(
    path: Path, dtype: npt.DTypeLike, shape: tuple[int | None, ...], levels: int = 2
) -> npt.NDArray[Any] | None:
    """Open a cached array.

    Args:
        path: Its place.
        dtype: Type it has to have.
        shape: Shape it has to have; None stands for any length.
        levels: As it was written with.

    Returns:
        A read-only memory map (an empty array is in memory); None where there is none, where it has another type or
        shape, or where its digest does not match. The last is said in a warning.
    """
    if not is_sound(path, levels):
        return None
    try:
        with path.open("rb") as stream:
            version = np.lib.format.read_magic(stream)
            if version != (1, 0):
                return None
            stored, fortran, kind = np.lib.format.read_array_header_1_0(stream)
            start = stream.tell()
        fits = len(stored) == len(shape) and all(w in (None, n) for n, w in zip(stored, shape, strict=True))
        if not fits or fortran or kind != np.dtype(dtype):
            return None
        if start + math.prod(stored) * kind.itemsize + _SEAL_BYTES != path.stat().st_size:
            return None
        return np.memmap(path, kind, "r", start, stored) if math.prod(stored) else np.empty(stored, kind)
    except (OSError, ValueError):
        return None


def read_bytes(path: Path, levels: int = 2) -> bytes | None:
    """Return a cached file's content; None as in `open_array`."""
    if not is_sound(path, levels):
        return None
    try:
        return path.read_bytes()[:-_SEAL_BYTES]
    except OSError:
        return None


def is_sound(path: Path, levels: int = 2) -> bool:
    """Whether a cached file exists and its digest matches.

    One that does not match is named in a warning.

    The content is read once in a process, as long as the file looks the same.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe would never end
            return False
        began = time.time_ns()
        with path.open("rb") as stream:
            found = os.fstat(stream.fileno())
            looks = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, levels)
            if _sound.get(path) == looks:
                return True
            _sound.pop(path, None)
            sha, left = _begun(_place(path, levels)), found.st_size - _SEAL_BYTES
            while left > 0 and (chunk := stream.read(min(_CHUNK, left))):
                sha.update(chunk)
                left -= len(chunk)
            sealed = stream.read(_SEAL_BYTES) if left == 0 else b""
        settled = found.st_ctime_ns + SETTLED_NS < began
    except FileNotFoundError:
        return False
    except OSError as error:
        _log.warning("%s: cannot be read (%s); made again", path, error.strerror or error)
        return False
    if sealed == _MARK + sha.digest():
        if settled:
            _sound[path] = looks
        return True
    why = (
        "does not match its digest"
        if sealed.startswith(_MARK)
        else "carries no digest (cut short, or of an older bench)"
    )
    if _told.get(path) != looks:  # checked again before it is recomputed
        _told[path] = looks
        _log.warning("%s: cached file %s; made again", path, why)
    return False


def _begun(place: str) -> Any:
    return hashlib.sha256(place.encode("utf-8", "surrogateescape") + b"\0")


def _place(path: Path, levels: int) -> str:
    return "/".join(path.parts[-levels:])
