"""S3DIS rooms as ``.npy``, or blocks as HDF5."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from bench.data.arrays import read_npy
from bench.data.base import DatasetCard, Room
from bench.data.converted import Column, Reader, convert
from bench.data.coordinates import Name, check_coordinates, of_field, of_file, transposed
from bench.data.digest import manifest_digest
from bench.data.filelists import FileList, list_files
from bench.data.h5io import open_field, open_h5
from bench.data.h5set import data_root, holding_folder, natural_key, read_lines
from bench.data.rooms.roomset import CLASSES, RoomSet, StoredRooms, area_of
from bench.errors import DataError

_TERMS = "S3DIS: fill in the owners' form first; it states the terms"
_CITATION = "Armeni et al., 3D Semantic Parsing of Large-Scale Indoor Spaces, CVPR 2016"
LONGEST_ROOM = 10_000
"""Largest side of a room in metres, since its blocks of one metre are visited one by one."""
_FORM = "form: https://goo.gl/forms/4SoGp4KtH1jfRqEj2"


class S3DIS(RoomSet):
    """S3DIS rooms, ``stanford_indoor3d/Area_<k>_<room>.npy``.

    Arrays ``[N, 7]``: x y z r g b label (docs/data-formats.md#s3dis). The root may be that folder or the one that holds
    it. The first read converts the rooms to float32 coordinates and bytes in the cache; a room is then looked into
    without reading the others.
    """

    name: ClassVar[str] = "s3dis"
    needs_root: ClassVar[bool] = True
    card: ClassVar[DatasetCard] = DatasetCard(
        summary="S3DIS, 13 classes: whole rooms (stanford_indoor3d, one .npy per room)",
        licence="not known here; the owners' terms apply",
        terms=_TERMS,
        citation=_CITATION,
        normalisation=(
            "metres, z up, each room's least coordinates at 0; networks see 9 channels of blocks of 1 m: xy relative "
            "to the block's centre, z, rgb / 255, xyz divided by the room's maximum"
        ),
        has_rooms=True,
        size="one .npy file per room, 56 bytes a point where it holds float64; 16 bytes a point in the cache",
        how_to_get=(
            f"{_FORM}; Stanford3dDataset_v1.2_Aligned_Version, prepared by the field's collect_indoor3d_data script "
            "to stanford_indoor3d, then s3dis:DIR"
        ),
    )
    revision: ClassVar[int] = 1

    def _folder(self) -> Path:
        root = data_root(self.place.root, self.name, "Area_<k>_<room>.npy, one per room")
        inside = root / "stanford_indoor3d"
        return inside if inside.is_dir() else root

    @cached_property
    def _names(self) -> tuple[str, ...]:
        folder = self._folder()
        found = sorted((p.name for p in folder.glob("*.npy") if not p.name.startswith(".")), key=natural_key)
        if not found:
            hint = holding_folder(folder, "Area_*.npy")
            if any(folder.glob("ply_data_all_*.h5")):
                hint = f"; it holds the HDF5 blocks, try s3dis-h5:{folder}"
            if any(folder.glob("Area_*/*/Annotations")):
                hint = "; it holds the raw release: prepare it by the field's collect_indoor3d_data script first"
            raise DataError(f"{folder}: no Area_<k>_<room>.npy here{hint}")
        for name in found:
            if area_of(name) is None:
                raise DataError(f"{folder / name}: its name has no area; expected a name like Area_5_office_3.npy")
        _check_areas(folder, [area_of(name) or 0 for name in found], self.test_area)
        return tuple(found)

    @property
    def _listed(self) -> FileList:
        return list_files(self._folder(), self._names, self.place.cache, self.place.progress)

    def areas(self) -> tuple[int, ...]:
        """Return the area of every room, from its file's name."""
        return tuple(area_of(name) or 0 for name in self._names)

    def manifest(self) -> str:
        """Return the SHA-256 of all rooms' files and the options."""
        files = self._listed
        listed = [("room", name, digest) for name, digest in zip(files.names, files.digests, strict=True)]
        return manifest_digest(self.name, self.revision, self.options.model_dump(mode="json"), listed)

    def rooms(self) -> Sequence[Room]:
        """Return all rooms, converted and checked at the first call.

        Raises:
            DataError: A file is invalid; the message names file and fault.
            SetupError: The cache cannot be written.
        """
        found = convert(self._listed, _ROOM_READER, self.place.cache, self.place.progress)
        return StoredRooms(
            names=tuple(name.removesuffix(".npy") for name in self._names),
            areas=self.areas(),
            points=found.arrays["points"],
            colours=found.arrays["colours"],
            labels=found.arrays["labels"],
            offsets=found.offsets["points"],
        )


def _check_areas(folder: Path, areas: Sequence[int], test_area: int) -> None:
    if test_area not in areas:
        held = ", ".join(str(area) for area in sorted(set(areas)))
        raise DataError(f"{folder}: no room of Area {test_area}, which is the test split; there are areas {held}")
    if set(areas) == {test_area}:
        raise DataError(f"{folder}: only rooms of Area {test_area}, which is the test split; training needs others")


def _read_room(path: Path) -> dict[str, npt.NDArray[Any]]:
    table = read_npy(path, kinds="fiu")
    if table.ndim != 2 or table.shape[1] != 7:
        raise DataError(f"{path}: has shape {table.shape}, expected [N, 7]: x y z r g b label{transposed(table.shape)}")
    if not len(table):
        raise DataError(f"{path}: holds no points")
    _check_rooms(table[None, :, :3], of_file(f"{path}: points"))
    return {
        "points": (table[:, :3] - table[:, :3].min(axis=0)).astype(np.float32),
        "colours": _bytes(table[:, 3:6], path, "colour", 255),
        "labels": _bytes(table[:, 6:], path, "label", len(CLASSES) - 1)[:, 0],
    }


def _check_rooms(points: npt.NDArray[Any], name: Name) -> None:
    """Check coordinates of rooms ``[n, N, 3]``, in metres."""
    low, high = check_coordinates(points, name)
    extent = (high - low).max(axis=1)
    large = np.flatnonzero(extent > LONGEST_ROOM)
    if len(large):
        row = int(large[0])
        raise DataError(
            f"{name(row, None)}: spans {extent[row]:,.0f}, expected metres (at most {LONGEST_ROOM:,} in a room)"
        )


def _bytes(values: npt.NDArray[Any], path: Path, what: str, most: int) -> npt.NDArray[np.uint8]:
    """Return columns as bytes; they hold 0 to `most`."""
    wrong = ~((values >= 0) & (values <= most) & (values == np.rint(values)))  # also true of NaN
    if wrong.any():
        row = int(np.argwhere(wrong)[0][0])
        raise DataError(
            f"{path}: row {row}: {what} is {values[row][wrong[row]][0]}, expected a whole number from 0 to {most}"
        )
    return values.astype(np.uint8)


_ROOM_READER = Reader(
    name="s3dis-rooms",
    columns={
        "points": Column("float32", (None, 3), ragged=True),
        "colours": Column("uint8", (None, 3), ragged=True),
        "labels": Column("uint8", (None,), ragged=True),
    },
    read=_read_room,
)


class S3DISH5(RoomSet):
    """S3DIS blocks, ``indoor3d_sem_seg_hdf5_data``.

    Fields ``data`` [n,4096,9] and ``label`` [n,4096] (docs/data-formats.md#s3dis). The release cuts each room into
    columns of 1 m x 1 m and draws 4096 points from each; the position of a column in its room is only known relative to
    the room's size. So **each block counts as a room**, named ``<room>#<number of the block in its room>`` by
    ``room_filelist.txt``: its first three channels, shifted so that the least coordinates are 0, and channels 3 to 5
    (rgb / 255) as colours. Channels 6 to 8 are not read; features relative to the room's size are therefore relative to
    the block's. `train_size` counts blocks.
    """

    name: ClassVar[str] = "s3dis-h5"
    needs_root: ClassVar[bool] = True
    card: ClassVar[DatasetCard] = DatasetCard(
        summary="S3DIS, 13 classes: blocks of 1 m x 1 m with 4096 points (indoor3d_sem_seg_hdf5_data)",
        licence="not known here; the owners' terms apply",
        terms=_TERMS,
        citation=f"{_CITATION}; blocks by Qi et al., PointNet, CVPR 2017",
        normalisation="metres, z up; x and y stored relative to the block's centre, here shifted to begin at 0",
        has_rooms=True,
        size="HDF5 files and two lists; a block of 4096 points takes 66 kB in the cache",
        how_to_get=(
            f"{_FORM}; https://shapenet.cs.stanford.edu/media/indoor3d_sem_seg_hdf5_data.zip (its certificate has "
            "expired); unpack, then s3dis-h5:DIR"
        ),
    )
    revision: ClassVar[int] = 1

    def _folder(self) -> Path:
        root = data_root(self.place.root, self.name, "all_files.txt, room_filelist.txt and ply_data_all_*.h5")
        inside = root / "indoor3d_sem_seg_hdf5_data"
        return inside if inside.is_dir() else root

    @cached_property
    def _files(self) -> tuple[str, ...]:
        folder = self._folder()
        listed = folder / "all_files.txt"
        if listed.is_file():
            names: list[str] = []
            for number, line in enumerate(read_lines(listed), start=1):
                name = re.split(r"[\\/]", line)[-1]
                if not (folder / name).is_file():
                    raise DataError(f"{listed}: line {number} names {name}, which is not in {folder}")
                if name in names:
                    raise DataError(f"{listed}: line {number} names {name} a second time; remove one of the lines")
                names.append(name)
            return tuple(names)
        found = sorted((p.name for p in folder.glob("ply_data_all_*.h5")), key=natural_key)
        if not found:
            hint = holding_folder(folder, "ply_data_all_*.h5")
            if any(folder.glob("Area_*.npy")):
                hint = f"; it holds whole rooms, try s3dis:{folder}"
            raise DataError(f"{folder}: no ply_data_all_*.h5 (nor all_files.txt) here{hint}")
        return tuple(found)

    @cached_property
    def _rooms(self) -> tuple[str, ...]:
        """Return the room of every block."""
        folder = self._folder()
        listed = folder / "room_filelist.txt"
        if not listed.is_file():
            raise DataError(f"{listed}: no such file; it names the room of every block, without it areas are unknown")
        rooms = read_lines(listed)
        for number, name in enumerate(rooms, start=1):
            if area_of(name) is None:
                raise DataError(f"{listed}: line {number} is '{name[:60]}', expected a room like Area_5_office_3")
        _check_areas(listed, [area_of(name) or 0 for name in rooms], self.test_area)
        return tuple(rooms)

    @property
    def _listed(self) -> FileList:
        return list_files(self._folder(), self._files, self.place.cache, self.place.progress)

    def areas(self) -> tuple[int, ...]:
        """Return the area of every block, from its room's name."""
        return tuple(area_of(name) or 0 for name in self._rooms)

    def manifest(self) -> str:
        """Return the SHA-256 of all files and the options.

        The list of rooms is one of the files.
        """
        files = self._listed
        listed = [("blocks", name, digest) for name, digest in zip(files.names, files.digests, strict=True)]
        rooms = list_files(self._folder(), ["room_filelist.txt"], self.place.cache)
        listed.append(("rooms", "room_filelist.txt", rooms.digests[0]))
        return manifest_digest(self.name, self.revision, self.options.model_dump(mode="json"), listed)

    def rooms(self) -> Sequence[Room]:
        """Return all blocks as rooms.

        They are converted and checked at the first call.

        Raises:
            DataError: A file is invalid; the message names file and fault.
            SetupError: The cache cannot be written.
        """
        rooms, folder = self._rooms, self._folder()
        found = convert(self._listed, _BLOCK_READER, self.place.cache, self.place.progress)
        points, colours, labels = (found.arrays[name] for name in ("points", "colours", "labels"))
        if len(points) != len(rooms):
            raise DataError(
                f"{folder / 'room_filelist.txt'}: names the rooms of {len(rooms)} blocks but the HDF5 files hold "
                f"{len(points)}; copy or download it again"
            )
        seen: Counter[str] = Counter()
        names = []
        for name in rooms:
            names.append(f"{name}#{seen[name]}")
            seen[name] += 1
        each = points.shape[1]
        return StoredRooms(
            names=tuple(names),
            areas=self.areas(),
            points=points.reshape(-1, 3),
            colours=colours.reshape(-1, 3),
            labels=labels.reshape(-1),
            offsets=np.arange(len(rooms) + 1, dtype=np.int64) * each,
        )


def _read_blocks(path: Path) -> dict[str, npt.NDArray[Any]]:
    with open_h5(path) as file:
        data, label = (open_field(file, path, name) for name in ("data", "label"))
        if data.ndim != 3 or data.shape[2] != 9 or data.dtype.kind != "f" or 0 in data.shape:
            raise DataError(f"{path}: field 'data' is {data.dtype} {data.shape}, expected floats [n, N, 9]")
        if label.shape != data.shape[:2] or label.dtype.kind not in "iu":
            raise DataError(
                f"{path}: field 'label' is {label.dtype} {label.shape}, expected whole numbers {data.shape[:2]}, "
                "one per point of 'data'"
            )
        # Contiguous selections only: HDF5 reads a chunk once.
        block = np.asarray(data[()])
        labels = np.asarray(label[()])
    if not np.isfinite(block).all():
        row, point, channel = (int(i) for i in np.argwhere(~np.isfinite(block))[0])
        raise DataError(f"{path}: field 'data' row {row} point {point} channel {channel} is not finite")
    xyz = block[:, :, :3].astype(np.float64)  # moved to the origin before it is cast
    _check_rooms(xyz, of_field(f"{path}: field 'data'"))
    rgb = block[:, :, 3:6]
    if rgb.min() < -0.01 or rgb.max() > 1.01:
        raise DataError(f"{path}: field 'data' channels 3 to 5 reach from {rgb.min()} to {rgb.max()}, expected 0 to 1")
    if labels.min() < 0 or labels.max() >= len(CLASSES):
        row = int(np.argwhere((labels < 0) | (labels >= len(CLASSES)))[0][0])
        raise DataError(f"{path}: field 'label' row {row} holds a class outside 0 to {len(CLASSES) - 1}")
    return {
        "points": (xyz - xyz.min(axis=1, keepdims=True)).astype(np.float32),
        "colours": np.rint(np.clip(rgb, 0, 1) * 255).astype(np.uint8),
        "labels": labels.astype(np.uint8),
    }


_BLOCK_READER = Reader(
    name="s3dis-blocks",
    columns={
        "points": Column("float32", (None, None, 3), ragged=True),
        "colours": Column("uint8", (None, None, 3), ragged=True),
        "labels": Column("uint8", (None, None), ragged=True),
    },
    read=_read_blocks,
)
