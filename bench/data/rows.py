"""Read array rows into memory, or leave them memory-mapped.

Arrays up to `resident_limit` bytes are read into memory; rows of larger arrays are read from the memory map as
needed.
The values are the same, so the limit is a setting of the machine (``BENCH_RESIDENT_GB``) and in no key.
"""

from __future__ import annotations

import contextlib
import mmap
from typing import Any, Literal, TypeVar, cast

import numpy as np
import numpy.typing as npt

from bench.paths import resident_bytes

RESIDENT_BYTES = 8_000_000_000
"""Default limit, where the machine has twice as much memory free."""

Kind = TypeVar("Kind", bound=np.generic)
Place = Literal["device", "memory", "map"]


def resident_limit() -> int:
    """Return the number of bytes to keep in memory.

    ``BENCH_RESIDENT_GB`` if set, else 8 GB, but at most half of the free memory.

    Raises:
        UsageError: ``BENCH_RESIDENT_GB`` is not a number.
    """
    import psutil

    told = resident_bytes()
    return min(RESIDENT_BYTES, psutil.virtual_memory().available // 2) if told is None else told


def placement(nbytes: int, free_bytes: int | None, limit: int) -> Place:
    """Return the place for data of a given size.

    Args:
        nbytes: Size of the data.
        free_bytes: Free memory of a device apart from the host's, of which data may take half; None on a CPU.
        limit: Bytes that may be in memory.

    Returns:
        ``device`` (on a CPU its memory), ``memory`` of the host, from which batches are moved, or ``map``.
    """
    if nbytes > limit:
        return "map"
    return "device" if free_bytes is None or nbytes <= free_bytes // 2 else "memory"


def mapping(array: npt.NDArray[Any]) -> mmap.mmap | None:
    """Return the memory map behind an array, or None."""
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    return base if isinstance(base, mmap.mmap) else None


class MappedRows:
    """Selected rows of a memory map, copied only when used.

    Behaves like the array ``source[index]``: ``shape``, ``dtype``, ``ndim``, ``nbytes``, ``len`` and indexing.

    Args:
        source: Memory map ``[n, ...]``.
        index: int64 ``[m]``, selected rows.
    """

    def __init__(self, source: npt.NDArray[Any], index: npt.NDArray[np.int64]) -> None:
        self.source, self.index = source, index
        self.shape: tuple[int, ...] = (len(index), *source.shape[1:])
        self.dtype, self.ndim = source.dtype, source.ndim
        self.nbytes = int(np.prod(self.shape, dtype=np.int64)) * source.dtype.itemsize

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, key: Any) -> Any:
        rows, *rest = key if isinstance(key, tuple) else (key,)
        return self.source[(self.index[rows], *rest)]

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.asarray(self.source[self.index], dtype=dtype)


def underlying(array: Any) -> npt.NDArray[Any] | MappedRows:
    """Return the array behind a `bench.data.converted.Deferred`.

    Other arrays are returned unchanged.
    """
    made = getattr(array, "made", array)
    return made if isinstance(made, MappedRows) else np.asarray(made)


def select(array: npt.NDArray[Kind], index: npt.NDArray[np.int64]) -> npt.NDArray[Kind]:
    """Return rows of an array.

    Rows larger than `resident_limit` stay in the memory map.

    Args:
        array: ``[n, ...]``, in memory, memory-mapped, or rows of a memory map.
        index: int64 ``[m]``.
    """
    whole = underlying(array)
    source, rows = (whole.source, whole.index[index]) if isinstance(whole, MappedRows) else (whole, index)
    size = len(rows) * (source.nbytes // max(len(source), 1))
    # Small data fit in any case; measuring the free memory takes time.
    if mapping(source) is None or (size <= RESIDENT_BYTES // 100 and resident_bytes() is None):
        return source[rows]
    return source[rows] if size <= resident_limit() else cast("npt.NDArray[Kind]", MappedRows(source, rows))


def release(array: npt.NDArray[Any]) -> None:
    """Release a memory map's pages from this process.

    The system may keep them cached; they can be read again.
    """
    mapped = mapping(array)
    # Changes of a private map would be lost with its pages.
    if mapped is not None and not array.flags.writeable and hasattr(mapped, "madvise"):
        with contextlib.suppress(OSError, ValueError):
            mapped.madvise(mmap.MADV_DONTNEED)
