"""Data set of the field's few-shot folds.

Supports are its training split, queries its test split.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from bench.data.base import CloudSet, Dataset, DatasetCard, GivenFold, SplitName
from bench.data.converted import Column, Converted, Reader, convert
from bench.data.digest import manifest_digest
from bench.data.fewshot_pickles import FOLDS, load_fold
from bench.data.filelists import FileList, list_files
from bench.data.h5set import data_root, holding_folder, natural_key
from bench.data.labels import Held, count_unnamed
from bench.data.modelnet_names import MODELNET40
from bench.errors import DataError

RELEASED = ("5w10s", "5w20s", "10w10s", "10w20s")
"""Settings of the release (docs/data-formats.md#few-shot-folds)."""
FOLDER = re.compile(r"(\d+)way_?(\d+)shot")
"""Name of a setting's folder: ``5way_10shot`` as in the code, or ``5way10shot`` as in the README."""


class FewShotPickles(Dataset):
    """Few-shot folds of ``ModelNetFewshot``, read without running the pickles.

    The files are ``{way}way_{shot}shot/{fold}.pkl``.
    """

    name: ClassVar[str] = "fewshot-pickles"
    revision: ClassVar[int] = 1
    needs_root: ClassVar[bool] = True
    card: ClassVar[DatasetCard] = DatasetCard(
        summary="Point-BERT's few-shot folds of ModelNet40: 5 and 10 ways, 10 and 20 shots, 10 folds each",
        licence="none stated: the models' authors hold the copyright, the labels are free",
        terms="for the convenience of academic research only",
        citation="Yu et al., Point-BERT, CVPR 2022; Wu et al., 3D ShapeNets, CVPR 2015",
        normalisation="centred on the mean, farthest point scaled to radius 1; normals dropped",
        size="40 pickles, clouds of 8,192 points with normals; 0.1 MB per cloud in the cache",
        how_to_get=(
            "Google Drive folder 1gqvidcQsvdxP_3MdUr424Vkyjb_gt7TW, linked in Point-BERT's DATASET.md; unpack as "
            "ModelNetFewshot/5way_10shot/0.pkl ..."
        ),
    )
    fixed_classes: ClassVar[bool] = True

    @cached_property
    def _base(self) -> Path:
        root = data_root(self.place.root, self.name, "5way_10shot/0.pkl ...")
        return root / "ModelNetFewshot" if (root / "ModelNetFewshot").is_dir() else root

    @cached_property
    def _settings(self) -> dict[tuple[int, int], tuple[str, ...]]:
        """Return the files of the folds by (way, shot).

        In numerical order.

        Raises:
            DataError: There are no folds, or a number is missing.
        """
        found: dict[tuple[int, int], tuple[str, ...]] = {}
        for folder in sorted((path for path in self._base.iterdir() if path.is_dir()), key=lambda p: p.name):
            match = FOLDER.fullmatch(folder.name)
            if match is None:
                continue
            names = sorted((path.name for path in folder.glob("*.pkl") if path.stem.isdigit()), key=natural_key)
            numbers = [int(name.removesuffix(".pkl")) for name in names]
            if numbers != list(range(len(numbers))) or not numbers:
                raise DataError(f"{folder}: expected the folds 0.pkl, 1.pkl ... without a gap, found {numbers}")
            setting = (int(match[1]), int(match[2]))
            if setting in found:
                raise DataError(f"{folder}: a second folder of {match[1]} ways and {match[2]} shots; remove one")
            found[setting] = tuple(f"{folder.name}/{name}" for name in names)
        if not found:
            hint = holding_folder(self._base, "*way*shot")
            raise DataError(f"{self._base}: no folder named like 5way_10shot with 0.pkl ... here{hint}")
        return found

    @cached_property
    def _files(self) -> FileList:
        names = [name for names in self._settings.values() for name in names]
        return list_files(self._base, names, self.place.cache, self.place.progress)

    @cached_property
    def _content(self) -> Converted:
        return convert(self._files, _READER, self.place.cache, self.place.progress)

    def manifest(self) -> str:
        """Return the SHA-256 of the folds (see `Dataset.manifest`)."""
        listed = [("folds", f"{len(self._files)} files", self._files.digest)]
        return manifest_digest(self.name, self.revision, self._plain(self.options), listed)

    @staticmethod
    def _plain(options: BaseModel) -> dict[str, Any]:
        plain: dict[str, Any] = options.model_dump(mode="json")
        return plain

    def train_size(self) -> int:
        """Return the number of supports of all folds.

        Computed from the folders' names.
        """
        return sum(way * shot * len(names) for (way, shot), names in self._settings.items())

    def classes(self) -> tuple[str, ...]:
        """Return ModelNet40's class names, or numbers beyond 40."""
        held = list(self._held())
        if max(int(one.labels.max()) for one in held) < len(MODELNET40):
            return MODELNET40
        return tuple(f"class_{label}" for label in range(count_unnamed(held, "take out that object")))

    def _held(self) -> Iterator[Held]:
        """Yield the classes of each part of each fold."""
        for part in ("train", "test"):
            offsets, classes = self._content.offsets[f"{part}_classes"], self._content.arrays[f"{part}_classes"]
            for place, name in enumerate(self._files.names):
                yield Held(f"{self._base / name}: class in '{part}'", classes[offsets[place] : offsets[place + 1]])

    def load(self, split: SplitName) -> CloudSet:
        """Load the supports (``train``) or queries (``test``) of all folds.

        Coordinates are as stored.

        Raises:
            DataError: A file is invalid; the message names file and fault.
        """
        content = self._content
        offsets = content.offsets[split]
        ids = [
            f"{name.removesuffix('.pkl')}/{split}/{row}"
            for name, size in zip(self._files.names, np.diff(offsets).tolist(), strict=True)
            for row in range(size)
        ]
        return CloudSet(
            points=content.arrays[split],
            labels=np.array(content.arrays[f"{split}_classes"]),
            ids=tuple(ids),
            classes=self.classes(),
        )

    def remarks(self) -> tuple[str, ...]:
        """Describe the folds of each setting, and other files."""
        here = {f"{way}w{shot}s": len(names) for (way, shot), names in self._settings.items()}
        gone = [f"{name} ({here.get(name, 0)} of {FOLDS})" for name in RELEASED if here.get(name, 0) < FOLDS]
        lines = ["folds: " + ", ".join(f"{count} of {name}" for name, count in here.items())]
        return (*lines, f"the release has more folds of {', '.join(gone)}") if gone else tuple(lines)

    def offers_folds(self) -> bool:
        """Return True: the set consists of few-shot folds."""
        return True

    def few_shot_folds(self, way: int, shot: int) -> tuple[GivenFold, ...]:
        """Return the folds of a setting.

        Raises:
            DataError: The setting's folder is missing.
        """
        if (way, shot) not in self._settings:
            offered = ", ".join(f"{w}w{s}s" for w, s in self._settings)
            raise DataError(f"{self._base}: no folder {way}way_{shot}shot; there are folds of {offered}")
        return tuple(self._fold(self._files.names.index(name)) for name in self._settings[way, shot])

    def _fold(self, at: int) -> GivenFold:
        parts = {}
        for part in ("train", "test"):
            start, stop = self._content.offsets[part][at : at + 2]
            parts[part] = np.arange(start, stop, dtype=np.int64)
        labels = self._content.arrays["train_labels"][parts["train"]]
        first = [int(np.flatnonzero(labels == label)[0]) for label in range(int(labels.max()) + 1)]
        classes = np.asarray(self._content.arrays["train_classes"][parts["train"][first]], dtype=np.int64)
        return GivenFold(classes, parts["train"], parts["test"])


def _read(path: Path) -> dict[str, npt.NDArray[Any]]:
    match = FOLDER.fullmatch(path.parent.name)
    assert match is not None
    fold = load_fold(path, int(match[1]), int(match[2]), queries=None)
    arrays: dict[str, npt.NDArray[Any]] = {
        "train": fold.support,
        "train_labels": fold.support_labels,
        "train_classes": fold.support_classes,
        "test": fold.query,
        "test_labels": fold.query_labels,
        "test_classes": fold.query_classes,
    }
    pairs = set()
    for part in ("train", "test"):
        classes = arrays[f"{part}_classes"]
        if len(classes) and classes.min() < 0:
            row = int(classes.argmin())
            raise DataError(f"{path}: '{part}' object {row} has no class in the third place of its triple")
        pairs |= set(zip(arrays[f"{part}_labels"].tolist(), classes.tolist(), strict=True))
    if len({label for label, _ in pairs}) < len(pairs) or len({number for _, number in pairs}) < len(pairs):
        raise DataError(
            f"{path}: labels 0 to {int(match[1]) - 1} and classes do not match one to one; download it again"
        )
    return arrays


_READER = Reader(
    "fewshot-pickle",
    {
        name: Column("float32", (None, None, 3), ragged=True)
        if name in ("train", "test")
        else Column("int64", (None,), ragged=True)
        for name in ("train", "train_labels", "train_classes", "test", "test_labels", "test_classes")
    },
    _read,
)
