"""Store generated rooms on disk, read as memory maps.

A folder is complete or absent.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.base import Room
from bench.data.files import cannot_write, exclusive
from bench.data.rooms.roomset import StoredRooms
from bench.errors import SetupError
from bench.progress import Progress
from bench.store.cached import open_array, seal

ARRAYS = {"points": np.float32, "colours": np.uint8, "labels": np.uint8}
LEVELS = 3
"""A room's array is named by the manifest, ``rooms`` and itself."""


def stored_rooms(
    folder: Path,
    names: Sequence[str],
    areas: Sequence[int],
    points: int,
    make: Callable[[int], Room],
    progress: Progress,
) -> StoredRooms:
    """Return rooms from their folder, generating them if necessary.

    The folder is published by one rename; other processes with the same request wait for the first.

    Args:
        folder: Folder, named by the manifest.
        names: Names of the rooms.
        areas: Their areas.
        points: Number of points of every room.
        make: Function that generates room i.
        progress: Called with rooms made and rooms in all.

    Raises:
        SetupError: The cache cannot be written.
    """
    found = _open(folder, names, areas, points)
    if found is not None:
        return found
    with exclusive(folder.with_name(f".{folder.name}.lock")):
        found = _open(folder, names, areas, points)
        if found is not None:
            return found
        temporary: Path | None = None
        try:
            temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".partial", dir=folder.parent))
            _write(temporary, folder, len(names), points, make, progress)
            temporary.chmod(0o755)
            shutil.rmtree(folder, ignore_errors=True)
            temporary.rename(folder)
        except OSError as error:
            if _open(folder, names, areas, points) is None:  # else another process was first where locks do not work
                raise cannot_write(folder, error) from error
        finally:
            if temporary is not None:
                shutil.rmtree(temporary, ignore_errors=True)
    found = _open(folder, names, areas, points)
    if found is None:
        raise SetupError(f"{folder}: rooms just written cannot be read back; check the disk and run again")
    return found


def _write(
    folder: Path, destination: Path, rooms: int, points: int, make: Callable[[int], Room], progress: Progress
) -> None:
    coordinates = np.empty((rooms * points, 3), dtype=np.float32)
    colours = np.empty((rooms * points, 3), dtype=np.uint8)
    labels = np.empty(rooms * points, dtype=np.uint8)
    for place in range(rooms):
        rows, room = slice(place * points, (place + 1) * points), make(place)
        assert room.colours is not None
        coordinates[rows], colours[rows], labels[rows] = room.points, room.colours, room.labels
        progress(place + 1, rooms)
    arrays: tuple[npt.NDArray[Any], ...] = (coordinates, colours, labels)
    for name, array in zip(ARRAYS, arrays, strict=True):
        np.save(folder / f"{name}.npy", array)
        seal(folder / f"{name}.npy", destination / f"{name}.npy", LEVELS)


def _open(folder: Path, names: Sequence[str], areas: Sequence[int], points: int) -> StoredRooms | None:
    """Open stored rooms; None if absent or incomplete."""
    total = len(names) * points
    coordinates, colours, labels = (
        open_array(folder / f"{name}.npy", dtype, (total,) if name == "labels" else (total, 3), LEVELS)
        for name, dtype in ARRAYS.items()
    )
    if coordinates is None or colours is None or labels is None:
        return None
    offsets = np.arange(len(names) + 1, dtype=np.int64) * points
    return StoredRooms(tuple(names), tuple(areas), coordinates, colours, labels, offsets)
