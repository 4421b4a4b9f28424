"""Careful reading of point-cloud HDF5 files: every broken file gets one line naming file, field and row.

Files are opened read-only and without file locks (they may lie on a read-only or a network file system). Clouds
are read in blocks, checked, and put either into memory or, for large sets, once into a float32 memory map.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.base import Progress, silent
from bench.data.files import cannot_write, exclusive, in_words
from bench.errors import DataError, SetupError

MAPPED_FROM_BYTES = 200_000_000
"""A split whose float32 coordinates are larger than this is converted once into memory maps."""
BLOCK_ROWS = 256
MOST_PACKED = 1100
"""Times that deflate makes anything smaller at most (1032), and some."""


@dataclass(frozen=True)
class Fields:
    """Names of the HDF5 data sets of a format; None where the format has none."""

    points: str = "data"
    labels: str = "label"
    normals: str | None = None
    parts: str | None = None
    float_parts: bool = False
    """Whether parts may be stored as floats that hold whole numbers."""


@dataclass(frozen=True)
class Head:
    """What is known of a file before its clouds are read.

    Attributes:
        path: The file.
        labels: int64 ``[n]``, checked to be non-negative.
        points: Points per cloud.
        normals: Whether normals are stored.
        parts: Whether a part id per point is stored.
    """

    path: Path
    labels: npt.NDArray[np.int64]
    points: int
    normals: bool
    parts: bool


@dataclass(frozen=True)
class Arrays:
    """The clouds of one split: points ``[n, N, 3]``; where stored, normals of that shape and parts ``[n, N]``."""

    points: npt.NDArray[np.float32]
    normals: npt.NDArray[np.float32] | None
    parts: npt.NDArray[np.int64] | None


@contextmanager
def open_h5(path: Path) -> Iterator[Any]:
    """Open an HDF5 file for reading.

    Raises:
        DataError: The file is missing, unreadable, not HDF5, or breaks off.
    """
    import h5py

    try:
        if path.stat().st_size == 0:
            raise DataError(f"{path}: is empty (0 bytes); copy or download it again")
        file = h5py.File(path, "r", locking=False)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except OSError as error:
        raise DataError(f"{path}: {_why_unreadable(path, error)}") from error
    with file:
        try:
            yield file
        except (OSError, RuntimeError, KeyError) as error:
            raise DataError(f"{path}: is damaged ({_first_line(error)}); copy or download it again") from error


def _why_unreadable(path: Path, error: OSError) -> str:
    if isinstance(error, PermissionError) or not os.access(path, os.R_OK):
        return "may not be read (permission denied)"
    if path.is_dir():
        return "is a folder, expected an HDF5 file"
    if "truncated" in str(error):
        return "breaks off (truncated HDF5 file); copy or download it again"
    return "is not an HDF5 file, or its head is damaged; copy or download it again"


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def read_head(path: Path, fields: Fields) -> Head:
    """Read labels and check names, types and shapes of every field without reading the clouds.

    Raises:
        DataError: A field is missing or has another type or shape than the format promises.
    """
    with open_h5(path) as file:
        data = _field(file, path, fields.points)
        if data.dtype.kind != "f":
            raise DataError(f"{path}: field '{fields.points}' holds {data.dtype}, expected a float type (float32)")
        if data.ndim != 3 or data.shape[2] != 3:
            turned = data.ndim == 3 and data.shape[1] == 3
            hint = "; it looks transposed, swap its last two axes" if turned else ""
            raise DataError(f"{path}: field '{fields.points}' has shape {data.shape}, expected [n, N, 3]{hint}")
        rows, points = int(data.shape[0]), int(data.shape[1])
        if points == 0:
            raise DataError(f"{path}: field '{fields.points}' has clouds without points, shape {data.shape}")
        labels = _labels(_field(file, path, fields.labels), path, fields, rows)
        normals = fields.normals is not None and fields.normals in file
        if normals:
            _expect(_field(file, path, str(fields.normals)), path, str(fields.normals), "f", (rows, points, 3))
        parts = fields.parts is not None and fields.parts in file
        if parts:
            kinds = "iuf" if fields.float_parts else "iu"
            _expect(_field(file, path, str(fields.parts)), path, str(fields.parts), kinds, (rows, points))
    return Head(path=path, labels=labels, points=points, normals=normals, parts=parts)


def _field(file: Any, path: Path, name: str) -> Any:
    import h5py

    if name not in file:
        held = ", ".join(sorted(file)) or "nothing"
        raise DataError(f"{path}: field '{name}' is missing; the file holds: {held}")
    field = file[name]
    if not isinstance(field, h5py.Dataset):
        raise DataError(f"{path}: field '{name}' is a group, expected an array")
    check_stored(field, path, name)
    return field


def check_stored(field: Any, path: Path, name: str) -> None:
    """Check that a field holds what its shape promises, before any memory is reserved for it.

    Raises:
        DataError: Nothing was ever written, or far less than compression could have made of it.
    """
    promised, stored = int(field.nbytes), int(field.id.get_storage_size())
    if not promised or field.is_virtual or field.external:
        return
    if not stored:
        raise DataError(
            f"{path}: field '{name}' promises {in_words(promised)} but was never written; copy or download it again"
        )
    if promised > MOST_PACKED * stored and promised > MAPPED_FROM_BYTES:
        raise DataError(
            f"{path}: field '{name}' unpacks from {in_words(stored)} to {in_words(promised)} (a zip bomb?); "
            "write it again with what it really holds"
        )


def _labels(field: Any, path: Path, fields: Fields, rows: int) -> npt.NDArray[np.int64]:
    name = fields.labels
    if field.dtype.kind not in "iu":
        raise DataError(f"{path}: field '{name}' holds {field.dtype}, expected whole numbers (an integer type)")
    if field.shape not in ((len(field) if field.ndim else 0,), (len(field) if field.ndim else 0, 1)):
        raise DataError(f"{path}: field '{name}' has shape {field.shape}, expected [n] or [n, 1]")
    if len(field) != rows:
        raise DataError(f"{path}: field '{name}' has {len(field)} rows but '{fields.points}' has {rows}")
    labels = np.asarray(field[...]).reshape(-1)
    negative = np.flatnonzero(labels < 0)
    if len(negative):
        row = int(negative[0])
        raise DataError(f"{path}: field '{name}' row {row} is {labels[row]}, expected a class number from 0")
    return labels.astype(np.int64)


def _expect(field: Any, path: Path, name: str, kinds: str, shape: tuple[int, ...]) -> None:
    if field.dtype.kind not in kinds:
        raise DataError(
            f"{path}: field '{name}' holds {field.dtype}, expected {'a float' if kinds == 'f' else 'an integer'} type"
        )
    if field.shape != shape:
        raise DataError(f"{path}: field '{name}' has shape {field.shape}, expected {shape} to match the clouds")


def load_arrays(
    heads: Sequence[Head],
    fields: Fields,
    store: Path,
    split: str,
    progress: Progress = silent,
    mapped_from: int = MAPPED_FROM_BYTES,
) -> Arrays:
    """Read the clouds of a split, in the order of `heads`.

    Args:
        heads: The split's files, at least one.
        fields: Names of the fields.
        store: Folder for memory maps, named by content (never beside the user's files); used, and made, only when
            the split is large. A conversion that was interrupted is done again from its start; finished arrays
            stay.
        split: Prefix of the memory maps' names.
        progress: Called with objects read and objects in all.
        mapped_from: Size in bytes of the float32 coordinates from which on memory maps are used.

    Returns:
        Arrays in memory, or read-only memory maps.

    Raises:
        DataError: Clouds of different sizes, a value that is not finite, a cloud whose points all coincide, or a
            damaged file.
        SetupError: The memory maps cannot be written.
    """
    first = heads[0]
    for head in heads:
        if head.points != first.points:
            raise DataError(
                f"{head.path}: clouds have {head.points} points but those of {first.path.name} have {first.points}; "
                "expected one number of points in all files of a split"
            )
    rows, shape = sum(len(h.labels) for h in heads), (first.points, 3)
    wanted: list[tuple[str, str, Any, tuple[int, ...]]] = [("points", fields.points, np.float32, (rows, *shape))]
    if fields.normals is not None and all(h.normals for h in heads):
        wanted.append(("normals", fields.normals, np.float32, (rows, *shape)))
    if fields.parts is not None and all(h.parts for h in heads):
        wanted.append(("parts", fields.parts, np.int64, (rows, first.points)))
    mapped = 4 * rows * first.points * 3 > mapped_from
    arrays: dict[str, npt.NDArray[Any]] = {}
    for role, name, dtype, full in wanted:
        if mapped:
            arrays[role] = _mapped(store / f"{split}.{role}.npy", heads, fields, name, dtype, full, progress)
        else:
            arrays[role] = np.empty(full, dtype=dtype)
            _fill(arrays[role], heads, fields, name, progress)
    return Arrays(points=arrays["points"], normals=arrays.get("normals"), parts=arrays.get("parts"))


def _mapped(
    path: Path,
    heads: Sequence[Head],
    fields: Fields,
    name: str,
    dtype: Any,
    shape: tuple[int, ...],
    progress: Progress,
) -> npt.NDArray[Any]:
    ready = _open_map(path, dtype, shape)
    if ready is not None:
        return ready
    with exclusive(path.with_suffix(".lock")) as alone:
        ready = _open_map(path, dtype, shape)
        if ready is not None:
            return ready
        if alone:
            for left_over in path.parent.glob(f"{path.name}.*.part"):
                left_over.unlink(missing_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            _check_room(path.parent, heads, int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize)
            # Written through the file, not through a writable map: a full disk is then an error, not a SIGBUS.
            with part.open("wb") as stream:
                header = {
                    "descr": np.lib.format.dtype_to_descr(np.dtype(dtype)),
                    "fortran_order": False,
                    "shape": shape,
                }
                np.lib.format.write_array_header_1_0(stream, header)
                done = 0
                for block in _blocks(heads, fields, name, dtype):
                    stream.write(block.tobytes())
                    done += len(block)
                    progress(done, shape[0])
                stream.flush()
                os.fsync(stream.fileno())
            part.replace(path)
        except OSError as error:
            raise cannot_write(path, error) from error
        finally:
            part.unlink(missing_ok=True)
    ready = _open_map(path, dtype, shape)
    if ready is None:
        raise DataError(f"{path}: the memory map just written cannot be read back; check the disk")
    return ready


def _check_room(folder: Path, heads: Sequence[Head], needed: int) -> None:
    """Refuse early what cannot be written; a file of a few kilobytes can promise terabytes."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise SetupError(
            f"{heads[0].path}: its clouds{' and those of the files after it' if len(heads) > 1 else ''} take "
            f"{in_words(needed)} in {folder}, which has {in_words(free)} free; free some, or move the cache "
            "(BENCH_CACHE=DIR)"
        )


def _open_map(path: Path, dtype: Any, shape: tuple[int, ...]) -> npt.NDArray[Any] | None:
    """Open a finished memory map; None where there is none or it is not whole."""
    try:
        array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return array if array.dtype == np.dtype(dtype) and array.shape == shape else None


def _fill(target: npt.NDArray[Any], heads: Sequence[Head], fields: Fields, name: str, progress: Progress) -> None:
    done = 0
    for block in _blocks(heads, fields, name, target.dtype):
        target[done : done + len(block)] = block
        done += len(block)
        progress(done, len(target))


def _blocks(heads: Sequence[Head], fields: Fields, name: str, dtype: Any) -> Iterator[npt.NDArray[Any]]:
    """Yield the rows of one field, file after file, cast and checked."""
    for head in heads:
        with open_h5(head.path) as file:
            field = _field(file, head.path, name)
            for start in range(0, len(head.labels), BLOCK_ROWS):
                stop = min(start + BLOCK_ROWS, len(head.labels))
                if field.dtype.kind == "f" and np.dtype(dtype).kind == "i":
                    _check_whole(field[start:stop], head.path, name, start)
                with np.errstate(over="ignore"):  # a float64 too large for float32 becomes inf and is reported below
                    block = np.ascontiguousarray(field[start:stop], dtype=dtype)
                if block.dtype.kind == "f":
                    _check_finite(block, head.path, name, start)
                if name == fields.points:
                    _check_extent(block, head.path, name, start)
                yield block


def _check_finite(block: npt.NDArray[Any], path: Path, name: str, start: int) -> None:
    bad = np.flatnonzero(~np.isfinite(block).all(axis=(1, 2)))
    if not len(bad):
        return
    row = int(bad[0])
    point, axis = (int(i) for i in np.argwhere(~np.isfinite(block[row]))[0])
    raise DataError(
        f"{path}: field '{name}' row {start + row} point {point} axis {'xyz'[axis]} is {block[row, point, axis]}, "
        "expected a finite number; remove or repair that object"
    )


def _check_whole(block: npt.NDArray[Any], path: Path, name: str, start: int) -> None:
    bad = np.flatnonzero(~(block == np.rint(block)).all(axis=1))
    if len(bad):
        raise DataError(f"{path}: field '{name}' row {start + int(bad[0])} holds fractions, expected whole numbers")


def _check_extent(points: npt.NDArray[Any], path: Path, name: str, start: int) -> None:
    """Refuse a cloud whose points all coincide: it has no shape, and normalising it divides by zero."""
    flat = np.flatnonzero((points == points[:, :1]).all(axis=(1, 2)))
    if len(flat):
        raise DataError(
            f"{path}: field '{name}' row {start + int(flat[0])}: all {points.shape[1]} points are identical; "
            "expected a cloud with some extent; remove that object"
        )
