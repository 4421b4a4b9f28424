"""Data set in one HDF5 file; options name fields."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator

from bench.data.base import CloudSet, Dataset, DatasetCard, SplitName
from bench.data.digest import file_digest, manifest_digest
from bench.data.faults import collect_or_raise
from bench.data.h5io import Fields, Head, collect_faults, field_names, has_field, load_arrays, open_h5, read_head
from bench.data.h5set import SPLITS, class_list
from bench.data.holdout import hold_out
from bench.data.labels import check_named, count_unnamed
from bench.data.rows import select
from bench.data.splits import Index
from bench.errors import DataError
from bench.spec import LARGEST, Frozen

SUFFIXES = (".h5", ".hdf5", ".he5")


class SingleH5(Dataset):
    """Clouds and labels of one HDF5 file.

    The root is the file (``h5:FILE``), or a folder with just this file. With fields `train_data` and `train_label` the
    split is the file's own (`test_data`, `test_label`); else `data` and `label` are split class by class, fixed by
    `split_seed`. Where there is a field `normals` or `parts` beside the clouds (with the prefix ``train_`` or ``test_``
    in a file that is split), it is read as well. Class names come from the option `classes`, else from
    ``shape_names.txt`` beside the file, one a line; else classes are numbered.
    """

    name: ClassVar[str] = "h5"
    needs_root: ClassVar[bool] = True
    takes_file: ClassVar[bool] = True
    card: ClassVar[DatasetCard] = DatasetCard(
        summary="one HDF5 file of clouds and labels; options name its fields",
        licence="that of your file",
        terms="those of your file",
        citation="none: your file",
        normalisation="none: coordinates as stored",
        how_to_get="your own file: h5:FILE.h5",
    )
    revision: ClassVar[int] = 1

    class Options(Frozen):
        """Options of the fields and split; they enter the key."""

        train_data: str = "train_data"
        train_label: str = "train_label"
        test_data: str = "test_data"
        test_label: str = "test_label"
        data: str = "data"
        label: str = "label"
        normals: str = Field("normal", description="field of the normals, if any")
        parts: str = Field("pid", description="field of the points' part ids, if any")
        classes: tuple[str, ...] | None = Field(
            None,
            description="class names in the order of the labels, separated by commas; else those in shape_names.txt",
            exclude_if=lambda value: value is None,
        )
        test_fraction: float = Field(0.2, gt=0, lt=1, description="share for the test split, if the file has none")
        split_seed: int = Field(0, ge=0, le=LARGEST, description="seed of that split")

        @field_validator("classes", mode="before")
        @classmethod
        def _by_commas(cls, value: object) -> object:
            return [name.strip() for name in value.split(",")] if isinstance(value, str) else value

        @field_validator("classes")
        @classmethod
        def _distinct(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
            if value is not None and ("" in value or not value):
                raise ValueError("expected a name for every label, with commas between")
            repeated = next((name for name in value or () if value and value.count(name) > 1), None)
            if repeated is not None:
                raise ValueError(f"class '{repeated}' occurs twice; names must differ")
            return value

    @cached_property
    def _path(self) -> Path:
        root = self.place.root
        if root is None:
            raise DataError("h5 needs an HDF5 file: write h5:FILE.h5")
        root = root.expanduser()
        if not root.is_dir():
            if not root.exists():
                raise DataError(f"{root}: no such file; expected an HDF5 file")
            return root
        found = sorted(p for p in root.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
        if len(found) != 1:
            held = ", ".join(p.name for p in found[:5]) or "none"
            raise DataError(f"{root}: expected one HDF5 file in this folder, there are {len(found)} ({held}); name it")
        return found[0]

    @cached_property
    def _is_split(self) -> bool:
        """Return whether the file has its own split."""
        options = self._given
        with open_h5(self._path) as file:
            if has_field(file, self._path, options.train_data):
                return True
            if has_field(file, self._path, options.data):
                return False
            held = field_names(file)
        raise DataError(
            f"{self._path}: has neither field '{options.train_data}' nor '{options.data}'; the file holds: {held}; "
            "name its fields by the options train_data, train_label, ... or data, label"
        )

    @property
    def _given(self) -> Options:
        assert isinstance(self.options, self.Options)
        return self.options

    def _fields(self, split: SplitName) -> Fields:
        options = self._given
        if not self._is_split:
            return Fields(options.data, options.label, options.normals, options.parts)
        own = (options.train_data, options.train_label) if split == "train" else (options.test_data, options.test_label)
        return Fields(*own, f"{split}_{options.normals}", f"{split}_{options.parts}")

    @cached_property
    def _heads(self) -> dict[SplitName, Head]:
        if not self._is_split:
            return dict.fromkeys(SPLITS, read_head(self._path, self._fields("train")))
        heads: dict[SplitName, Head] = {}
        fault: DataError | None = None
        for split in SPLITS:
            try:
                heads[split] = read_head(self._path, self._fields(split))
            except DataError as error:
                fault = collect_or_raise(error, fault)
        if fault is not None:
            for split, head in heads.items():
                collect_faults([head], self._fields(split))
            raise fault
        return heads

    @cached_property
    def _rows(self) -> dict[SplitName, Index]:
        """Return the rows of each split, after checking.

        Both splits have objects, and no class is in the test split alone.
        """
        self.classes()  # reports a stray label as such
        rows: dict[SplitName, Index]
        if self._is_split:
            rows = {split: np.arange(len(head.labels), dtype=np.int64) for split, head in self._heads.items()}
        else:
            labels = self._heads["train"].labels
            names = [f"{self._given.split_seed}\x1f{row}" for row in range(len(labels))]
            train, test = hold_out(names, labels, self._given.test_fraction)
            rows = {"train": train, "test": test}
        for split in SPLITS:
            if not len(rows[split]):
                raise DataError(f"{self._path}: the {split} split has no objects; expected two or more of a class")
        trained, tested = (set(self._heads[split].labels[rows[split]].tolist()) for split in SPLITS)
        if tested - trained:
            shown = ", ".join(str(label) for label in sorted(tested - trained)[:5])
            raise DataError(
                f"{self._path}: field '{self._fields('test').labels}' has classes no training object has: {shown}"
            )
        return rows

    @property
    def _class_list(self) -> Path | None:
        """Return the text file of class names, or None.

        It is ignored if the option `classes` is set.
        """
        path = self._path.with_name("shape_names.txt")
        return path if self._given.classes is None and path.is_file() else None

    def manifest(self) -> str:
        """Return the SHA-256 of file, class list and options."""
        listed = [("file", "", file_digest(self._path, self.place.cache))]
        if self._class_list is not None:
            listed.append(("classes", self._class_list.name, file_digest(self._class_list, self.place.cache)))
        return manifest_digest(self.name, self.revision, self.options.model_dump(mode="json"), listed)

    def train_size(self) -> int:
        """Return the number of training objects without reading clouds."""
        return len(self._rows["train"])

    def classes(self) -> tuple[str, ...]:
        """Return class names, index = label, without reading clouds."""
        held = [head.held(self._fields(split).labels) for split, head in self._heads.items()]
        given, listed = self._given.classes, self._class_list
        if given is None and listed is None:
            count = count_unnamed(held, "name the classes: --set data.classes=NAME,NAME,... or shape_names.txt")
            return tuple(f"class_{label}" for label in range(count))
        names = given if given is not None else class_list(listed)  # type: ignore[arg-type]
        check_named(held, names, "the option classes" if given is not None else listed.name)  # type: ignore[union-attr]
        return names

    def offers_parts(self) -> bool:
        """Return whether both splits have part ids."""
        return all(head.parts for head in self._heads.values())

    def load(self, split: SplitName) -> CloudSet:
        """Load one split, coordinates as stored.

        Raises:
            DataError: The file is invalid; the message names field and fault.
        """
        head, rows = self._heads[split], self._rows[split]
        arrays = load_arrays(
            [head],
            self._fields(split),
            self.place.cache / "datasets" / self.manifest()[:16],
            split if self._is_split else "all",
            self.place.progress,
        )
        everything = len(rows) == len(head.labels)
        prefix = f"{split}/" if self._is_split else ""

        def take(array: npt.NDArray[np.generic] | None) -> npt.NDArray[np.generic] | None:
            return array if array is None or everything else select(array, rows)

        return CloudSet(
            points=take(arrays.points),  # type: ignore[arg-type]
            labels=head.labels[rows],
            ids=tuple(f"{self._path.stem}/{prefix}{row}" for row in rows.tolist()),
            classes=self.classes(),
            normals=take(arrays.normals),  # type: ignore[arg-type]
            parts=take(arrays.parts),  # type: ignore[arg-type]
        )
