"""Digests of many files in a folder, cached per folder."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any

from bench.data.digest import Stamp, settled, stamp_of, store_facts, stored_facts
from bench.data.faults import collect_or_raise
from bench.errors import DataError, SetupError
from bench.progress import Progress, silent

THREADS = 4
"""Threads that read files, to hide the latency of network file systems and decode pictures in parallel."""
NOTED_FILES = 2048
"""Number of files after which digests are stored, so that an interruption loses little."""
BATCH = 64


@dataclass(frozen=True)
class FileList:
    """Files of a folder in a given order, with digests.

    Attributes:
        root: The folder.
        names: Paths below it, with ``/``.
        stamps: Size, times, inode and device of each (see `Stamp`).
        digests: SHA-256 of the content of each.
    """

    root: Path
    names: tuple[str, ...]
    stamps: tuple[Stamp, ...] = field(repr=False)
    digests: tuple[str, ...] = field(repr=False)

    def __len__(self) -> int:
        return len(self.names)

    def path(self, index: int) -> Path:
        """Return the path of one file."""
        return self.root / self.names[index]

    @cached_property
    def digest(self) -> str:
        """Return the SHA-256 of names and contents, in order.

        It does not depend on folder and times.
        """
        lines = (f"{name}\0{digest}\n" for name, digest in zip(self.names, self.digests, strict=True))
        return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def list_files(root: Path, names: Sequence[str], cache: Path, progress: Progress = silent) -> FileList:
    """Return the digests of files, reading only changed ones.

    Digests are cached per folder under ``cache/digests``, by name and `Stamp`. 50,000 known files take about half a
    second. If the cache cannot be written, only time is lost.

    Args:
        root: Folder.
        names: Paths below it, with ``/``; links are followed.
        cache: Cache folder.
        progress: Called with files done and files in all, if any has to be read.

    Raises:
        DataError: A file is missing or cannot be read.
    """
    folder = os.path.realpath(root)
    note = cache / "digests" / f"{hashlib.sha256(folder.encode('utf-8', 'surrogateescape')).hexdigest()}.list.json"
    known = _recall(note)
    stamps = _stamps(root, names)
    unknown = [
        (name, stamp)
        for name, stamp in dict(zip(names, stamps, strict=True)).items()
        if known.get(name, [None])[:-1] != [*stamp]
    ]
    fresh: dict[str, str] = {}
    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(unknown), NOTED_FILES):
            part = unknown[start : start + NOTED_FILES]
            began = time.time_ns()
            digests = pool.map(lambda entry: _digest(root / entry[0]), part)
            for place, ((name, stamp), digest) in enumerate(zip(part, digests, strict=True), start=start + 1):
                fresh[name] = digest
                if settled(stamp, began):
                    known[name] = [*stamp, digest]
                if place % BATCH == 0 or place == len(unknown):
                    progress(place, len(unknown))
            with contextlib.suppress(SetupError):
                store_facts(note, {**_recall(note), **known})
    return FileList(root, tuple(names), stamps, tuple(fresh.get(name) or known[name][-1] for name in names))


def _stamps(root: Path, names: Sequence[str]) -> tuple[Stamp, ...]:
    found: list[Stamp] = []
    fault: DataError | None = None
    for name in names:
        try:
            found.append(file_stamp(root, name))
        except DataError as error:
            fault = collect_or_raise(error, fault)
    if fault is not None:
        raise fault
    return tuple(found)


def _recall(note: Path) -> dict[str, list[Any]]:
    """Return the cached table, name -> [*stamp, digest].

    Empty if absent or damaged.
    """
    table = stored_facts(note)
    if not isinstance(table, dict):
        return {}
    return {name: row for name, row in table.items() if isinstance(row, list) and len(row) == 6}


def file_stamp(root: Path, name: str) -> Stamp:
    """Return the stamp of ``root/name``.

    Raises:
        DataError: The file is missing or inaccessible.
    """
    path = f"{root}/{name}"
    try:
        stat = os.stat(path)  # noqa: PTH116 (half the time of Path.stat, for 50,000 files)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be accessed: {error.strerror or error}") from error
    if not S_ISREG(stat.st_mode):  # reading a pipe or a device would never end
        raise DataError(f"{path}: is {'a folder' if S_ISDIR(stat.st_mode) else 'a pipe or device'}, expected a file")
    return stamp_of(stat)


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
