"""ShapeNetPart: part labels of 16 categories, as text or HDF5."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from bench.data.arrays import cloud, finite, missing_names, read_text
from bench.data.base import CloudSet, Dataset, DatasetCard, SplitName
from bench.data.converted import Column, Reader, convert
from bench.data.digest import manifest_digest
from bench.data.filelists import list_files
from bench.data.h5io import Fields
from bench.data.h5set import H5Dataset, data_root, holding_folder, natural_key, read_lines
from bench.data.resample import resample_index
from bench.data.texttable import read_table
from bench.errors import DataError
from bench.spec import Frozen

PARTS: dict[str, tuple[int, ...]] = {
    "Airplane": (0, 1, 2, 3),
    "Bag": (4, 5),
    "Cap": (6, 7),
    "Car": (8, 9, 10, 11),
    "Chair": (12, 13, 14, 15),
    "Earphone": (16, 17, 18),
    "Guitar": (19, 20, 21),
    "Knife": (22, 23),
    "Lamp": (24, 25, 26, 27),
    "Laptop": (28, 29),
    "Motorbike": (30, 31, 32, 33, 34, 35),
    "Mug": (36, 37),
    "Pistol": (38, 39, 40),
    "Rocket": (41, 42, 43),
    "Skateboard": (44, 45, 46),
    "Table": (47, 48, 49),
}
"""Published part ids of each category, in label order (docs/data-formats.md#shapenetpart)."""
TXT_FOLDER = "shapenetcore_partanno_segmentation_benchmark_v0_normal"
H5_FOLDERS = ("hdf5_data", "shapenet_part_seg_hdf5_data")
_TRAIN_LISTS, _TEST_LISTS = ("train", "val"), ("test",)
LISTS: dict[SplitName, tuple[str, ...]] = {"train": _TRAIN_LISTS, "test": _TEST_LISTS}
"""Released lists of each split; train and val together are the training split, from which validation is carved."""


def _card(summary: str, size: str, how_to_get: str, counts: dict[str, int] | None = None) -> DatasetCard:
    return DatasetCard(
        summary=summary,
        licence="ShapeNet: non-commercial research and education",
        terms="register with ShapeNet and accept its terms of use",
        citation="Yi et al., A Scalable Active Framework for Region Annotation in 3D Shape Collections, "
        "SIGGRAPH Asia 2016",
        normalisation="as stored; the Point-MAE family centres on the mean and scales the farthest point to radius 1",
        has_parts=True,
        size=size,
        counts=counts or {},
        how_to_get=how_to_get,
    )


def part_table(classes: Sequence[str]) -> dict[str, tuple[int, ...]] | None:
    """Return the published part ids of categories, or None.

    None if one of them is no category of ShapeNetPart.
    """
    return {name: PARTS[name] for name in classes} if set(classes) <= set(PARTS) else None


@dataclass(frozen=True)
class _Listed:
    """Objects of both splits: names ``<synset>/<model>`` and labels."""

    classes: tuple[str, ...]
    names: dict[SplitName, tuple[str, ...]]
    labels: dict[SplitName, npt.NDArray[np.int64]]


class ShapeNetPart(Dataset):
    """ShapeNetPart as text with normals, ``<synset>/<model>.txt``.

    Lines are x y z nx ny nz part. ``synsetoffset2category.txt`` names the categories in label order;
    ``train_test_split/shuffled_*_file_list.json`` list the objects. Clouds of about 2,600 points are resampled to
    `points` (`resample_index`), with repeated points only if a cloud has fewer, so that a protocol can draw from nearly
    all points. (The released loader draws 2,048 with replacement in every epoch; the published form does so, too.)

    Source: docs/data-formats.md#shapenetpart.
    """

    name: ClassVar[str] = "shapenetpart"
    needs_root: ClassVar[bool] = True
    card: ClassVar[DatasetCard] = _card(
        "ShapeNetPart as text with normals: 16 categories, 50 parts",
        "one text file per object; 98 kB per object in the cache at 3072 points",
        f"https://shapenet.cs.stanford.edu/media/{TXT_FOLDER}.zip (its certificate has expired); unpack, then "
        "shapenetpart:DIR",
    )
    revision: ClassVar[int] = 1

    class Options(Frozen):
        """Option of the number of points; it enters the key."""

        points: int = Field(3072, ge=16, le=65_536, description="points per cloud, by resampling")

    @cached_property
    def _folder(self) -> Path:
        root = data_root(self.place.root, self.name, "synsetoffset2category.txt and train_test_split")
        for folder in (root, root / TXT_FOLDER):
            if (folder / "synsetoffset2category.txt").is_file():
                return folder
        hint = holding_folder(root, "synsetoffset2category.txt")
        if any(root.glob("*train*.h5")) or any(root.glob("hdf5_data/*train*.h5")):
            hint = f"; it holds HDF5 files, try shapenetpart-h5:{root}"
        raise DataError(f"{root}: no synsetoffset2category.txt here{hint}")

    @cached_property
    def _categories(self) -> dict[str, str]:
        """Return the category name of each synset, in label order."""
        path, found = self._folder / "synsetoffset2category.txt", dict[str, str]()
        for number, line in enumerate(read_lines(path), start=1):
            words = line.split()
            if len(words) != 2:
                raise DataError(f"{path}: line {number} is '{line[:60]}', expected a name and a synset")
            name, synset = words
            if synset in found or name in found.values():
                raise DataError(f"{path}: line {number} names {name} {synset} a second time; remove one of the lines")
            found[synset] = name
        return found

    @cached_property
    def _listed(self) -> _Listed:
        synsets = list(self._categories)
        names: dict[SplitName, tuple[str, ...]] = {}
        labels: dict[SplitName, npt.NDArray[np.int64]] = {}
        seen: dict[str, Path] = {}
        for split, parts in LISTS.items():
            listed: list[str] = []
            for part in parts:
                path = self._folder / "train_test_split" / f"shuffled_{part}_file_list.json"
                for row, name in enumerate(_entries(path)):
                    if name.partition("/")[0] not in self._categories:
                        raise DataError(f"{path}: entry {row} is {name}, whose synset no category has")
                    if name in seen:
                        raise DataError(f"{path}: entry {row} is {name}, which {seen[name].name} lists already")
                    seen[name] = path
                    listed.append(name)
            names[split] = tuple(listed)
            labels[split] = np.asarray([synsets.index(name.partition("/")[0]) for name in listed], dtype=np.int64)
        self._check_files(seen)
        unseen = sorted(set(labels["test"].tolist()) - set(labels["train"].tolist()))
        classes = tuple(self._categories.values())
        if unseen:
            shown = ", ".join(classes[label] for label in unseen)
            raise DataError(f"{self._folder}: the test list has categories that no training object has: {shown}")
        return _Listed(classes, names, labels)

    def _check_files(self, listed: dict[str, Path]) -> None:
        by_synset: dict[str, list[str]] = {}
        for name in listed:
            synset, _, model = name.partition("/")
            by_synset.setdefault(synset, []).append(f"{model}.txt")
        for synset, wanted in by_synset.items():
            gone = missing_names(self._folder / synset, wanted)
            if gone:
                list_file = listed[f"{synset}/{gone[0].removesuffix('.txt')}"]
                more = f" (and {len(gone) - 1} more of that category)" if len(gone) > 1 else ""
                raise DataError(
                    f"{list_file}: lists {synset}/{gone[0]}, which is not in {self._folder}{more}; unpack the release "
                    "again"
                )

    def manifest(self) -> str:
        """Return the SHA-256 of all files and options."""
        entries: list[tuple[str, str, str]] = []
        lists = [f"train_test_split/shuffled_{part}_file_list.json" for parts in LISTS.values() for part in parts]
        heads = ["synsetoffset2category.txt", *lists]
        names = [*heads, *(f"{name}.txt" for split in LISTS for name in self._listed.names[split])]
        files = list_files(self._folder, names, self.place.cache, self.place.progress)
        entries = [("file", name, digest) for name, digest in zip(files.names, files.digests, strict=True)]
        return manifest_digest(self.name, self.revision, self.options.model_dump(mode="json"), entries)

    def train_size(self) -> int:
        """Return the number of objects of train and val."""
        return len(self._listed.names["train"])

    def classes(self) -> tuple[str, ...]:
        """Return category names in the order of ``synsetoffset2category.txt``."""
        return tuple(self._categories.values())

    def part_names(self) -> dict[str, tuple[int, ...]]:
        """Return the part ids of each category.

        Published ids, or for categories of other names those in the training split.
        """
        return part_table(self.classes()) or super().part_names()

    def load(self, split: SplitName) -> CloudSet:
        """Load one split from the converted cache.

        Coordinates are as stored.

        Raises:
            DataError: A file is invalid; the message names file and fault.
            SetupError: The cache cannot be written.
        """
        assert isinstance(self.options, self.Options)
        listed = self._listed
        files = list_files(
            self._folder, [f"{name}.txt" for name in listed.names[split]], self.place.cache, self.place.progress
        )
        reader = _reader(self._folder, self._categories, self.options.points)
        arrays = convert(files, reader, self.place.cache, self.place.progress).arrays
        return CloudSet(
            points=arrays["points"],
            labels=listed.labels[split],
            ids=listed.names[split],
            classes=listed.classes,
            normals=arrays["normals"],
            parts=arrays["parts"],
        )


def _entries(path: Path) -> list[str]:
    """Return the names ``<synset>/<model>`` of a released list.

    Its entries are ``shape_data/<synset>/<model>``.
    """
    try:
        entries = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not a JSON list ({str(error)[:120]}); unpack the release again") from error
    if not isinstance(entries, list) or not entries:
        raise DataError(f"{path}: expected a JSON list of shape_data/<synset>/<model>")
    names = []
    for row, entry in enumerate(entries):
        pieces = entry.split("/") if isinstance(entry, str) else []
        if len(pieces) != 3 or any(piece in ("", ".", "..") for piece in pieces):
            raise DataError(f"{path}: entry {row} is {str(entry)[:80]!r}, expected shape_data/<synset>/<model>")
        names.append(f"{pieces[1]}/{pieces[2]}")
    return names


def _reader(folder: Path, categories: dict[str, str], points: int) -> Reader:
    def read(path: Path) -> dict[str, npt.NDArray[Any]]:
        table = read_table(path, delimiter=None)
        if table.shape[1] != 7:
            raise DataError(f"{path}: has {table.shape[1]} numbers a line, expected 7: x y z nx ny nz part")
        name = path.relative_to(folder).with_suffix("").as_posix()
        category = categories[name.partition("/")[0]]
        allowed = PARTS.get(category, range(1000))
        wrong = np.flatnonzero(~np.isin(table[:, 6], allowed))
        if len(wrong):
            held = f"{allowed[0]} to {allowed[-1]}"
            raise DataError(f"{path}: line {wrong[0] + 1}: part is {table[wrong[0], 6]:g}, {category} has {held}")
        rows = resample_index(len(table), points, "shapenetpart", name)
        return {
            "points": cloud(table[:, :3], path)[rows],
            "normals": finite(table[:, 3:6], path, "normals")[rows],
            "parts": table[rows, 6].astype(np.int64),
        }

    columns = {
        "points": Column("float32", (points, 3)),
        "normals": Column("float32", (points, 3)),
        "parts": Column("int64", (points,)),
    }
    known: list[Any] = sorted([synset, name] for synset, name in categories.items())
    return Reader("shapenetpart-txt", columns, read, options={"categories": known})


class ShapeNetPartH5(H5Dataset):
    """ShapeNetPart as HDF5, ``hdf5_data``.

    Fields ``data`` [n,2048,3], ``label`` [n,1], ``pid`` [n,2048]. Files are matched as the field's loaders do
    (``*train*``, ``*val*``, ``*test*``), in numerical order; train and val make up the training split. Source:
    docs/data-formats.md#shapenetpart.
    """

    name: ClassVar[str] = "shapenetpart-h5"
    card: ClassVar[DatasetCard] = _card(
        "ShapeNetPart as HDF5: 16 categories, 50 parts, 2048 points, no normals",
        "HDF5 files; 0.41 GB of float32 clouds (16,881 of 2048 points) and 0.28 GB of part ids in memory",
        "https://shapenet.cs.stanford.edu/media/shapenet_part_seg_hdf5_data.zip (its certificate has expired); "
        "unpack, then shapenetpart-h5:DIR",
        counts={"train": 12_137 + 1_870, "test": 2_874},
    )
    fixed_classes: ClassVar[bool] = True
    fields: ClassVar[Fields] = Fields(parts="pid")

    def _folder(self) -> Path:
        root = data_root(self.place.root, self.name, "ply_data_train*.h5, ply_data_val*.h5 and ply_data_test*.h5")
        inside = (root / name for name in H5_FOLDERS)
        return next((folder for folder in (root, *inside) if any(folder.glob("*train*.h5"))), root)

    def _files(self, split: SplitName) -> list[Path]:
        folder, found = self._folder(), list[Path]()
        for part in LISTS[split]:
            files = sorted(folder.glob(f"*{part}*.h5"), key=lambda p: natural_key(p.name))
            if not files:
                hint = holding_folder(folder, f"*{part}*.h5")
                if (folder / "synsetoffset2category.txt").is_file():
                    hint = f"; it holds the text release, try shapenetpart:{folder}"
                raise DataError(f"{folder}: no *{part}*.h5 here{hint}")
            found += files
        return found

    def _class_list(self) -> Path | None:
        return None  # all_object_categories.txt has two columns; labels have the published order

    def _names_file(self, split: SplitName, path: Path) -> Path | None:
        return None

    def _known_classes(self, highest: int) -> tuple[str, ...] | None:
        return tuple(PARTS)

    def part_names(self) -> dict[str, tuple[int, ...]]:
        """Return the published part ids of each category."""
        return dict(PARTS)

    def load(self, split: SplitName) -> CloudSet:
        """Load one split, coordinates as stored.

        Raises:
            DataError: A file is invalid; the message names file and fault.
        """
        loaded = super().load(split)
        if loaded.parts is None:
            raise DataError(f"{self._folder()}: not every {split} file has the field 'pid' (part of each point)")
        for label, (category, allowed) in enumerate(PARTS.items()):
            rows = np.flatnonzero(loaded.labels == label)
            parts = loaded.parts[rows]
            if len(rows) and (parts.min() < allowed[0] or parts.max() > allowed[-1]):
                beyond = (parts < allowed[0]) | (parts > allowed[-1])
                row = int(np.argwhere(beyond)[0][0])
                raise DataError(
                    f"{self._folder()}: object {loaded.ids[rows[row]]} ({category}) has part "
                    f"{parts[row][beyond[row]][0]}, expected {allowed[0]} to {allowed[-1]}"
                )
        return loaded
