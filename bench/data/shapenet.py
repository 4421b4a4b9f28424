"""ShapeNet-55, -34 and -Unseen21 in Point-BERT's and PoinTr's layout.

With ReCon's pictures and captions.
"""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple, TypeVar, cast

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator

from bench.data.arrays import cloud, missing_names, read_npy
from bench.data.base import CloudSet, Dataset, DatasetCard, SplitName
from bench.data.converted import Column, Deferred, Reader, convert
from bench.data.digest import file_digest, manifest_digest
from bench.data.filelists import FileList, list_files
from bench.data.h5set import data_root, holding_folder, read_lines
from bench.data.holdout import hold_out, shuffled_by_name
from bench.data.pictures import read_picture
from bench.data.rows import select
from bench.data.shapenet_names import categories
from bench.data.splits import Index
from bench.errors import DataError
from bench.spec import Frozen

FOLDERS = {"55": "ShapeNet-55", "34": "ShapeNet-34", "unseen21": "ShapeNet-Unseen21"}
Kind = TypeVar("Kind", bound=np.generic)
ENTRY = re.compile(r"[0-9]+-[^/\\]+\.npy")
HELD_OUT = 0.2
"""Share of each category for the test split of subsets with a single list (Unseen21)."""


class Objects(NamedTuple):
    """Objects of a subset, from its lists.

    Attributes:
        stems: ``<synset>-<model>`` of every object; test list first, then train list.
        labels: int64 ``[n]``.
        classes: Class names, index = label.
        captions: One per class.
        train: Positions of the training split.
        test: Positions of the test split.
    """

    stems: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    captions: tuple[str, ...]
    train: Index
    test: Index


class ShapeNet55(Dataset):
    """ShapeNet-55: clouds, and optional pictures and captions.

    Below ``ShapeNet55-34/``: ``shapenet_pc/*.npy``, lists, and if present ``shapenet_img/*.png`` and
    ``shapenet55.json``. The root is that folder or the one that holds it. A label is the object's category. Clouds come
    as stored. The caption of an object is its category in words: ReCon's file if present, else ShapeNet's own
    name. Pictures are decoded when a method first asks for them. Source: docs/data-formats.md#shapenet-55.
    """

    name: ClassVar[str] = "shapenet55"
    needs_root: ClassVar[bool] = True
    card: ClassVar[DatasetCard] = DatasetCard(
        summary="ShapeNet-55/34/Unseen21 clouds of 8,192 points, the pretraining set of the field",
        licence="ShapeNet: non-commercial research and education",
        terms="register with ShapeNet and accept its terms of use",
        citation=(
            "Chang et al., ShapeNet: An Information-Rich 3D Model Repository, 2015; lists and clouds: Yu et al., "
            "PoinTr, ICCV 2021, and Point-BERT, CVPR 2022; pictures and captions: Qi et al., ReCon, ICML 2023"
        ),
        normalisation=(
            "Point-MAE, ACT and ReCon draw 1,024 of the 8,192 points, then centre on the mean and scale the farthest "
            "point to radius 1"
        ),
        has_images=True,
        has_captions=True,
        size="5.2 GB of float32 .npy (52,470 files), converted once into as much cache; pictures of 224 x 224: 7.9 GB",
        counts={"train": 41_952, "test": 10_518},
        how_to_get=(
            "Google Drive file 1jUB5yD7DP97-EqqU2A9mmr61JpNwZBVK, linked in Point-BERT's DATASET.md; the lists of "
            "ShapeNet-34 and -Unseen21 come with PoinTr; pictures, captions and their own train.txt and test.txt "
            "through ReCon's DATASET.md; unpack, then shapenet55:DIR"
        ),
    )
    revision: ClassVar[int] = 1

    class Options(Frozen):
        """Options of the objects to read; they enter the key."""

        subset: Literal["55", "34", "unseen21"] = Field(
            "55", description="subset whose lists are read; with test.txt alone (unseen21), a fixed fifth is held out"
        )
        whole: bool = Field(
            False, description="train on the test list, too, as ReCon does; the test split is then no longer unseen"
        )
        fraction: float = Field(
            1.0, gt=0, le=1, description="share of the training objects, nested, chosen by hash of their names"
        )
        reference: bool = Field(
            False,
            description="as released by ReCon: a fraction keeps the beginning of the list (test lines first), and "
            "pictures drop their transparency",
        )
        images: Literal["auto", "off"] = Field("auto", description="auto: read shapenet_img if present")
        view_size: int = Field(224, ge=16, le=512, description="height and width of the pictures")

        @field_validator("images", mode="before")
        @classmethod
        def _yaml_off(cls, value: object) -> object:
            """Read a bare ``off``, which YAML parses as false.

            For example in ``--set data.images=off``.
            """
            return "off" if value is False else value

    @property
    def _chosen(self) -> Options:
        assert isinstance(self.options, ShapeNet55.Options)
        return self.options

    @cached_property
    def _root(self) -> Path:
        root = data_root(self.place.root, self.name, "shapenet_pc and ShapeNet-55")
        for folder in (root / "ShapeNet55-34", root):
            if (folder / "shapenet_pc").is_dir():
                return folder
        hint = holding_folder(root, "shapenet_pc")
        raise DataError(f"{root}: no shapenet_pc here, nor ShapeNet55-34/shapenet_pc{hint}")

    @cached_property
    def _lists(self) -> dict[SplitName, Path]:
        """Return the list files, test first."""
        folder = self._root / FOLDERS[self._chosen.subset]
        lists: dict[SplitName, Path] = {"test": folder / "test.txt", "train": folder / "train.txt"}
        for split, path in lists.items():
            if not path.is_file() and not (split == "train" and self._chosen.subset == "unseen21"):
                raise DataError(f"{path}: no such file; the lists of {folder.name} come with Point-BERT or PoinTr")
        return {split: path for split, path in lists.items() if path.is_file()}

    @cached_property
    def _describe(self) -> Path | None:
        path = self._root / "shapenet55.json"
        return path if path.exists() else None

    @cached_property
    def _objects(self) -> Objects:
        stems: list[str] = []
        sizes: dict[SplitName, int] = {}
        place: dict[str, tuple[SplitName, int]] = {}
        for split, path in self._lists.items():
            names = read_lines(path)
            for number, name in enumerate(names, start=1):
                if ENTRY.fullmatch(name) is None:
                    raise DataError(f"{path}: line {number} is {name[:60]!r}, expected <synset>-<model>.npy")
                first = place.setdefault(name, (split, number))
                if first != (split, number):
                    where = f"line {first[1]} of {self._lists[first[0]].name}"
                    raise DataError(f"{path}: line {number} names {name} again, after {where}; remove one")
            sizes[split] = len(names)
            stems += [name.removesuffix(".npy") for name in names]
        synsets = [stem.split("-", 1)[0] for stem in stems]
        order, classes, captions = categories(synsets, self._describe)
        rank = {synset: label for label, synset in enumerate(order)}
        labels = np.asarray([rank[synset] for synset in synsets], dtype=np.int64)
        if "train" in sizes:
            test, train = np.split(np.arange(len(stems), dtype=np.int64), [sizes["test"]])
        else:
            train, test = hold_out(stems, labels, HELD_OUT)
        unseen = sorted(set(labels[test].tolist()) - set(labels[train].tolist()))
        if unseen:
            shown = ", ".join(f"{order[label]} ({classes[label]})" for label in unseen[:5])
            raise DataError(
                f"{self._lists['test']}: categories that no training object has: {shown}; add some, or remove these"
            )
        return Objects(tuple(stems), labels, classes, captions, train, test)

    @cached_property
    def _clouds(self) -> FileList:
        return self._listed_files("shapenet_pc", ".npy", "")

    @cached_property
    def _pictures(self) -> FileList | None:
        if self._chosen.images == "off" or not (self._root / "shapenet_img").is_dir():
            return None
        hint = "; ReCon's pictures need the train.txt and test.txt that come with them (or data.images=off)"
        return self._listed_files("shapenet_img", ".png", hint)

    def _listed_files(self, below: str, suffix: str, hint: str) -> FileList:
        folder, names = self._root / below, [stem + suffix for stem in self._objects.stems]
        try:
            return list_files(folder, names, self.place.cache, self.place.progress)
        except DataError as error:
            missing = missing_names(folder, names)
            if not missing:
                raise
            raise DataError(
                f"{folder / missing[0]}: no such file, though {self._lists['test'].parent} lists it "
                f"({len(missing)} of {len(names)} are missing){hint}"
            ) from error

    def manifest(self) -> str:
        """Return the SHA-256 of all files and options.

        Lists, clouds, pictures and captions (see `Dataset.manifest`).
        """
        return self._manifest

    @cached_property
    def _manifest(self) -> str:
        listed: list[tuple[str, str, str]] = [
            (split, path.name, file_digest(path, self.place.cache)) for split, path in self._lists.items()
        ]
        listed.append(("clouds", f"{len(self._clouds)} files", self._clouds.digest))
        if self._pictures is not None:
            listed.append(("pictures", f"{len(self._pictures)} files", self._pictures.digest))
        if self._describe is not None:
            listed.append(("captions", self._describe.name, file_digest(self._describe, self.place.cache)))
        return manifest_digest(self.name, self.revision, self.options.model_dump(mode="json"), listed)

    def known_counts(self) -> dict[str, int]:
        """Return the numbers of objects in Point-BERT's lists.

        ReCon's lists, which come with pictures, are not counted.
        """
        options, (train, test) = self._chosen, self.card.counts.values()
        if options.subset != "55" or options.fraction < 1 or self.offers_images():
            return {}
        return {"train": train + test if options.whole else train, "test": test}

    def offers_images(self) -> bool:
        """Return whether ``shapenet_img`` exists and is requested."""
        return self._pictures is not None

    def classes(self) -> tuple[str, ...]:
        """Return the names of the listed categories, index = label."""
        return self._objects.classes

    def train_size(self) -> int:
        """Return the number of training objects from the lists."""
        return len(self._index("train"))

    def _index(self, split: SplitName) -> Index:
        objects, options = self._objects, self._chosen
        if split == "test":
            return objects.test
        index = np.arange(len(objects.stems), dtype=np.int64) if options.whole else objects.train
        kept = max(1, int(len(index) * options.fraction))
        if kept == len(index):
            return index
        if options.reference:
            return index[:kept]
        order = shuffled_by_name([objects.stems[i] for i in index.tolist()], "fraction")
        return np.sort(index[order[:kept]])

    def load(self, split: SplitName) -> CloudSet:
        """Load one split.

        Complete lists stay memory maps; other objects are read into memory if they fit.

        Raises:
            DataError: A file is invalid; the message names file and fault.
        """
        objects, index = self._objects, self._index(split)
        points = convert(self._clouds, POINTS, self.place.cache, self.place.progress).arrays["points"]
        labels = objects.labels[index]
        pictures = self._views(index)
        return CloudSet(
            points=take(points, index),
            labels=labels,
            ids=tuple(objects.stems[i] for i in index.tolist()),
            classes=objects.classes,
            captions=tuple(objects.captions[label] for label in labels.tolist()),
            views=pictures,
            views_kind="shaded" if pictures is not None else None,
        )

    def _views(self, index: Index) -> npt.NDArray[np.uint8] | None:
        files, size, reference = self._pictures, self._chosen.view_size, self._chosen.reference
        if files is None:
            return None
        reader = picture_reader(size, reference)

        def make() -> npt.NDArray[np.uint8]:
            views = convert(files, reader, self.place.cache, self.place.progress).arrays["views"]
            return take(views[:, None], index)

        return cast("npt.NDArray[np.uint8]", Deferred((len(index), 1, size, size, 3), "uint8", make))


def _read_cloud(path: Path) -> dict[str, npt.NDArray[np.float32]]:
    return {"points": cloud(read_npy(path), path)}


POINTS = Reader("shapenet-npy", {"points": Column("float32", (None, 3))}, _read_cloud)


def picture_reader(size: int, keep_hidden: bool) -> Reader:
    """Return the reader of one picture per file.

    See `read_picture`.
    """
    return Reader(
        "pictures",
        {"views": Column("uint8", (size, size, 3))},
        lambda path: {"views": read_picture(path, size, keep_hidden=keep_hidden)},
        options={"hidden": keep_hidden},
    )


def take(array: npt.NDArray[Kind], index: Index) -> npt.NDArray[Kind]:
    """Return rows of a memory map.

    Consecutive rows are a view; others are selected as by `bench.data.rows.select`.
    """
    if len(index) and index[-1] - index[0] == len(index) - 1 and (np.diff(index) == 1).all():
        return array[index[0] : index[-1] + 1]
    return select(array, index)
