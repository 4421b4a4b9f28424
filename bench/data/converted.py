"""Convert many small files into memory-mapped arrays in the cache.

Data sets such as ShapeNet-55 come as tens of thousands of files. The first read checks every one and writes
``.npy`` arrays under ``cache/converted``, never beside the user's files; later starts check sizes and times of the
files and open the arrays. The folder's name is a digest of the files' *content* and of the reader, so the same request
finds the same folder, and a changed file leads to another. An interrupted conversion continues where it stopped; the
folder is published whole, by one rename.

A loader lists its files (`bench.data.filelists.list_files`), takes `FileList.digest` into its manifest, and calls
`convert` with a `Reader` when it loads.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from bench.data.faults import collect_or_raise
from bench.data.filelists import THREADS, FileList, file_stamp
from bench.data.files import cannot_write, exclusive, in_words
from bench.errors import DataError, SetupError
from bench.progress import Progress, silent
from bench.spec import content_key
from bench.store.cached import open_array, read_bytes, seal
from bench.store.publish import write_whole
from bench.store.scratch import scratch_name

CHUNK_BYTES = 32_000_000
"""Most bytes of work that an interruption may lose."""
BATCH = 64
"""Number of files between two reports of progress."""
_HEAD_BYTES = 256


@dataclass(frozen=True)
class Column:
    """One array that each file provides.

    Attributes:
        dtype: Type on disk, e.g. ``float32``.
        shape: Shape of one file's array; None stands for any length that is the same in all files.
        ragged: The first axis may differ between files; they are then stored end to end.
    """

    dtype: str
    shape: tuple[int | None, ...]
    ragged: bool = False


@dataclass(frozen=True)
class Reader:
    """Function that converts a file into arrays, and its identity.

    Attributes:
        name: Kind of files; part of the folder's name.
        columns: Arrays by name (letters and ``_``).
        read: Reads and checks one file; returns one array per column. Called from several threads.
        revision: Version of `read`; increased when it returns other arrays for the same file.
        options: Everything else that `read` depends on.
    """

    name: str
    columns: Mapping[str, Column]
    read: Callable[[Path], Mapping[str, npt.NDArray[Any]]]
    revision: int = 1
    options: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True)
class Converted:
    """Converted arrays as read-only memory maps.

    Attributes:
        arrays: ``[n, *shape]`` per column; for ragged columns ``[sum of lengths, *rest]``.
        offsets: int64 ``[n + 1]`` per ragged column: file i holds rows ``offsets[i]`` to ``offsets[i + 1]``.
    """

    arrays: Mapping[str, npt.NDArray[Any]]
    offsets: Mapping[str, npt.NDArray[np.int64]]

    def item(self, column: str, index: int) -> npt.NDArray[Any]:
        """Return the array of one file."""
        if column not in self.offsets:
            one: npt.NDArray[Any] = self.arrays[column][index]
            return one
        start, stop = self.offsets[column][index : index + 2]
        return self.arrays[column][start:stop]


def convert(files: FileList, reader: Reader, cache: Path, progress: Progress = silent) -> Converted:
    """Return the converted arrays of files, converting if necessary.

    Other processes with the same request wait for the first. The files are opened for reading only.

    Args:
        files: At least one file.
        reader: Conversion of each file.
        cache: Cache folder.
        progress: Called with files converted and files in all.

    Raises:
        DataError: A file is broken, or its arrays do not match those of the first.
        SetupError: The cache cannot be written, or its disk is full.
    """
    if not len(files):
        raise DataError(f"{files.root}: no files to read")
    folder = cache / "converted" / f"{reader.name}-{_identity(files, reader)[:24]}"
    found = _open(folder, reader, len(files))
    if found is not None:
        return found
    with exclusive(folder.with_name(f".{folder.name}.lock")) as alone:
        found = _open(folder, reader, len(files))
        if found is not None:
            return found
        # Without locks two processes must not write into the same folder, so each starts in a new one.
        staging = folder.with_name(f".{folder.name}.staging" if alone else f"{scratch_name()}-{folder.name}")
        try:
            with _Conversion(files, reader, staging, folder) as conversion:
                conversion.run(progress)
            _place(staging, folder, usable=_open(folder, reader, len(files)) is not None)
        except OSError as error:
            raise cannot_write(folder, error) from error
        found = _open(folder, reader, len(files))
    if found is None:
        raise SetupError(f"{folder}: converted data cannot be read back; check the disk, delete the folder, run again")
    return found


def _identity(files: FileList, reader: Reader) -> str:
    columns: dict[str, JsonValue] = {k: [c.dtype, [*c.shape], c.ragged] for k, c in reader.columns.items()}
    return content_key(
        {
            "reader": reader.name,
            "revision": reader.revision,
            "columns": columns,
            "options": dict(reader.options),
            "files": files.digest,
        }
    )


def _place(staging: Path, folder: Path, usable: bool) -> None:
    """Publish a finished folder, unless another process did."""
    if not usable:
        shutil.rmtree(folder, ignore_errors=True)
        try:
            staging.rename(folder)
        except OSError as error:  # without locks another process may have been first
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
    shutil.rmtree(staging, ignore_errors=True)


def _open(folder: Path, reader: Reader, count: int) -> Converted | None:
    """Open finished arrays; None if absent or incomplete."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    offsets: dict[str, npt.NDArray[np.int64]] = {}
    for name, column in reader.columns.items():
        length = count
        if column.ragged:
            content = read_bytes(folder / f"{name}.lengths")
            if content is None or len(content) != 8 * count:
                return None
            offsets[name] = np.concatenate([[0], np.cumsum(np.frombuffer(content, "<i8"))]).astype(np.int64)
            length = int(offsets[name][-1])
        tail = column.shape[1:] if column.ragged else column.shape
        array = open_array(folder / f"{name}.npy", column.dtype, (length, *tail))
        if array is None:
            return None
        arrays[name] = array
    return Converted(arrays, offsets)


class _Conversion:
    """Conversion under way in a staging folder.

    Arrays grow at their end; a journal records how much is valid.
    """

    def __init__(self, files: FileList, reader: Reader, staging: Path, folder: Path) -> None:
        self.files, self.reader, self.staging, self.folder = files, reader, staging, folder
        self.done = 0
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.rows: dict[str, int] = dict.fromkeys(reader.columns, 0)
        self.streams: dict[str, BinaryIO] = {}
        self.lengths: dict[str, BinaryIO] = {}
        self.digests = self._fresh_digests()

    def _fresh_digests(self) -> dict[str, Any]:
        """Return a new digest of each file's content.

        NumPy's header is left out, since it is written last.
        """
        ragged = (name for name, column in self.reader.columns.items() if column.ragged)
        files = (*(f"{name}.npy" for name in self.reader.columns), *(f"{name}.lengths" for name in ragged))
        return {file: hashlib.sha256(f"{self.folder.name}/{file}\0".encode()) for file in files}

    def __enter__(self) -> _Conversion:
        self.staging.mkdir(parents=True, exist_ok=True)
        self._recall()
        for name, column in self.reader.columns.items():
            size = _HEAD_BYTES + self.rows[name] * self._row_bytes(name) if self.done else _HEAD_BYTES
            self.streams[name] = _resume(self.staging / f"{name}.npy", size)
            if column.ragged:
                self.lengths[name] = _resume(self.staging / f"{name}.lengths", 8 * self.done)
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (*self.streams.values(), *self.lengths.values()):
            stream.close()

    def run(self, progress: Progress) -> None:
        """Read the remaining files in order and finish the arrays."""
        pending = 0
        fault: DataError | None = None
        progress(self.done, len(self.files))
        for index, arrays in self._read():
            try:
                if isinstance(arrays, DataError):
                    raise arrays
                for name, array in arrays.items():
                    self._append(name, array, index)
                    pending += array.nbytes
            except DataError as error:
                fault = collect_or_raise(error, fault)
            if fault is not None:  # check the other files, but keep nothing
                pending = 0
                continue
            self.done = index + 1
            if index == 0:
                self._check_room(pending)
            if pending >= CHUNK_BYTES:
                self._note()
                pending = 0
            if self.done % BATCH == 0 or self.done == len(self.files):
                progress(self.done, len(self.files))
        if fault is not None:
            shutil.rmtree(self.staging, ignore_errors=True)
            raise fault
        for index, (name, stamp) in enumerate(zip(self.files.names, self.files.stamps, strict=True)):
            if file_stamp(self.files.root, name) != stamp:
                shutil.rmtree(self.staging, ignore_errors=True)
                raise DataError(f"{self.files.path(index)}: changed while it was read; run again when it is settled")
        for name, stream in self.streams.items():
            column, tail = self.reader.columns[name], self.shapes[name]
            shape = (self.rows[name], *tail) if column.ragged else (self.done, *tail)
            stream.seek(0)
            stream.write(_head(column.dtype, shape))
        self._note()
        for file in self.digests:
            seal(self.staging / file, self.folder / file)
        (self.staging / "journal.json").unlink()

    def _read(self) -> Iterator[tuple[int, Mapping[str, npt.NDArray[Any]] | DataError]]:
        with ThreadPoolExecutor(THREADS) as pool:
            for start in range(self.done, len(self.files), BATCH):
                indices = range(start, min(start + BATCH, len(self.files)))
                paths = [self.files.path(i) for i in indices]
                yield from zip(indices, pool.map(self._one, paths), strict=True)

    def _one(self, path: Path) -> Mapping[str, npt.NDArray[Any]] | DataError:
        try:
            return self.reader.read(path)
        except DataError as error:
            return error

    def _append(self, name: str, array: npt.NDArray[Any], index: int) -> None:
        column = self.reader.columns[name]
        own = array.shape[1:] if column.ragged else array.shape
        wanted = column.shape[1:] if column.ragged else column.shape
        known = self.shapes.get(name)
        if len(own) != len(wanted) or any(w not in (None, n) for n, w in zip(own, wanted, strict=True)):
            shown = ", ".join("N" if n is None else str(n) for n in column.shape)
            raise DataError(f"{self.files.path(index)}: {name} have shape {array.shape}, expected [{shown}]")
        if known is not None and own != known:
            raise DataError(
                f"{self.files.path(index)}: {name} have shape {array.shape} but those of {self.files.path(0).name} "
                f"have {known}; expected the same in every file"
            )
        self.shapes[name] = own
        content = np.ascontiguousarray(array, dtype=column.dtype).tobytes()
        self.streams[name].write(content)
        self.digests[f"{name}.npy"].update(content)
        self.rows[name] += len(array) if column.ragged else 1
        if column.ragged:
            length = len(array).to_bytes(8, "little")
            self.lengths[name].write(length)
            self.digests[f"{name}.lengths"].update(length)

    def _row_bytes(self, name: str) -> int:
        return int(np.prod(self.shapes[name], dtype=np.int64)) * np.dtype(self.reader.columns[name].dtype).itemsize

    def _check_room(self, each: int) -> None:
        needed, free = each * (len(self.files) - 1), shutil.disk_usage(self.staging).free
        if needed > free:
            raise SetupError(
                f"{self.files.root}: converting {len(self.files)} files takes about {in_words(needed)} in "
                f"{self.staging.parent}, which has {in_words(free)} free; free some, or move the cache "
                "(BENCH_CACHE=DIR)"
            )

    def _note(self) -> None:
        """Write the journal, after the arrays are on disk."""
        for stream in (*self.streams.values(), *self.lengths.values()):
            stream.flush()
            os.fsync(stream.fileno())
        journal = self._journal()
        write_whole(self.staging / "journal.json", json.dumps({**journal, "check": content_key(journal)}))

    def _journal(self) -> dict[str, JsonValue]:
        return {
            "done": self.done,
            "rows": dict(self.rows),
            "shapes": {name: list(shape) for name, shape in self.shapes.items()},
            "digests": {file: digest.hexdigest() for file, digest in self.digests.items()},
        }

    def _recall(self) -> None:
        """Continue from the journal of an interrupted conversion.

        Starts anew if the journal is missing, incomplete or altered.
        """
        fresh = dict(self.rows)
        try:
            journal = json.loads((self.staging / "journal.json").read_text(encoding="utf-8"))
            check = journal.pop("check")
            self.done, self.rows = journal["done"], {name: journal["rows"][name] for name in fresh}
            self.shapes = {name: tuple(journal["shapes"][name]) for name in fresh}
            for file, digest in self.digests.items():
                name, _, kind = file.rpartition(".")
                start, size = (
                    (_HEAD_BYTES, self.rows[name] * self._row_bytes(name)) if kind == "npy" else (0, 8 * self.done)
                )
                with (self.staging / file).open("rb") as stream:
                    stream.seek(start)
                    while size > 0 and (chunk := stream.read(min(size, 1 << 20))):
                        digest.update(chunk)
                        size -= len(chunk)
            if self._journal() == journal and content_key(journal) == check and 0 <= self.done <= len(self.files):
                return
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass
        self.done, self.rows, self.shapes, self.digests = 0, fresh, {}, self._fresh_digests()


def _resume(path: Path, size: int) -> BinaryIO:
    """Open a file for appending after its first `size` bytes.

    Later bytes are dropped.
    """
    stream = path.open("r+b" if path.exists() else "w+b")
    stream.truncate(size)
    stream.seek(size)
    return stream


def _head(dtype: str, shape: tuple[int, ...]) -> bytes:
    """Return NumPy's header (version 1.0), padded to its reserved size."""
    description = np.lib.format.dtype_to_descr(np.dtype(dtype))
    text = str({"descr": description, "fortran_order": False, "shape": shape})
    return b"\x93NUMPY\x01\x00" + (_HEAD_BYTES - 10).to_bytes(2, "little") + f"{text:<{_HEAD_BYTES - 11}}\n".encode()


class Deferred:
    """Array that is computed at its first use.

    For example pictures, which a method may not need. Behaves like a NumPy array: ``shape``, ``dtype``, ``ndim`` and
    ``len`` are known beforehand, anything else computes it.
    """

    def __init__(self, shape: tuple[int, ...], dtype: str, make: Callable[[], npt.NDArray[Any]]) -> None:
        self.shape, self.dtype, self.ndim = shape, np.dtype(dtype), len(shape)
        self._make = make

    @cached_property
    def made(self) -> npt.NDArray[Any]:
        """The array itself, computed once."""
        array = self._make()
        assert array.shape == self.shape
        assert array.dtype == self.dtype
        return array

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Any:
        return self.made[index]

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.array(self.made, dtype=dtype) if copy else np.asarray(self.made, dtype=dtype)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.made, name)
