"""Read NumPy and text files of the user safely.

Every fault is reported in one line. Memory is reserved only after the file has proven to hold as much, and pickled
objects are never loaded.
"""

from __future__ import annotations

import io
import math
import os
import zipfile
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from bench.data.coordinates import LARGEST, float32_clouds, of_file
from bench.data.signature import refuse_foreign
from bench.errors import DataError

NPZ_BYTES = 4_000_000_000
"""Largest content of one ``.npz`` file, uncompressed."""
_AGAIN = "copy or download it again"


def read_bytes(path: Path) -> bytes:
    """Read a whole file.

    Raises:
        DataError: It is missing, no file, unreadable, empty, or of another type than its name says (a web page, ...).
    """
    try:
        mode = path.stat().st_mode
        if not (S_ISREG(mode) or S_ISDIR(mode)):  # reading a pipe or a device would never end
            raise DataError(f"{path}: is a pipe or device, expected a file")
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise DataError(f"{path}: is a folder, expected a file") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not content:
        raise DataError(f"{path}: is empty (0 bytes); {_AGAIN}")
    refuse_foreign(path, content)
    return content


def read_text(path: Path) -> str:
    """Read a text file of the user, e.g. a list.

    Raises:
        DataError: As `read_bytes`, or it is not UTF-8 text.
    """
    content = read_bytes(path)
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path}: is not UTF-8 text (it is UTF-16, as Excel's 'Unicode text'); save it as UTF-8")
    if b"\0" in content:
        raise DataError(f"{path}: is not UTF-8 text (it holds binary data); {_AGAIN}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from error


def read_npy(path: Path, kinds: str = "f") -> npt.NDArray[Any]:
    """Read a ``.npy`` file.

    Args:
        path: The file.
        kinds: NumPy's letters of accepted types: ``f`` floats, ``i`` and ``u`` whole numbers.

    Returns:
        The array, in this machine's byte order.

    Raises:
        DataError: Missing, not ``.npy``, cut off, of another type, or a pickle of Python objects.
    """
    return _parse_npy(read_bytes(path), str(path), kinds)


def read_npz(path: Path, kinds: str = "fiu", limit: int = NPZ_BYTES) -> dict[str, npt.NDArray[Any]]:
    """Read every array of a ``.npz`` file.

    Args:
        path: The file.
        kinds: As in `read_npy`.
        limit: Largest total size of the arrays in bytes; a few kilobytes of zip can unpack to petabytes.

    Returns:
        Arrays by name.

    Raises:
        DataError: Missing, not a zip file, cut off, too large unpacked, or an array that `read_npy` would refuse.
    """
    try:
        if path.stat().st_size == 0:
            raise DataError(f"{path}: is empty (0 bytes); {_AGAIN}")
        refuse_foreign(path)
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            total = sum(member.file_size for member in members)
            if total > limit:
                raise DataError(
                    f"{path}: unpacks to {total / 1e9:.1f} GB, expected at most {limit / 1e9:.1f} GB (a zip bomb?); "
                    "split it, or store the arrays as .npy"
                )
            arrays: dict[str, npt.NDArray[Any]] = {}
            for member in members:
                if member.flag_bits & 1:
                    raise DataError(f"{path}: is encrypted; unpack it and store the arrays without a password")
                if member.filename.endswith(".npy"):
                    # Reads at most the announced size, however large the data unpack.
                    name = member.filename.removesuffix(".npy")
                    arrays[name] = _parse_npy(archive.read(member), f"{path}: array '{name}'", kinds)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise DataError(f"{path}: is a folder, expected a file") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{path}: is not an .npz file, or is damaged ({_line(error)}); {_AGAIN}") from error
    except Exception as error:
        if type(error).__module__ == "zlib":
            raise DataError(f"{path}: is damaged ({_line(error)}); {_AGAIN}") from error
        raise
    if not arrays:
        raise DataError(f"{path}: holds no array; store at least one")
    return arrays


def _parse_npy(content: bytes, where: str, kinds: str) -> npt.NDArray[Any]:
    stream: BinaryIO = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read_header(stream)
        if any(length < 0 for length in shape):
            raise ValueError(f"shape {shape}")
    except ValueError as error:
        if content[:6] == b"\x93NUMPY"[: len(content)]:
            raise DataError(f"{where}: is truncated or damaged in its header ({_line(error)}); {_AGAIN}") from error
        raise DataError(f"{where}: is not a .npy array; expected NumPy's format") from error
    if dtype.hasobject:
        raise DataError(f"{where}: holds Python objects, which could run code; store plain numbers")
    if dtype.kind not in kinds:
        words = {"f": "float", "i": "whole number", "u": "unsigned whole number", "b": "boolean"}
        raise DataError(f"{where}: holds {dtype}, expected a {' or '.join(words.get(k, k) for k in kinds)} type")
    count, start = math.prod(shape), stream.tell()
    if count * dtype.itemsize > len(content) - start:
        raise DataError(
            f"{where}: is truncated: shape {shape} of {dtype} needs {count * dtype.itemsize} bytes, "
            f"{len(content) - start} were found; {_AGAIN}"
        )
    if count * dtype.itemsize < len(content) - start:
        raise DataError(
            f"{where}: holds {len(content) - start - count * dtype.itemsize} bytes behind its array of shape {shape}; "
            "store one array in a file"
        )
    flat = np.frombuffer(content, dtype, count, start)
    array: npt.NDArray[Any] = flat.reshape(shape, order="F" if fortran else "C")
    return array if dtype.isnative else array.astype(dtype.newbyteorder("="))


def cloud(values: npt.NDArray[Any], path: Path, what: str = "points") -> npt.NDArray[np.float32]:
    """Check the coordinates of a cloud and return float32.

    See `bench.data.coordinates`.

    Args:
        values: Array of any type and shape.
        path: The file, for messages.
        what: Name of the values, for messages.

    Returns:
        float32 ``[N, 3]``, contiguous.

    Raises:
        DataError: Another shape, no points, a value that is not finite or absurd, or points that all coincide.
    """
    _triples(values, path, what)
    return float32_clouds(values, of_file(f"{path}: {what}"))


def finite(values: npt.NDArray[Any], path: Path, what: str) -> npt.NDArray[np.float32]:
    """Check finite triples that are no coordinates, such as normals."""
    _triples(values, path, what)
    sane = np.abs(values) <= LARGEST
    if not sane.all():
        row, axis = (int(i) for i in np.argwhere(~sane)[0])
        raise DataError(
            f"{path}: {what} row {row} axis {'xyz'[axis]} is {values[row, axis]}, expected a finite number up to "
            f"{LARGEST:g}; remove or repair that object"
        )
    return np.ascontiguousarray(values, dtype=np.float32)


def _triples(values: npt.NDArray[Any], path: Path, what: str) -> None:
    if values.ndim != 2 or values.shape[1] != 3:
        raise DataError(f"{path}: {what} have shape {values.shape}, expected [N, 3]")
    if not len(values):
        raise DataError(f"{path}: holds no {what}")


def _line(error: Exception) -> str:
    return str(error).splitlines()[0][:160] if str(error) else type(error).__name__


def missing_names(folder: Path, wanted: list[str]) -> list[str]:
    """Return the names that a folder lacks, in order.

    Lists the folder once.

    Raises:
        DataError: The folder cannot be listed.
    """
    try:
        held = set(os.listdir(folder))  # noqa: PTH208 (52,000 Path objects would take longer than the listing)
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed: {error.strerror or error}") from error
    return [name for name in wanted if name not in held]
