"""Read PLY files of clouds and meshes, ascii and binary.

Sizes are checked before memory is reserved, and against every announced count.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bench.data.arrays import cloud, read_bytes
from bench.data.texttable import NUMBER, plain_table
from bench.errors import DataError

_TYPES = {
    **{"char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2"},
    **{"ushort": "u2", "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4"},
    **{"float": "f4", "float32": "f4", "double": "f8", "float64": "f8"},
}
_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": ""}
_HEAD_BYTES = 65_536
_FACES = ("vertex_indices", "vertex_index")
_AGAIN = "copy or download it again"
_WORD = re.compile(rf"{NUMBER.pattern}|[+-]?(nan|inf|infinity)", re.IGNORECASE)


class _Field(NamedTuple):
    name: str
    kind: str
    """NumPy's name of its type, without the byte order."""
    length: str = ""
    """Type of a list's length; empty for a single value."""


class _Element(NamedTuple):
    name: str
    rows: int
    fields: list[_Field]


class _Values(NamedTuple):
    """Values of an element, and the lists of its faces.

    Single values by name, float64 ``[rows]``, and the entries of its faces' list.
    """

    columns: dict[str, npt.NDArray[np.float64]]
    corners: list[list[int]]


def read_ply_points(path: Path) -> npt.NDArray[np.float32]:
    """Read the coordinates of a PLY file's vertices.

    Returns:
        float32 ``[N, 3]``.

    Raises:
        DataError: As `read_ply`, or `bench.data.arrays.cloud` refuses the values.
    """
    return cloud(read_ply(path)[0], path, "vertices")


def read_ply(path: Path) -> tuple[npt.NDArray[np.float64], list[list[int]]]:
    """Read vertices and faces of a PLY file.

    Returns:
        Vertices, float64 ``[N, 3]``, and the corners of each face (none in a cloud).

    Raises:
        DataError: The file is not PLY, damaged, without x, y and z, or not as long as its header announces.
    """
    content = read_bytes(path)
    head = re.search(rb"^end_header[ \t]*(\r\n|\n|\r)", content[:_HEAD_BYTES], re.MULTILINE) or re.search(
        rb"\rend_header[ \t]*\r", content[:_HEAD_BYTES]
    )
    if not content.startswith(b"ply") or head is None:
        raise DataError(f"{path}: is not a PLY file, or is truncated in its header; {_AGAIN}")
    try:
        form, elements = _head(content[: head.start()].decode("latin-1").splitlines())
    except (ValueError, KeyError, IndexError) as error:
        raise DataError(f"{path}: has a damaged header ({str(error)[:80]}); {_AGAIN}") from error
    if form not in _ORDERS:
        raise DataError(f"{path}: is in the format {form[:40]!r}, expected {', '.join(_ORDERS)}")
    names = [element.name for element in elements]
    if names.count("vertex") != 1 or names.count("face") > 1:
        raise DataError(f"{path}: has the elements {', '.join(names)[:80]}; expected vertex and at most one face")
    own = [field.name for field in elements[names.index("vertex")].fields if not field.length]
    if not {"x", "y", "z"} <= set(own) or len(set(own)) != len(own):
        raise DataError(f"{path}: vertices have the properties {', '.join(own)[:80]}; expected x, y and z, each once")
    if form == "ascii":
        values = _ascii(path, content, head.end(), elements)
    else:
        values = _binary(path, content, head.end(), elements, _ORDERS[form])
    vertex = values["vertex"].columns
    return np.stack([vertex[axis] for axis in "xyz"], axis=1), values["face"].corners if "face" in values else []


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
        elif words[0] == "property" and words[1] == "list":
            if _TYPES[words[2]].startswith("f"):
                raise ValueError(line)
            elements[-1].fields.append(_Field(words[4], _TYPES[words[3]], _TYPES[words[2]]))
        elif words[0] == "property":
            elements[-1].fields.append(_Field(words[2], _TYPES[words[1]]))
        else:
            raise ValueError(line)
    for element in elements:
        if len({field.name for field in element.fields}) < len(element.fields):
            raise ValueError(f"element {element.name} has a property twice")
    return form, elements


def _short(path: Path, element: _Element, needed: str = "") -> DataError:
    rows = "vertices" if element.name == "vertex" else f"rows of '{element.name}'"
    return DataError(f"{path}: is truncated: {element.rows} {rows} announced{needed}, fewer were found; {_AGAIN}")


def _binary(path: Path, content: bytes, start: int, elements: list[_Element], order: str) -> dict[str, _Values]:
    found = dict[str, _Values]()
    for element in elements:
        least = sum(np.dtype(field.length or field.kind).itemsize for field in element.fields)
        if element.rows * least > len(content) - start:
            raise _short(path, element, f" (they need {element.rows * least} bytes)")
        table = _uniform(content, start, element, order)
        if table is None:
            found[element.name], start = _row_by_row(path, content, start, element, order)
            continue
        start += table.nbytes
        columns = {f.name: table[f.name].astype(np.float64) for f in element.fields if not f.length}
        lists = [f.name for f in element.fields if f.length and f.name in _FACES]
        found[element.name] = _Values(columns, table[lists[0]].astype(np.int64).tolist() if lists else [])
    if content[start:].strip(b"\0\r\n "):
        raise DataError(f"{path}: holds {len(content) - start} bytes more than its header announces; {_AGAIN}")
    return found


def _uniform(content: bytes, start: int, element: _Element, order: str) -> npt.NDArray[np.void] | None:
    """Read rows whose lists have equal lengths, or return None."""
    parts: list[tuple[str, str] | tuple[str, str, tuple[int, ...]]] = []
    at = start
    for place, field in enumerate(element.fields):
        if not field.length:
            parts.append((field.name, order + field.kind))
        else:
            if at + np.dtype(field.length).itemsize > len(content):
                return None
            length = int(np.frombuffer(content, order + field.length, 1, at)[0])
            if not 0 <= length <= len(content):
                return None
            parts += [(f" {place}", order + field.length), (field.name, order + field.kind, (length,))]
        at = start + np.dtype(parts).itemsize
    row = np.dtype(parts)
    if element.rows * row.itemsize > len(content) - start or not row.itemsize:
        return None
    table: npt.NDArray[np.void] = np.frombuffer(content, row, element.rows, start)
    counts = [f" {place}" for place, field in enumerate(element.fields) if field.length]
    return table if all((table[name] == table[name][:1]).all() for name in counts) else None


def _row_by_row(path: Path, content: bytes, start: int, element: _Element, order: str) -> tuple[_Values, int]:
    """Read an element whose lists differ in length.

    A false count is noticed at the end of the file, since every row takes bytes.
    """
    columns = {field.name: np.empty(element.rows) for field in element.fields if not field.length}
    corners: list[list[int]] = []
    types = [(f, np.dtype(order + f.kind), np.dtype(order + f.length) if f.length else None) for f in element.fields]
    for row in range(element.rows if element.fields else 0):
        for field, kind, count in types:
            length = 1
            if count is not None:
                if start + count.itemsize > len(content):
                    raise _short(path, element)
                length = int(np.frombuffer(content, count, 1, start)[0])
                start += count.itemsize
            if length < 0 or start + length * kind.itemsize > len(content):
                raise _short(path, element)
            values = np.frombuffer(content, kind, length, start)
            start += values.nbytes
            if count is None:
                columns[field.name][row] = values[0]
            elif field.name in _FACES:
                corners.append(values.astype(np.int64).tolist())
    return _Values(columns, corners), start


def _ascii(path: Path, content: bytes, start: int, elements: list[_Element]) -> dict[str, _Values]:
    first = len(content[:start].splitlines()) + 1
    body = content[start:].decode("latin-1").splitlines()
    lines = [(number, line.split()) for number, line in enumerate(body, start=first) if line.strip()]
    found, at = dict[str, _Values](), 0
    for element in elements:
        if not element.fields:
            continue
        if element.rows > len(lines) - at:
            raise _short(path, element)
        found[element.name] = _rows(path, lines[at : at + element.rows], element)
        at += element.rows
    if at < len(lines):
        raise DataError(f"{path}: line {lines[at][0]}: holds more rows than its header announces; {_AGAIN}")
    return found


def _rows(path: Path, lines: list[tuple[int, list[str]]], element: _Element) -> _Values:
    if lines and not any(field.length for field in element.fields):
        table = plain_table([" ".join(words) for _, words in lines], len(element.fields))
        if table is not None:
            return _Values({field.name: table[:, i] for i, field in enumerate(element.fields)}, [])
    columns = {field.name: np.empty(len(lines)) for field in element.fields if not field.length}
    corners: list[list[int]] = []
    for row, (number, words) in enumerate(lines):
        at = 0
        if not all(map(_WORD.fullmatch, words)):
            raise DataError(
                f"{path}: line {number} ('{' '.join(words)[:60]}'): expected numbers of element '{element.name}'"
            )
        for field in element.fields:
            own = words[at : at + 1]
            at += 1
            if own and field.length:
                length = int(own[0]) if own[0].isdigit() else len(words)
                own = words[at : at + length]
                at += length
                if field.name in _FACES and at <= len(words):
                    if not all(word.isdigit() for word in own):
                        raise DataError(f"{path}: line {number} ('{' '.join(words)[:60]}'): expected vertex numbers")
                    corners.append([int(word[:18]) for word in own])
            elif own:
                columns[field.name][row] = float(own[0])
        if at != len(words):
            raise DataError(
                f"{path}: line {number} has {len(words)} numbers, expected {at} of element '{element.name}'; {_AGAIN}"
            )
    return _Values(columns, corners)
