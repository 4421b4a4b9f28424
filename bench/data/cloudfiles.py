"""Read a cloud from a file, by its suffix.

npy, npz, ply, pcd, txt, csv or xyz; every fault is reported in one line.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.arrays import cloud, read_bytes, read_npy, read_npz
from bench.data.coordinates import LARGEST, transposed
from bench.data.ply import read_ply_points
from bench.data.texttable import NUMBER, read_text_points, refuse_index
from bench.errors import DataError

NPZ_BYTES = 1_000_000_000
"""Largest content of one ``.npz`` cloud, uncompressed."""
NPZ_NAMES = ("points", "xyz", "pc", "pos", "data", "cloud", "arr_0")
"""Names of the array to read from an ``.npz`` with several; the first one present is taken."""
_AGAIN = "copy or download it again"
_PCD_TYPES = {("F", 4): "<f4", ("F", 8): "<f8", ("I", 1): "i1", ("I", 2): "<i2", ("I", 4): "<i4", ("I", 8): "<i8"} | {
    ("U", size): f"<u{size}" for size in (1, 2, 4, 8)
}
_PCD_HEAD_BYTES = 16_384
_NO_POINT = re.compile(r"[+-]?(nan|inf(inity)?)", re.IGNORECASE)


def read_cloud(path: Path) -> npt.NDArray[np.float32]:
    """Read the coordinates of a cloud by its file's suffix.

    Columns after x, y and z are ignored.

    Returns:
        float32 ``[N, 3]``.

    Raises:
        DataError: The file is damaged or not a cloud, a coordinate is not finite (in a pcd, where this marks missing
            points, such points are left out), or all points coincide.
    """
    suffix = path.suffix.lower()
    if suffix not in READERS:
        raise DataError(f"{path}: cannot be read; known are {', '.join(READERS)}")
    return cloud(READERS[suffix](path), path)


def _coordinates(array: npt.NDArray[Any], path: Path, what: str) -> npt.NDArray[Any]:
    """Return the first three columns of an array of rows.

    Columns of an array have no names, so they are taken to be x, y and z.
    """
    if array.ndim == 3 and array.shape[0] == 1:
        array = array[0]
    turned = transposed(array.shape)
    if array.ndim != 2 or array.shape[1] < 3 or turned:
        raise DataError(f"{path}: {what} has shape {array.shape}, expected [N, 3] or more columns{turned}")
    refuse_index(array, f"{path}: {what}: the first column", "store x, y and z first")
    return array[:, :3]


def _npy(path: Path) -> npt.NDArray[Any]:
    return _coordinates(read_npy(path, kinds="fiu"), path, "the array")


def _npz(path: Path) -> npt.NDArray[Any]:
    # Other arrays, such as texts and flags, are ignored, so any type is accepted.
    arrays = read_npz(path, kinds="fiubUSc", limit=NPZ_BYTES)
    name = next(iter(arrays)) if len(arrays) == 1 else next((n for n in NPZ_NAMES if n in arrays), None)
    if name is None:
        raise DataError(f"{path}: holds {', '.join(sorted(arrays)[:6])}; expected one array, or one called points")
    if arrays[name].dtype.kind not in "fiu":
        raise DataError(f"{path}: array '{name}' holds {arrays[name].dtype}, expected numbers")
    return _coordinates(arrays[name], path, f"array '{name}'")


def _pcd(path: Path) -> npt.NDArray[Any]:
    """Return the finite points of a PCD file.

    ascii or binary.
    """
    content = read_bytes(path)
    match = re.search(rb"^DATA[ \t]+(\w+)[^\n]*\n", content[:_PCD_HEAD_BYTES], re.MULTILINE)
    if match is None:
        raise DataError(f"{path}: is not a PCD file, or is truncated in its header; {_AGAIN}")
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
        raise DataError(f"{path}: has a damaged header ({str(error)[:80]}); expected FIELDS with x y z") from error
    lengths = (len(names), len(sizes), len(kinds), len(counts))
    wrong = points < 0 or len(set(lengths)) > 1 or min(counts) < 1 or len({names[place] for place in at}) < 3
    if wrong or any(counts[place] != 1 or names.count(names[place]) != 1 for place in at):
        raise DataError(f"{path}: has a damaged header; expected FIELDS, SIZE, TYPE and COUNT of the same length")
    grid = [int(head[name][0]) for name in ("WIDTH", "HEIGHT") if head.get(name, [""])[0].isdigit()]
    if len(grid) == 2 and grid[0] * grid[1] != points:
        raise DataError(f"{path}: announces {points} points and a grid of {grid[0]} x {grid[1]}; {_AGAIN}")
    body, form = content[match.end() :], match[1].lower()
    if form == b"binary":
        if points * row.itemsize > len(body):
            raise DataError(
                f"{path}: is truncated: {points} points need {points * row.itemsize} bytes, {len(body)} were found; "
                f"{_AGAIN}"
            )
        if len(body[points * row.itemsize :].strip(b"\0\r\n ")) >= row.itemsize:
            raise DataError(f"{path}: announces {points} points, more were found; {_AGAIN}")
        table = np.frombuffer(body, row, points)
        found = np.stack([table[f"{place}"][:, 0].astype(np.float64) for place in at], axis=-1)
    elif form == b"ascii":
        found = _pcd_ascii(path, content, match.end(), points, counts, at)
    else:
        raise DataError(f"{path}: its data are '{match[1].decode()}', expected ascii or binary; convert it with pcl")
    kept: npt.NDArray[Any] = found[np.isfinite(found).all(axis=1)]
    if not len(kept):
        raise DataError(f"{path}: holds no points (of {points}, none is finite)")
    return kept


def _pcd_head(head: bytes) -> dict[str, list[str]]:
    lines = (line.split() for line in head.decode("latin-1").splitlines() if not line.startswith("#"))
    return {words[0].upper(): words[1:] for words in lines if words}


def _pcd_ascii(path: Path, content: bytes, start: int, points: int, counts: list[int], at: list[int]) -> Any:
    """Return the points of an ascii PCD file.

    Values begin at byte `start`; nan and inf mark missing points.
    """
    first = content.count(b"\n", 0, start) + 1
    lines = [(n, line) for n, line in enumerate(content[start:].splitlines(), start=first) if line.strip()]
    if len(lines) != points:
        raise DataError(f"{path}: is truncated: {points} points announced, {len(lines)} lines were found; {_AGAIN}")
    columns = [sum(counts[:place]) for place in at]
    found = np.empty((points, 3))
    for row, (number, line) in enumerate(lines):
        words = line.decode("latin-1").split()
        if len(words) != sum(counts):
            raise DataError(f"{path}: line {number} has {len(words)} fields, expected {sum(counts)}")
        bad = next((word for word in words if not (NUMBER.fullmatch(word) or _NO_POINT.fullmatch(word))), None)
        if bad is not None:
            raise DataError(f"{path}: line {number} holds '{bad[:40]}', expected numbers")
        found[row] = [float(words[column]) for column in columns]
        huge = next((words[c] for c in columns if NUMBER.fullmatch(words[c]) and abs(float(words[c])) > LARGEST), None)
        if huge is not None:
            raise DataError(f"{path}: line {number} holds {huge[:40]}, expected at most {LARGEST:g}")
    return found


READERS: dict[str, Callable[[Path], npt.NDArray[Any]]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".ply": read_ply_points,
    ".pcd": _pcd,
    ".txt": read_text_points,
    ".csv": read_text_points,
    ".xyz": read_text_points,
}
"""How each kind of file is read, by its suffix."""
