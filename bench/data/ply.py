"""Vertices of a PLY file: ascii and binary, checked before anything is reserved."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bench.data.arrays import cloud, read_bytes
from bench.errors import DataError

_TYPES = {
    **{"char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2"},
    **{"ushort": "u2", "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4"},
    **{"float": "f4", "float32": "f4", "double": "f8", "float64": "f8"},
}
_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": ""}
_HEAD_BYTES = 65_536


class _Element(NamedTuple):
    name: str
    rows: int
    fields: list[tuple[str, str]]
    """Name and type of each property; a list has the type ``list``."""


def read_ply_points(path: Path) -> npt.NDArray[np.float32]:
    """Read the coordinates of a PLY file's vertices.

    Returns:
        float32 ``[N, 3]``.

    Raises:
        DataError: Not PLY, damaged, cut off, without vertices or without x, y and z, or values that `cloud` refuses.
    """
    content = read_bytes(path)
    end = content.find(b"end_header", 0, _HEAD_BYTES)
    if not content.startswith(b"ply") or end < 0:
        raise DataError(f"{path}: is not a PLY file, or breaks off in its head; copy or download it again")
    start = content.find(b"\n", end) + 1
    try:
        form, elements = _head(content[:end].decode("ascii").splitlines())
    except (ValueError, KeyError, IndexError) as error:
        raise DataError(f"{path}: has a damaged head ({str(error)[:80]}); copy or download it again") from error
    if start == 0 or form not in _ORDERS:
        raise DataError(f"{path}: is in the format {form[:40]!r}, expected {', '.join(_ORDERS)}")
    before: list[_Element] = []
    for element in elements:
        if element.name == "vertex":
            return cloud(_vertices(content, start, form, before, element, path), path, "vertices")
        before.append(element)
    raise DataError(f"{path}: has no vertices")


def _head(lines: list[str]) -> tuple[str, list[_Element]]:
    form, elements = "", list[_Element]()
    for line in lines:
        words = line.split()
        if not words or words[0] in ("ply", "comment", "obj_info"):
            continue
        if words[0] == "format":
            form = words[1]
        elif words[0] == "element":
            elements.append(_Element(words[1], int(words[2]), []))
            if elements[-1].rows < 0:
                raise ValueError(line)
        elif words[0] == "property":
            elements[-1].fields.append((words[-1], "list" if words[1] == "list" else _TYPES[words[1]]))
        else:
            raise ValueError(line)
    return form, elements


def _vertices(
    content: bytes, start: int, form: str, before: list[_Element], vertex: _Element, path: Path
) -> npt.NDArray[np.float64]:
    names = [name for name, _ in vertex.fields]
    if not {"x", "y", "z"} <= set(names) or len(set(names)) != len(names):
        raise DataError(f"{path}: vertices have the properties {', '.join(names)[:80]}; expected x, y and z, each once")
    if form == "ascii":
        return _ascii(content, start, sum(e.rows for e in before), vertex, names, path)
    for element in (*before, vertex):
        if any(kind == "list" for _, kind in element.fields):
            raise DataError(f"{path}: has lists in element '{element.name}' up to its vertices, which cannot be read")
    order = _ORDERS[form]
    for element in before:
        start += element.rows * sum(np.dtype(kind).itemsize for _, kind in element.fields)
    row = np.dtype([(name, order + kind) for name, kind in vertex.fields])
    if vertex.rows * row.itemsize > len(content) - start:
        raise DataError(
            f"{path}: breaks off: {vertex.rows} vertices need {vertex.rows * row.itemsize} bytes, "
            f"{max(0, len(content) - start)} are there; copy or download it again"
        )
    table = np.frombuffer(content, row, vertex.rows, start)
    return np.stack([table[axis].astype(np.float64) for axis in "xyz"], axis=1)


def _ascii(
    content: bytes, start: int, skipped: int, vertex: _Element, names: list[str], path: Path
) -> npt.NDArray[np.float64]:
    lines = content[start:].split(b"\n", skipped + vertex.rows)[skipped : skipped + vertex.rows]
    if len(lines) < vertex.rows:
        raise DataError(f"{path}: breaks off: {vertex.rows} vertices, {len(lines)} lines; copy or download it again")
    columns = [names.index(axis) for axis in "xyz"]
    try:
        return np.loadtxt(lines, usecols=columns, ndmin=2, comments=None, dtype=np.float64).reshape(vertex.rows, 3)
    except ValueError as error:
        raise DataError(f"{path}: vertices: {str(error).splitlines()[0][:120]}; expected numbers") from error
