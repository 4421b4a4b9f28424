"""Generated rooms on disk: made once, whole or absent, read as memory maps."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.base import Progress, Room
from bench.data.files import cannot_write, exclusive
from bench.data.rooms.roomset import StoredRooms
from bench.errors import SetupError

ARRAYS = ("points", "colours", "labels")


def stored_rooms(
    folder: Path,
    names: Sequence[str],
    areas: Sequence[int],
    points: int,
    make: Callable[[int], Room],
    progress: Progress,
) -> StoredRooms:
    """Return rooms from their folder, making them first where they are not there yet.

    The folder appears by one rename; processes that want the same wait for the one that makes it.

    Args:
        folder: Named by the manifest.
        names: Names of the rooms.
        areas: Their areas.
        points: Points of every room.
        make: Makes room i.
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
            _write(temporary, len(names), points, make, progress)
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


def _write(folder: Path, rooms: int, points: int, make: Callable[[int], Room], progress: Progress) -> None:
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
        with (folder / f"{name}.npy").open("wb") as stream:
            np.save(stream, array)
            stream.flush()
            os.fsync(stream.fileno())


def _open(folder: Path, names: Sequence[str], areas: Sequence[int], points: int) -> StoredRooms | None:
    """Open finished rooms; None where there are none or they are not whole."""
    total = len(names) * points
    try:
        coordinates, colours, labels = (
            np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in ARRAYS
        )
    except (OSError, ValueError, EOFError):
        return None
    if coordinates.shape != (total, 3) or colours.shape != (total, 3) or labels.shape != (total,):
        return None
    offsets = np.arange(len(names) + 1, dtype=np.int64) * points
    return StoredRooms(tuple(names), tuple(areas), coordinates, colours, labels, offsets)
