"""Read the zip file of a bundle, which a stranger may have made.

Only names that a bundle has are accepted, so that no entry can lead elsewhere; sizes are bounded before anything is
unpacked, and nothing is written.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from bench.errors import DataError
from bench.plan import skips
from bench.store import codec, folders
from bench.store.failures import file_failure
from bench.store.files import shown
from bench.store.scan import FAILED, FILES, RUNS

HEAD = "bundle.json"
ENVIRONMENT = "environment.json"
REQUESTS = "requests.json"
SKIPPED = skips.FILE
REPORT = "report"
PAGES = ("index.html", "report.json", "results.csv", "results.md")
"""Files of the report."""

MOST_RUNS = 40_000
"""Most runs of one bundle."""
MOST_ENTRIES = 7 * MOST_RUNS + 100
_DIRECTORY_BYTES = 96 << 20
"""Most bytes of the zip's directory, which is read as a whole."""
_HEAD_BYTES = 64 << 20
_PAGE_BYTES = 256 << 20
_RATIO = 400
"""Largest factor by which an entry of more than `_SMALL` bytes may have been packed; text reaches about 100."""
_SMALL = 1 << 20
_RUN = re.compile(rf"({RUNS}|{FAILED})/[0-9a-zA-Z][0-9a-zA-Z_-]{{0,99}}/[0-9a-zA-Z][0-9a-zA-Z_-]{{0,99}}")
_FOLDER = re.compile(rf"({REPORT}|{RUNS}|{FAILED})/([0-9a-zA-Z][0-9a-zA-Z_-]{{0,99}}/){{0,2}}")
_LIMITS = {
    HEAD: _HEAD_BYTES,
    ENVIRONMENT: _HEAD_BYTES,
    REQUESTS: _HEAD_BYTES,
    SKIPPED: skips.BYTES,
    **{f"{REPORT}/{page}": _PAGE_BYTES for page in PAGES},
}
_RUN_LIMITS = {**codec.LIMITS, folders.MANIFEST: folders.MANIFEST_BYTES}
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_UNREADABLE = (
    zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError, struct.error, ValueError
)  # fmt: skip


@dataclass
class Archive:
    """An opened bundle whose names and sizes are sound.

    Attributes:
        path: The file.
        pages: Entries beside the runs, by name.
        runs: Files of every run folder, by folder and file name, in order.
    """

    path: Path
    _zip: zipfile.ZipFile
    pages: dict[str, zipfile.ZipInfo] = field(default_factory=dict)
    runs: dict[str, dict[str, zipfile.ZipInfo]] = field(default_factory=dict)

    def page(self, name: str) -> bytes:
        """Return an entry that belongs to no run.

        Raises:
            DataError: It is missing or damaged.
        """
        if name not in self.pages:
            raise not_a_bundle(self.path, f"it has no {name}")
        return self._read(self.pages[name])

    def run(self, name: str) -> dict[str, bytes]:
        """Return the files of a run folder.

        Raises:
            DataError: One is damaged.
        """
        return {file: self._read(info) for file, info in self.runs[name].items()}

    def _read(self, info: zipfile.ZipInfo) -> bytes:
        try:
            with self._zip.open(info) as stream:
                content = stream.read(info.file_size + 1)
        except _UNREADABLE as error:
            raise not_a_bundle(self.path, f"{info.filename} is damaged ({_words(error)})") from error
        if len(content) != info.file_size:
            raise not_a_bundle(self.path, f"{info.filename} is damaged (another size than the zip's directory says)")
        return content


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """Open a bundle; check every name and size in it.

    Raises:
        DataError: It is no bundle, or one that cannot be trusted; one line says why.
        SetupError: The system refuses to read it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise DataError(f"no bundle at {shown(path)}; make one with: bench bundle create {shown(path)}") from None
    except OSError as error:
        raise file_failure("read", path, error) from error
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise not_a_bundle(path, "it is no regular file")
    with os.fdopen(descriptor, "rb") as stream:
        _require_small_directory(path, stream, found.st_size)
        try:
            archive = zipfile.ZipFile(stream)
        except _UNREADABLE as error:
            raise not_a_bundle(path, _words(error)) from error
        with archive:
            yield _checked(Archive(path, archive), found.st_size)


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def not_a_bundle(path: Path, why: str) -> DataError:
    """Build the error for a file that is no sound bundle."""
    return DataError(f"{shown(path)} is no bundle that can be read: {shown(why)}; ask its author for a new one")


def _checked(archive: Archive, size: int) -> Archive:
    """Sort the entries of a zip; refuse what no bundle has."""
    entries, path = archive._zip.infolist(), archive.path
    if len(entries) > MOST_ENTRIES:
        raise not_a_bundle(path, f"it has {len(entries):,} entries, at most {MOST_ENTRIES:,} are read")
    if sum(info.compress_size for info in entries) > size:
        raise not_a_bundle(path, "its entries overlap")
    for info in entries:
        name = info.orig_filename
        if _FOLDER.fullmatch(name) and not info.file_size:
            continue  # as other programs write them
        limit, run, file = _place(path, name)
        _require_plain(path, info, limit)
        group = archive.pages if run is None else archive.runs.setdefault(run, {})
        if file in group:
            raise not_a_bundle(path, f"{name} is there twice")
        group[file] = info
    return archive


def _place(path: Path, name: str) -> tuple[int, str | None, str]:
    """Return the limit, run folder and file name of an entry."""
    if name in _LIMITS:
        return _LIMITS[name], None, name
    run, _, file = name.rpartition("/")
    if file not in FILES or _RUN.fullmatch(run) is None:
        raise not_a_bundle(path, f"no bundle holds an entry named {name!r:.80}")
    return _RUN_LIMITS[file], run, file


def _require_plain(path: Path, info: zipfile.ZipInfo, limit: int) -> None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise not_a_bundle(path, f"{info.filename} is a symbolic link or a device, not a file")
    if info.flag_bits & 0x1:
        raise not_a_bundle(path, f"{info.filename} is encrypted")
    if info.compress_type not in _METHODS:
        raise not_a_bundle(path, f"{info.filename} is packed in another way than stored or deflated")
    if info.file_size > limit:
        raise not_a_bundle(path, f"{info.filename} has {info.file_size:,} bytes, at most {limit:,} are read")
    if info.file_size > _SMALL and info.file_size > _RATIO * info.compress_size:
        raise not_a_bundle(path, f"{info.filename} unpacks to more than {_RATIO} times its size")


def _require_small_directory(path: Path, stream: BinaryIO, size: int) -> None:
    """Refuse a zip whose directory would fill the memory."""
    stream.seek(max(0, size - (1 << 16) - 22 - 20 - 56))
    tail = stream.read()
    end = tail.rfind(b"PK\5\6")
    if end < 0 or len(tail) - end < 22:
        raise not_a_bundle(path, "it is no zip file, or only the beginning of one")
    (length,) = struct.unpack_from("<I", tail, end + 12)
    wide = end - 20 - 56  # where a large file has a second end
    if wide >= 0 and tail.startswith(b"PK\6\6", wide):
        length = max(length if length != 0xFFFFFFFF else 0, struct.unpack_from("<Q", tail, wide + 40)[0])
    if length > _DIRECTORY_BYTES:
        raise not_a_bundle(path, f"its directory has {length:,} bytes, at most {_DIRECTORY_BYTES:,} are read")
    stream.seek(0)


def _words(error: Exception) -> str:
    return shown(" ".join(str(error).split()))[:200] or type(error).__name__
