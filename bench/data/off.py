"""Read meshes in the OFF format.

Faces may have any number of corners; announced counts are checked.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.data.texttable import NUMBER
from bench.errors import DataError

_AGAIN = "copy or download it again"
_HEAD = re.compile(r"(ST)?(C)?(N)?(4)?(n)?OFF\b", re.IGNORECASE)
_GLUED = re.compile(r"(ST)?(C)?(N)?OFF(?=[0-9])", re.IGNORECASE)
"""Some files of ModelNet lack the line break after OFF: OFF490 518 0."""
_MOST_COLOURS = 4


def read_off(path: Path, content: bytes) -> tuple[npt.NDArray[np.float64], list[list[int]]]:
    """Read vertices and faces of an OFF file.

    Colours, normals and texture coordinates are ignored.

    Args:
        path: The file, for messages.
        content: Its content.

    Returns:
        Vertices, float64 ``[V, 3]``, and the corners of each face.

    Raises:
        DataError: No OFF file, another number of vertices or faces than announced, or a damaged line.
    """
    stripped = (line.split("#")[0].strip() for line in content.decode("latin-1").splitlines())
    lines = [(number, line) for number, line in enumerate(stripped, start=1) if line]
    head = (_HEAD.match(lines[0][1]) or _GLUED.match(lines[0][1])) if lines else None
    if head is None:
        raise DataError(f"{path}: is not an OFF file, its first line must begin with OFF; {_AGAIN}")
    if len(head.groups()) > 3 and (head[4] or head[5] == "n"):
        raise DataError(f"{path}: line {lines[0][0]}: vertices are not in three dimensions ({head[0]})")
    rest = lines[0][1][head.end() :].strip()
    lines = [(lines[0][0], rest), *lines[1:]] if rest else lines[1:]
    counts = lines[0][1].split() if lines else []
    if len(counts) not in (2, 3) or not all(word.isascii() and word.isdigit() for word in counts):
        where = f"line {lines[0][0]} is '{lines[0][1][:40]}'" if lines else "it is truncated"
        raise DataError(f"{path}: {where}, expected the numbers of vertices, faces and edges; {_AGAIN}")
    vertices, faces, body = int(counts[0][:18]), int(counts[1][:18]), lines[1:]
    if len(body) != vertices + faces:
        what = "is truncated" if len(body) < vertices + faces else "holds more than its header announces"
        raise DataError(
            f"{path}: {what}: {vertices} vertices and {faces} faces announced, {len(body)} lines were found; {_AGAIN}"
        )
    return _vertices(path, body[:vertices]), [_corners(path, *line) for line in body[vertices:]]


def _vertices(path: Path, lines: list[tuple[int, str]]) -> npt.NDArray[np.float64]:
    found = np.empty((len(lines), 3))
    width = len(lines[0][1].split()) if lines else 3
    for row, (number, line) in enumerate(lines):
        words = line.split()
        if len(words) != width or width < 3:
            raise DataError(f"{path}: line {number} has {len(words)} numbers, expected {max(width, 3)} of a vertex")
        if not all(NUMBER.fullmatch(word) for word in words):
            raise DataError(f"{path}: line {number} is '{line[:60]}', expected finite numbers of a vertex")
        found[row] = [float(word) for word in words[:3]]
    return found


def _corners(path: Path, number: int, line: str) -> list[int]:
    words = line.split()
    count = int(words[0]) if words[0].isascii() and words[0].isdigit() and len(words[0]) < 10 else 0
    own, colours = words[1 : count + 1], words[count + 1 :]
    sound = count > 0 and len(own) == count and all(word.isascii() and word.isdigit() for word in own)
    if not sound or len(colours) > _MOST_COLOURS or not all(NUMBER.fullmatch(word) for word in colours):
        raise DataError(f"{path}: line {number} is '{line[:60]}', expected a face: its number of corners, then these")
    return [int(word[:18]) for word in own]
