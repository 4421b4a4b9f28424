"""One cloud from one file of the user: npy, npz, ply, pcd, txt, csv or xyz; one clear line for each fault."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.arrays import cloud, read_bytes, read_npy, read_npz
from bench.data.ply import read_ply_points
from bench.errors import DataError

NPZ_BYTES = 1_000_000_000
"""Largest content of one ``.npz`` cloud, uncompressed."""
NPZ_NAMES = ("points", "xyz", "pc", "pos", "data", "cloud", "arr_0")
"""Array taken from an ``.npz`` that holds several, the first of these that is there."""
_AGAIN = "copy or download it again"
_PCD_TYPES = {("F", 4): "<f4", ("F", 8): "<f8", ("I", 1): "i1", ("I", 2): "<i2", ("I", 4): "<i4", ("I", 8): "<i8"} | {
    ("U", size): f"<u{size}" for size in (1, 2, 4, 8)
}
_PCD_HEAD_BYTES = 16_384
_SEPARATORS = re.compile(r"[,;\t ]+")


def read_cloud(path: Path) -> npt.NDArray[np.float32]:
    """Read the coordinates of a cloud by its suffix; columns beyond x, y and z are not read.

    Returns:
        float32 ``[N, 3]``.

    Raises:
        DataError: Damaged, not a cloud, a coordinate that is not finite (in a pcd, where sensors mark missing points
            so, such points are left out), or all points in one place.
    """
    suffix = path.suffix.lower()
    if suffix not in READERS:
        raise DataError(f"{path}: cannot be read; known are {', '.join(READERS)}")
    return cloud(READERS[suffix](path), path)


def _coordinates(array: npt.NDArray[Any], path: Path, what: str) -> npt.NDArray[Any]:
    """First three columns of an array of rows."""
    if array.ndim == 3 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 2 or array.shape[1] < 3:
        hint = "; it looks transposed" if array.ndim == 2 and array.shape[0] in (3, 6) else ""
        raise DataError(f"{path}: {what} has shape {array.shape}, expected [N, 3] or more columns{hint}")
    if array.shape[0] in (3, 6) and array.shape[1] > 16:
        raise DataError(f"{path}: {what} has shape {array.shape}, expected [N, 3]; it looks transposed")
    return array[:, :3]


def _npy(path: Path) -> npt.NDArray[Any]:
    return _coordinates(read_npy(path, kinds="fiu"), path, "the array")


def _npz(path: Path) -> npt.NDArray[Any]:
    # Texts and flags beside the coordinates do no harm, so their types are accepted and left alone.
    arrays = read_npz(path, kinds="fiubUSc", limit=NPZ_BYTES)
    name = next(iter(arrays)) if len(arrays) == 1 else next((n for n in NPZ_NAMES if n in arrays), None)
    if name is None:
        raise DataError(f"{path}: holds {', '.join(sorted(arrays)[:6])}; expected one array, or one called points")
    if arrays[name].dtype.kind not in "fiu":
        raise DataError(f"{path}: array '{name}' holds {arrays[name].dtype}, expected numbers")
    return _coordinates(arrays[name], path, f"array '{name}'")


def _text(path: Path) -> npt.NDArray[Any]:
    """Rows of numbers with commas, semicolons, tabs or blanks between; ``#`` and ``//`` begin comments."""
    try:
        lines = read_bytes(path).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text (byte {error.start}); expected x y z in each line") from error
    rows: list[tuple[int, list[str]]] = []
    for number, line in enumerate(lines, start=1):
        bare = line.split("#")[0].split("//")[0].strip()
        if bare:
            rows.append((number, [word for word in _SEPARATORS.split(bare) if word]))
    if rows and not _is_number(rows[0][1][0]):  # names of the columns
        rows = rows[1:]
    if len(rows) > 1 and len(rows[0][1]) == 1 and len(rows[1][1]) > 1:  # the number of points, as in .pts
        rows = rows[1:]
    if not rows:
        raise DataError(f"{path}: holds no rows of numbers")
    for number, words in rows:
        if len(words) < 3:
            raise DataError(f"{path}: line {number} has {len(words)} numbers, expected x y z")
    try:
        return np.array([words[:3] for _, words in rows], dtype=np.float64)
    except ValueError:
        number, words = next((n, w) for n, w in rows if not all(_is_number(word) for word in w[:3]))
        shown = " ".join(words)[:60]
        raise DataError(f"{path}: line {number} begins '{shown}', expected three numbers") from None


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _pcd(path: Path) -> npt.NDArray[Any]:
    """Points of a PCD file, ascii or binary; those that are not finite are no points."""
    content = read_bytes(path)
    match = re.search(rb"^DATA[ \t]+(\w+)[^\n]*\n", content[:_PCD_HEAD_BYTES], re.MULTILINE)
    if match is None:
        raise DataError(f"{path}: is not a PCD file, or breaks off in its head; {_AGAIN}")
    head = _pcd_head(content[: match.start()])
    try:
        names, sizes, kinds = head["FIELDS"], [int(n) for n in head["SIZE"]], head["TYPE"]
        counts = [int(n) for n in head.get("COUNT", ["1"] * len(names))]
        points = int(head["POINTS"][0]) if "POINTS" in head else int(head["WIDTH"][0]) * int(head["HEIGHT"][0])
        fields = [
            (f"{place}", _PCD_TYPES[kind, size], (count,))
            for place, (kind, size, count) in enumerate(zip(kinds, sizes, counts, strict=True))
        ]
        at = [names.index(axis) for axis in "xyz"]
        row = np.dtype(fields)
    except (KeyError, ValueError, IndexError) as error:
        raise DataError(f"{path}: has a damaged head ({str(error)[:80]}); expected FIELDS with x y z") from error
    if points < 0 or len(names) != len(fields) or any(counts[place] != 1 for place in at):
        raise DataError(f"{path}: has a damaged head; expected FIELDS, SIZE, TYPE and COUNT of the same length")
    body, form = content[match.end() :], match[1].lower()
    if form == b"binary":
        if points * row.itemsize > len(body):
            raise DataError(
                f"{path}: breaks off: {points} points need {points * row.itemsize} bytes, {len(body)} are there; "
                f"{_AGAIN}"
            )
        table = np.frombuffer(body, row, points)
        found = np.stack([table[f"{place}"][:, 0].astype(np.float64) for place in at], axis=-1)
    elif form == b"ascii":
        found = _pcd_ascii(path, body, points, [sum(counts[:place]) for place in at])
    else:
        raise DataError(f"{path}: its data are '{match[1].decode()}', expected ascii or binary; convert it with pcl")
    kept: npt.NDArray[Any] = found[np.isfinite(found).all(axis=1)]
    if not len(kept):
        raise DataError(f"{path}: holds no points (of {points}, none is finite)")
    return kept


def _pcd_head(head: bytes) -> dict[str, list[str]]:
    lines = (line.split() for line in head.decode("latin-1").splitlines() if not line.startswith("#"))
    return {words[0].upper(): words[1:] for words in lines if words}


def _pcd_ascii(path: Path, body: bytes, points: int, columns: list[int]) -> npt.NDArray[np.float64]:
    lines = [line for line in body.splitlines() if line.strip()]
    if len(lines) < points:
        raise DataError(f"{path}: breaks off: {points} points announced, {len(lines)} lines are there; {_AGAIN}")
    if not points:
        raise DataError(f"{path}: holds no points")
    try:
        return np.loadtxt(io.BytesIO(b"\n".join(lines[:points])), usecols=columns, ndmin=2, comments=None)
    except ValueError as error:
        raise DataError(f"{path}: points: {str(error).splitlines()[0][:120]}; expected numbers") from error


READERS: dict[str, Callable[[Path], npt.NDArray[Any]]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".ply": read_ply_points,
    ".pcd": _pcd,
    ".txt": _text,
    ".csv": _text,
    ".xyz": _text,
}
"""How each kind of file is read, by its suffix."""
