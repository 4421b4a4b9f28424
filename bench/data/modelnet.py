"""ModelNet40 and ModelNet10: text files with normals, or ``.dat`` cache.

The layout of ``modelnet40_normal_resampled``.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from bench.data.arrays import cloud, finite, missing_names
from bench.data.base import CloudSet, Dataset, DatasetCard, SplitName
from bench.data.converted import Column, Reader, convert
from bench.data.digest import file_digest, manifest_digest
from bench.data.filelists import FileList, list_files
from bench.data.h5set import SPLITS, data_root, holding_folder, natural_key, read_lines
from bench.data.modelnet_dat import read_dat
from bench.data.texttable import read_table
from bench.errors import DataError
from bench.spec import MOST_POINTS, Frozen

COUNTS = {40: {"train": 9_843, "test": 2_468}, 10: {"train": 3_991, "test": 908}}
"""Objects of the release per split by number of classes (docs/data-formats.md#modelnet40-as-text)."""


class Listed(NamedTuple):
    """Names and labels of a split's objects.

    Names such as ``airplane_0001``, labels int64 ``[n]``.
    """

    names: tuple[str, ...]
    labels: npt.NDArray[np.int64]


class ModelNet(Dataset):
    """ModelNet as text files ``<class>/<class>_0001.txt``, or ``.dat`` cache.

    Lines are ``x,y,z,nx,ny,nz``. The cache is the field's, if present. The root is that folder or the one that holds
    it. Clouds come as stored. The rows of a text file are in no particular order, so that the first k are a random
    choice of k. Source: docs/data-formats.md#modelnet40-as-text.
    """

    name: ClassVar[str] = "modelnet"
    needs_root: ClassVar[bool] = True
    card: ClassVar[DatasetCard] = DatasetCard(
        summary="ModelNet40 and ModelNet10, resampled with normals (text files, or the 8,192-point cache)",
        licence="none stated: the models' authors hold the copyright, the labels are free",
        terms="for the convenience of academic research only",
        citation="Wu et al., 3D ShapeNets: A Deep Representation for Volumetric Shapes, CVPR 2015",
        normalisation=(
            "the Point-MAE family centres each cloud on its mean and scales the farthest point to radius 1 before it "
            "draws points"
        ),
        size="12,311 text files of 10,000 rows, 1.5 GB in the cache; the two .dat files 2.4 GB, 1.2 GB in the cache",
        counts=COUNTS[40],
        how_to_get=(
            "https://shapenet.cs.stanford.edu/media/modelnet40_normal_resampled.zip (its certificate has expired), or "
            "the .dat files through Point-BERT's DATASET.md; unpack, then modelnet:DIR"
        ),
    )
    revision: ClassVar[int] = 1

    class Options(Frozen):
        """Options of the files and points; they enter the key."""

        categories: Literal[40, 10] = Field(40, description="10 reads the modelnet10_* lists")
        source: Literal["auto", "txt", "dat"] = Field(
            "auto", description="auto: the .dat cache (8,192 points by farthest point sampling) if present"
        )
        points: int | None = Field(
            None, ge=16, le=MOST_POINTS, description="points per cloud; default: all (10,000 or 8,192)"
        )
        pick: Literal["first", "random"] = Field(
            "first", description="choice of points if fewer are kept; random: fixed by the object's name"
        )
        normals: bool = Field(False, description="read normals, too")

    @property
    def _chosen(self) -> Options:
        assert isinstance(self.options, ModelNet.Options)
        return self.options

    @cached_property
    def _root(self) -> Path:
        wanted = f"{self._stem}_shape_names.txt"
        root = data_root(self.place.root, self.name, wanted)
        for folder in (root / "modelnet40_normal_resampled", root):
            if (folder / wanted).is_file():
                return folder
        raise DataError(f"{root}: no {wanted} here{holding_folder(root, wanted)}")

    @property
    def _stem(self) -> str:
        return f"modelnet{self._chosen.categories}"

    @cached_property
    def _class_list(self) -> Path:
        return self._root / f"{self._stem}_shape_names.txt"

    @cached_property
    def _caches(self) -> dict[SplitName, Path] | None:
        """Return the ``.dat`` files if they are to be read.

        Of several, the one with the most points.
        """
        found: dict[SplitName, list[Path]] = {
            split: sorted(self._root.glob(f"{self._stem}_{split}_*pts_fps.dat"), key=lambda p: natural_key(p.name))
            for split in SPLITS
        }
        source = self._chosen.source
        if source == "txt" or (source == "auto" and not all(found.values())):
            return None
        for split, paths in found.items():
            if not paths:
                raise DataError(f"{self._root}: no {self._stem}_{split}_8192pts_fps.dat here, which source=dat needs")
        return {split: paths[-1] for split, paths in found.items()}

    @cached_property
    def _listed(self) -> dict[SplitName, Listed]:
        names = self.classes()
        rank = {name: label for label, name in enumerate(names)}
        listed: dict[SplitName, Listed] = {}
        place: dict[str, str] = {}
        for split in SPLITS:
            path = self._root / f"{self._stem}_{split}.txt"
            lines = read_lines(path)
            labels = np.empty(len(lines), dtype=np.int64)
            for row, line in enumerate(lines):
                label = rank.get(line.rpartition("_")[0])
                if label is None:
                    raise DataError(
                        f"{path}: line {row + 1} is {line[:60]!r}, expected <class>_<number> with a class of "
                        f"{self._class_list.name}"
                    )
                if line in place:
                    raise DataError(f"{path}: line {row + 1} names {line} again, after {place[line]}; remove one")
                place[line] = f"line {row + 1} of {path.name}"
                labels[row] = label
            listed[split] = Listed(tuple(lines), labels)
            empty = sorted(set(range(len(names))) - set(labels.tolist())) if split == "train" else []
            if empty:
                raise DataError(
                    f"{path}: class '{names[empty[0]]}' has no training object; add one or remove the class"
                )
        return listed

    def known_counts(self) -> dict[str, int]:
        """Return the release's numbers of objects per split.

        For 40 or 10 classes.
        """
        return dict(COUNTS[self._chosen.categories])

    def classes(self) -> tuple[str, ...]:
        """Return class names, index = label.

        Raises:
            DataError: The list is missing or invalid.
        """
        names = tuple(read_lines(self._class_list))
        if len(set(names)) != len(names):
            again = next(name for row, name in enumerate(names) if name in names[:row])
            raise DataError(f"{self._class_list}: names class '{again}' twice; names must differ")
        return names

    def train_size(self) -> int:
        """Return the number of training objects from their list."""
        return len(self._listed["train"].names)

    @cached_property
    def _files(self) -> dict[SplitName, FileList]:
        files: dict[SplitName, FileList] = {}
        for split in SPLITS:
            if self._caches is not None:
                names = [self._caches[split].name]
            else:
                names = [f"{name.rpartition('_')[0]}/{name}.txt" for name in self._listed[split].names]
                self._check_there(split, names)
            files[split] = list_files(self._root, names, self.place.cache, self.place.progress)
        return files

    def _check_there(self, split: SplitName, names: list[str]) -> None:
        by_class: dict[str, list[str]] = {}
        for name in names:
            folder, _, file = name.partition("/")
            by_class.setdefault(folder, []).append(file)
        lacking: list[Path] = []
        for folder, wanted in by_class.items():
            below = self._root / folder
            lacking += [below / file for file in (missing_names(below, wanted) if below.is_dir() else wanted)]
        if lacking:
            raise DataError(
                f"{lacking[0]}: no such file, though {self._stem}_{split}.txt lists it "
                f"({len(lacking)} of {len(names)} are missing)"
            )

    def manifest(self) -> str:
        """Return the SHA-256 of lists, clouds and options.

        See `Dataset.manifest`.
        """
        return self._manifest

    @cached_property
    def _manifest(self) -> str:
        listed = [("classes", self._class_list.name, file_digest(self._class_list, self.place.cache))]
        for split in SPLITS:
            path = self._root / f"{self._stem}_{split}.txt"
            listed.append((split, path.name, file_digest(path, self.place.cache)))
            listed.append((f"{split} clouds", f"{len(self._files[split])} files", self._files[split].digest))
        return manifest_digest(self.name, self.revision, self.options.model_dump(mode="json"), listed)

    def load(self, split: SplitName) -> CloudSet:
        """Load one split, coordinates as stored.

        Raises:
            DataError: A file is invalid; the message names file and fault.
        """
        listed, files, options = self._listed[split], self._files[split], self._chosen
        if self._caches is None:
            reader = _text_reader(options.points, options.pick, options.normals)
        else:
            reader = _cache_reader(listed, options.points, options.pick, options.normals)
        arrays = convert(files, reader, self.place.cache, self.place.progress).arrays
        return CloudSet(
            points=arrays["points"],
            labels=listed.labels,
            ids=listed.names,
            classes=self.classes(),
            normals=arrays.get("normals"),
        )


def _text_reader(points: int | None, pick: str, normals: bool) -> Reader:
    def read(path: Path) -> dict[str, npt.NDArray[Any]]:
        table = read_table(path)
        if table.shape[1] not in (3, 6) or (normals and table.shape[1] != 6):
            expected = "6: x,y,z,nx,ny,nz" if normals else "6: x,y,z,nx,ny,nz, or 3"
            raise DataError(f"{path}: rows have {table.shape[1]} numbers, expected {expected}")
        if points is not None:
            if len(table) < points:
                raise DataError(
                    f"{path}: has {len(table)} points, expected at least {points}; set data.points={len(table)}"
                )
            table = table[picked(path.stem, len(table), points, pick)]
        read = {"points": cloud(table[:, :3], path)}
        return {**read, "normals": finite(table[:, 3:], path, "normals")} if normals else read

    names = ["points", "normals"] if normals else ["points"]
    return Reader("modelnet-txt", {k: Column("float32", (points, 3)) for k in names}, read, options={"pick": pick})


def _cache_reader(listed: Listed, points: int | None, pick: str, normals: bool) -> Reader:
    def read(path: Path) -> dict[str, npt.NDArray[Any]]:
        cached = read_dat(path, listed.labels, normals)
        for name, rows in cached.items():
            if points is not None and rows.shape[1] < points:
                raise DataError(f"{path}: clouds have {rows.shape[1]} points, expected at least {points}")
            if points is not None and points < rows.shape[1]:
                chosen = [picked(one, rows.shape[1], points, pick) for one in listed.names]
                cached[name] = np.stack([row[index] for row, index in zip(rows, chosen, strict=True)])
        return cached

    names = ["points", "normals"] if normals else ["points"]
    columns = {name: Column("float32", (None, points, 3), ragged=True) for name in names}
    objects = "\n".join(f"{name} {label}" for name, label in zip(listed.names, listed.labels.tolist(), strict=True))
    order = hashlib.sha256(objects.encode("utf-8", "surrogateescape")).hexdigest()
    return Reader("modelnet-dat", columns, read, options={"pick": pick, "objects": order})


def picked(name: str, count: int, points: int, pick: str) -> npt.NDArray[np.int64]:
    """Return the rows of an object to keep.

    The first ones, or a random choice fixed by the object's name.
    """
    if pick == "first":
        return np.arange(points, dtype=np.int64)
    seed = int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:8], "big")
    draws = np.random.Generator(np.random.PCG64(seed)).random(count)
    return np.sort(np.argsort(draws, kind="stable")[:points]).astype(np.int64)
