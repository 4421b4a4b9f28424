"""List a data set's files with hashes, to compare copies."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.data.digest import file_digest
from bench.data.filelists import list_files
from bench.data.h5set import SPLITS
from bench.inspection.measuring import files_below
from bench.inspection.opening import Opened
from bench.store.publish import write_whole
from bench.texts import csv_text


def write_manifest(opened: Opened, path: Path) -> tuple[int, str]:
    """Write ``path,size,sha256`` of every file below the root as CSV.

    Embedded sets have no files; what they generate is listed instead, one line per array (``train/points``), so
    that two machines can be compared.

    Args:
        opened: The data set.
        path: File to write.

    Returns:
        Number of lines below the head, and SHA-256 hex digest of what was written.

    Raises:
        DataError: A file cannot be read.
        SetupError: `path` cannot be written.
    """
    rows = _arrays(opened) if opened.root is None else _files(opened, opened.root)
    content = csv_text(("path", "size", "sha256"), rows)
    write_whole(path, content)
    return len(rows), hashlib.sha256(content.encode()).hexdigest()


def _files(opened: Opened, root: Path) -> list[tuple[str, int, str]]:
    place = opened.dataset.place
    if root.is_file():
        return [(root.name, root.stat().st_size, file_digest(root, place.cache))]
    found = list_files(root, files_below(root), place.cache, place.progress)
    return [
        (name, stamp[0], digest) for name, stamp, digest in zip(found.names, found.stamps, found.digests, strict=True)
    ]


def _arrays(opened: Opened) -> list[tuple[str, int, str]]:
    if opened.dataset.card.has_rooms:
        return [
            _row(f"{room.name}/{name}", array)
            for room in opened.dataset.rooms()
            for name, array in (("points", room.points), ("colours", room.colours), ("labels", room.labels))
            if array is not None
        ]
    rows = []
    for split in SPLITS:
        clouds = opened.dataset.load(split)
        arrays = {name: getattr(clouds, name) for name in ("points", "labels", "normals", "parts", "views")}
        rows += [_row(f"{split}/{name}", array) for name, array in arrays.items() if array is not None]
    return rows


def _row(name: str, array: npt.NDArray[np.generic]) -> tuple[str, int, str]:
    content = np.ascontiguousarray(array)
    return name, content.nbytes, hashlib.sha256(content.data if content.size else b"").hexdigest()
