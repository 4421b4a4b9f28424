"""Read point clouds from HDF5 files safely.

Every fault is one line that names file, field and row. Files are opened read-only and without file locks (they may be
on a read-only or a network file system). Clouds are read in blocks, checked, and kept in memory or, for large sets,
written once to a float32 memory map.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.coordinates import Name, float32_clouds, transposed
from bench.data.faults import collect_or_raise, first_visit
from bench.data.files import exclusive, in_words
from bench.data.labels import Held, check_part_gaps, class_numbers, part_numbers
from bench.data.signature import foreign
from bench.errors import DataError, SetupError
from bench.progress import Progress, silent
from bench.store.cached import begin_array, open_array, publishing

MAPPED_FROM_BYTES = 200_000_000
"""A split whose float32 coordinates are larger than this is converted once into memory maps."""
BLOCK_ROWS = 256
MOST_HOPS = 16
"""Most soft links that are followed in a row."""
FILTERS = {
    4: "szip", 305: "lzo", 307: "bzip2", 32000: "lzf", 32001: "blosc", 32004: "lz4", 32008: "bitshuffle", 32013: "zfp",
    32015: "zstd", 32026: "blosc2",
}  # fmt: skip
"""Names of common compression filters."""
MOST_PACKED = 1100
"""Largest plausible compression ratio; deflate reaches 1032."""


@dataclass(frozen=True)
class Fields:
    """Field names of a format; None for an absent field."""

    points: str = "data"
    labels: str = "label"
    normals: str | None = None
    parts: str | None = None
    part_gaps: bool = False
    """Whether part ids may have large gaps, as the instance ids of a scan do."""


@dataclass(frozen=True)
class Head:
    """Shapes of a file's fields, read before its clouds.

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

    def held(self, name: str) -> Held:
        """Return the labels with file and field name."""
        return Held(f"{self.path}: field '{name}'", self.labels)


@dataclass(frozen=True)
class Arrays:
    """Clouds of one split.

    Points ``[n, N, 3]`` and, if stored, normals of that shape and parts ``[n, N]``.
    """

    points: npt.NDArray[np.float32]
    normals: npt.NDArray[np.float32] | None
    parts: npt.NDArray[np.int64] | None


@contextmanager
def open_h5(path: Path) -> Iterator[Any]:
    """Open an HDF5 file for reading.

    Raises:
        DataError: The file is missing, unreadable, not HDF5, or truncated.
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
        return "is a truncated HDF5 file; copy or download it again"
    return foreign(path) or "is not an HDF5 file, or its head is damaged; copy or download it again"


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def read_head(path: Path, fields: Fields) -> Head:
    """Read labels, and check every field's name, type and shape.

    Does not read the clouds.

    Raises:
        DataError: A field is missing or has another type or shape than the format requires.
    """
    with open_h5(path) as file:
        data = open_field(file, path, fields.points)
        if data.dtype.kind != "f":
            raise DataError(f"{path}: field '{fields.points}' holds {_kind(data)}, expected a float type (float32)")
        if data.ndim != 3 or data.shape[2] != 3:
            turned = data.ndim == 3 and data.shape[1] == 3
            hint = transposed(data.shape) or ("; it looks transposed, swap its last two axes" if turned else "")
            raise DataError(f"{path}: field '{fields.points}' has shape {data.shape}, expected [n, N, 3]{hint}")
        rows, points = int(data.shape[0]), int(data.shape[1])
        if points == 0:
            raise DataError(f"{path}: field '{fields.points}' has clouds without points, shape {data.shape}")
        labels = _labels(open_field(file, path, fields.labels), path, fields, rows)
        normals = fields.normals is not None and has_field(file, path, fields.normals)
        if normals:
            _expect(open_field(file, path, str(fields.normals)), path, str(fields.normals), "f", (rows, points, 3))
        parts = fields.parts is not None and has_field(file, path, fields.parts)
        if parts:
            _expect(open_field(file, path, str(fields.parts)), path, str(fields.parts), "iuf", (rows, points))
    return Head(path=path, labels=labels, points=points, normals=normals, parts=parts)


def field_names(file: Any) -> str:
    """Return the names of a file's first fields."""
    names = [_shown(name) for name in itertools.islice(file, 21)]
    return (", ".join(sorted(names[:20])) or "nothing") + (", ..." if len(names) > 20 else "")


def _shown(text: str) -> str:
    """Return text of a file, shortened for a message."""
    return repr(text)[1:-1]


def has_field(file: Any, path: Path, name: str) -> bool:
    """Return whether a file has a field of this name.

    A link that `open_field` refuses counts, too.
    """
    return _find(file, path, name) is not None


def open_field(file: Any, path: Path, name: str) -> Any:
    """Return a readable field whose values are in this file.

    Raises:
        DataError: The field is missing, or a group or a link out of the file; its values are in other files, were never
            written, have no type that NumPy knows, or need a filter that is not installed.
    """
    import h5py

    field = _find(file, path, name)
    if field is None:
        raise DataError(f"{path}: field '{name}' is missing; the file holds: {field_names(file)}")
    if not isinstance(field, h5py.Dataset):
        what = "a group" if isinstance(field, h5py.Group) else "a named type"
        raise DataError(f"{path}: field '{name}' is {what}, expected an array")
    check_stored(field, path, name)
    return field


def _find(file: Any, path: Path, name: str, hops: int = 0) -> Any:
    """Follow links inside the file, or return None.

    Other files are never opened.
    """
    import h5py

    here = file["/"]
    parts = [part for part in name.split("/") if part not in ("", ".")]
    for place, part in enumerate(parts):
        if not isinstance(here, h5py.Group):
            return None
        try:
            link = here.get(part, getlink=True)
        except TypeError:  # h5py does not know the link's kind
            raise DataError(f"{path}: field '{name}' is a user-defined link; copy the data into this file") from None
        if link is None:
            return None
        if isinstance(link, h5py.ExternalLink):
            raise DataError(
                f"{path}: field '{name}' is an external link to {_shown(link.filename)}:{_shown(link.path)}; "
                "data outside the file are not read: copy them into it"
            )
        if isinstance(link, h5py.SoftLink):
            base = "" if link.path.startswith("/") else here.name
            target = "/".join([base, link.path, *parts[place + 1 :]])
            found = _find(file, path, target, hops + 1) if hops < MOST_HOPS else None
            if found is None:
                raise DataError(
                    f"{path}: field '{name}' is a soft link to '{_shown(link.path)}', which leads nowhere in this file"
                )
            return found
        here = here[part]
    return here


def check_stored(field: Any, path: Path, name: str) -> None:
    """Check that a field's values are stored in the file.

    This comes before memory is reserved for its shape.

    Raises:
        DataError: See `open_field`; or the stored data are too small for the shape, even if compressed.
    """
    where = f"{path}: field '{name}'"
    if field.is_virtual or field.external:
        what = "a virtual data set, put together from others" if field.is_virtual else "stored outside, in other files"
        raise DataError(f"{where} is {what}; only data inside the file are read: write them into it")
    try:
        if field.shape is None:
            raise DataError(f"{where} is empty (it has no shape)")
        promised, stored = int(field.nbytes), int(field.id.get_storage_size())
    except (TypeError, ValueError) as error:
        raise DataError(f"{where} has a type that NumPy does not know ({_first_line(error)})") from error
    _check_filters(field, where)
    if not promised:
        return
    if not stored:
        raise DataError(f"{where} promises {in_words(promised)} but was never written; copy or download it again")
    if promised > MOST_PACKED * stored and promised > MAPPED_FROM_BYTES:
        raise DataError(
            f"{where} unpacks from {in_words(stored)} to {in_words(promised)} (a zip bomb?); "
            "write it again with what it really holds"
        )
    if field.chunks is not None:
        chunk = math.prod(field.chunks) * field.dtype.itemsize
        if chunk > max(promised, MAPPED_FROM_BYTES):
            raise DataError(f"{where} is stored in chunks of {in_words(chunk)}; write it again in smaller ones")
        chunks = math.prod(-(-size // edge) for size, edge in zip(field.shape, field.chunks, strict=True))
        written = int(field.id.get_num_chunks())
        if written < chunks:
            raise DataError(
                f"{where} was written in part: {written:,} of {chunks:,} chunks were found; copy or download it again"
            )


def _check_filters(field: Any, where: str) -> None:
    import h5py

    made = field.id.get_create_plist()
    for place in range(made.get_nfilters()):
        code, _, _, label = made.get_filter(place)
        if not h5py.h5z.filter_avail(code):
            told = _shown(label.decode("utf-8", "backslashreplace")) or "unnamed"
            raise DataError(
                f"{where} is packed with the HDF5 filter {code} ({FILTERS.get(code, told)}), which is not installed "
                "here; convert the file where it is installed: h5repack -f GZIP=4 IN OUT"
            )


def _kind(field: Any) -> str:
    """Describe the type of a field's values."""
    import h5py

    dtype = field.dtype
    if dtype.names:
        return f"compound values ({', '.join(map(_shown, dtype.names[:6]))}{', ...' if len(dtype.names) > 6 else ''})"
    if h5py.check_ref_dtype(dtype) is not None:
        return "references to other objects"
    if h5py.check_string_dtype(dtype) is not None:
        return "text"
    if h5py.check_vlen_dtype(dtype) is not None:
        return "lists of varying length"
    return "arrays or bytes as values" if dtype.kind == "V" else str(dtype)


def _labels(field: Any, path: Path, fields: Fields, rows: int) -> npt.NDArray[np.int64]:
    name = fields.labels
    if field.dtype.kind not in "iuf":
        raise DataError(f"{path}: field '{name}' holds {_kind(field)}, expected whole numbers (an integer type)")
    if field.shape not in ((len(field) if field.ndim else 0,), (len(field) if field.ndim else 0, 1)):
        raise DataError(f"{path}: field '{name}' has shape {field.shape}, expected [n] or [n, 1]")
    if len(field) != rows:
        raise DataError(f"{path}: field '{name}' has {len(field)} rows but '{fields.points}' has {rows}")
    return class_numbers(np.asarray(field[...]).reshape(-1), f"{path}: field '{name}'")


def _expect(field: Any, path: Path, name: str, kinds: str, shape: tuple[int, ...]) -> None:
    if field.dtype.kind not in kinds:
        raise DataError(
            f"{path}: field '{name}' holds {_kind(field)}, expected {'a float' if kinds == 'f' else 'an integer'} type"
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
    """Read the clouds of a split, in order of `heads`.

    Args:
        heads: The split's files, at least one.
        fields: Names of the fields.
        store: Folder for memory maps, named by content (never beside the user's files); created only for a large split.
            An interrupted conversion starts again; finished arrays are kept.
        split: Prefix of the memory maps' names.
        progress: Called with objects read and objects in all.
        mapped_from: Size of the float32 coordinates in bytes above which memory maps are used.

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
    parts = arrays.get("parts")
    if parts is not None and not fields.part_gaps:
        used = np.unique(np.concatenate([np.unique(parts[at : at + BLOCK_ROWS]) for at in range(0, rows, BLOCK_ROWS)]))
        check_part_gaps(used, f"{first.path}: field '{fields.parts}'{' (and the files after it)' if heads[1:] else ''}")
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
    ready = open_array(path, dtype, shape)
    if ready is not None:
        return ready
    with exclusive(path.with_suffix(".lock")):
        ready = open_array(path, dtype, shape)
        if ready is not None:
            return ready
        _check_room(path.parent, heads, int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize)
        # Written as a file, not through a writable map: a full disk is then an error, not a SIGBUS.
        with publishing(path) as stream:
            begin_array(stream, dtype, shape)
            done = 0
            for block in _blocks(heads, fields, name):
                stream.write(block.tobytes())
                done += len(block)
                progress(done, shape[0])
    ready = open_array(path, dtype, shape)
    if ready is None:
        raise DataError(f"{path}: the memory map just written cannot be read back; check the disk")
    return ready


def _check_room(folder: Path, heads: Sequence[Head], needed: int) -> None:
    """Refuse data that exceed the free disk space.

    A file of a few kilobytes can announce terabytes.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise SetupError(
            f"{heads[0].path}: its clouds{' and those of the files after it' if len(heads) > 1 else ''} take "
            f"{in_words(needed)} in {folder}, which has {in_words(free)} free; free some, or move the cache "
            "(BENCH_CACHE=DIR)"
        )


def _fill(target: npt.NDArray[Any], heads: Sequence[Head], fields: Fields, name: str, progress: Progress) -> None:
    done = 0
    for block in _blocks(heads, fields, name):
        target[done : done + len(block)] = block
        done += len(block)
        progress(done, len(target))


def _blocks(heads: Sequence[Head], fields: Fields, name: str) -> Iterator[npt.NDArray[Any]]:
    """Yield checked rows of one field, file after file."""
    fault: DataError | None = None
    for head in heads:
        try:
            yield from _of_file(head, fields, name)
        except DataError as error:
            fault = collect_or_raise(error, fault)
    if fault is not None:
        raise fault


def _of_file(head: Head, fields: Fields, name: str) -> Iterator[npt.NDArray[Any]]:
    with open_h5(head.path) as file:
        field, where = open_field(file, head.path, name), f"{head.path}: field '{name}'"
        for start in range(0, len(head.labels), BLOCK_ROWS):
            block = field[start : min(start + BLOCK_ROWS, len(head.labels))]
            if name == fields.points:
                yield float32_clouds(block, _rows(where, start))
            elif name == fields.parts:
                yield part_numbers(block, where, start)
            else:
                yield _finite(block, where, start)


def read_heads(paths: Sequence[Path], fields: Fields) -> tuple[list[Head], DataError | None]:
    """Read the heads of files.

    Returns:
        The heads of valid files, and the first fault of the others where faults are collected.

    Raises:
        DataError: See `read_head`.
    """
    heads: list[Head] = []
    fault: DataError | None = None
    for path in paths:
        try:
            heads.append(read_head(path, fields))
        except DataError as error:
            fault = collect_or_raise(error, fault)
    return heads, fault


def collect_faults(heads: Sequence[Head], fields: Fields) -> None:
    """Collect faults of clouds that cannot be loaded anyway."""
    for head in heads:
        for name, there in ((fields.points, True), (fields.normals, head.normals), (fields.parts, head.parts)):
            if there and name is not None and first_visit((head.path, name)):
                with contextlib.suppress(DataError):  # noted
                    for _ in _blocks([head], fields, name):
                        pass


def _rows(where: str, start: int) -> Name:
    return lambda cloud, point: f"{where} row {start + cloud}" + ("" if point is None else f" point {point}")


def _finite(block: npt.NDArray[Any], where: str, start: int) -> npt.NDArray[np.float32]:
    """Return normals as float32; refuse values that are not finite."""
    with np.errstate(over="ignore"):  # a float64 too large for float32 becomes inf and is reported
        cast = np.ascontiguousarray(block, dtype=np.float32)
    bad = np.argwhere(~np.isfinite(cast))
    if len(bad):
        row, point, axis = (int(i) for i in bad[0])
        raise DataError(
            f"{where} row {start + row} point {point} axis {'xyz'[axis]} is {cast[row, point, axis]}, "
            "expected a finite number; remove or repair that object"
        )
    return cast
