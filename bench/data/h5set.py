"""Base of data sets of HDF5 files."""

from __future__ import annotations

import difflib
import json
import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar, get_args

import numpy as np

from bench.data.arrays import read_text
from bench.data.base import CloudSet, Dataset, SplitName
from bench.data.digest import file_digest, manifest_digest
from bench.data.faults import collect_or_raise
from bench.data.h5io import Fields, Head, collect_faults, load_arrays, read_heads
from bench.data.labels import check_named, count_unnamed
from bench.errors import DataError

SPLITS: tuple[SplitName, ...] = get_args(SplitName)


def natural_key(name: str) -> list[tuple[int, str]]:
    """Return a sort key with ``train2`` before ``train10``."""
    return [(int(piece), "") if piece.isdigit() else (-1, piece) for piece in re.split(r"([0-9]+)", name)]


def read_lines(path: Path) -> list[str]:
    """Read a list with one entry per line, UTF-8.

    Blank lines at the end are ignored.

    Raises:
        DataError: As `bench.data.arrays.read_text`, empty, or a blank line between entries (it would shift the
            numbering).
    """
    lines = [line.strip() for line in read_text(path).splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise DataError(f"{path}: is empty, expected one entry a line")
    if "" in lines:
        raise DataError(f"{path}: line {lines.index('') + 1} is blank; entries are numbered by line, remove it")
    return lines


class H5Dataset(Dataset):
    """Folder of HDF5 files with a training and test split.

    Subclasses locate files, class list and object names.
    """

    needs_root: ClassVar[bool] = True
    fields: ClassVar[Fields]
    revision: ClassVar[int] = 1
    """Version of the loader; increased when it returns other arrays for the same files."""

    @abstractmethod
    def _files(self, split: SplitName) -> list[Path]:
        """Return the files of a split, in order.

        There is at least one.

        Raises:
            DataError: The folder or its files are missing.
        """

    @abstractmethod
    def _class_list(self) -> Path | None:
        """Return the file of class names, or None."""

    @abstractmethod
    def _names_file(self, split: SplitName, path: Path) -> Path | None:
        """Return the file of object names, or None.

        A JSON list with one name per row of `path`.
        """

    def _known_classes(self, highest: int) -> tuple[str, ...] | None:
        """Return published class names for this highest label, or None.

        Used if there is no file of class names.
        """
        return None

    def manifest(self) -> str:
        """Return the SHA-256 of all files and options.

        See `Dataset.manifest`.
        """
        listed: list[tuple[str, str, str]] = []
        for split in SPLITS:
            for path in self._files(split):
                listed.append((split, path.name, file_digest(path, self.place.cache)))
                names = self._names_file(split, path)
                if names is not None:
                    listed.append((f"{split} names", names.name, file_digest(names, self.place.cache)))
        classes = self._class_list()
        if classes is not None:
            listed.append(("classes", classes.name, file_digest(classes, self.place.cache)))
        return manifest_digest(self.name, self.revision, self.options.model_dump(mode="json"), listed)

    def train_size(self) -> int:
        """Return the number of training objects without reading clouds.

        Raises:
            DataError: As `classes`.
        """
        return sum(len(head.labels) for head in self._checked[1]["train"])

    def classes(self) -> tuple[str, ...]:
        """Return class names, index = label, without reading clouds.

        Raises:
            DataError: A file, a label or the class list is invalid.
        """
        return self._checked[0]

    def offers_parts(self) -> bool:
        """Return whether every file has part ids."""
        return all(head.parts for split in SPLITS for head in self._checked[1][split])

    def load(self, split: SplitName) -> CloudSet:
        """Load one split, coordinates as stored.

        Raises:
            DataError: A file is invalid; the message names file and fault.
        """
        classes, heads = self._checked
        arrays = load_arrays(
            heads[split],
            self.fields,
            self.place.cache / "datasets" / self.manifest()[:16],
            split,
            self.place.progress,
        )
        return CloudSet(
            points=arrays.points,
            labels=np.concatenate([head.labels for head in heads[split]]),
            ids=self._ids(split, heads[split]),
            classes=classes,
            normals=arrays.normals,
            parts=arrays.parts,
        )

    def _ids(self, split: SplitName, heads: Sequence[Head]) -> tuple[str, ...]:
        ids: list[str] = []
        for head in heads:
            listed = self._names_file(split, head.path)
            rows = len(head.labels)
            ids += [f"{head.path.stem}/{row}" for row in range(rows)] if listed is None else _names(listed, head)
        repeated = {name for name, times in Counter(ids).items() if times > 1}
        return tuple(f"{name}#{row}" if name in repeated else name for row, name in enumerate(ids))

    @cached_property
    def _checked(self) -> tuple[tuple[str, ...], dict[SplitName, list[Head]]]:
        """Return class names and file heads, checked together."""
        heads: dict[SplitName, list[Head]] = {}
        fault: DataError | None = None
        for split in SPLITS:
            try:
                heads[split], broken = read_heads(self._files(split), self.fields)
                fault = fault or broken
                if broken is None and not any(len(head.labels) for head in heads[split]):
                    files = ", ".join(head.path.name for head in heads[split])
                    raise DataError(f"{heads[split][0].path.parent}: the {split} split has no objects ({files})")
            except DataError as error:
                fault = collect_or_raise(error, fault)
        try:
            if fault is not None:
                raise fault
            return self._named(heads), heads
        except DataError:
            collect_faults([head for split in heads.values() for head in split], self.fields)
            raise

    def _named(self, heads: dict[SplitName, list[Head]]) -> tuple[str, ...]:
        """Return class names, checked against the labels of both splits."""
        listed = self._class_list()
        held = [head.held(self.fields.labels) for split in SPLITS for head in heads[split]]
        known = self._known_classes(max(int(one.labels.max(initial=0)) for one in held))
        if listed is not None:
            classes = class_list(listed)
            check_named(held, classes, listed.name)
        elif known is not None:
            classes = known
            check_named(held, classes, "the release")
        else:
            count = count_unnamed(held, "name the classes in shape_names.txt beside the files, one a line")
            classes = tuple(f"class_{label}" for label in range(count))
        self._check_coverage(heads, classes)
        return classes

    def _check_coverage(self, heads: dict[SplitName, list[Head]], classes: tuple[str, ...]) -> None:
        trained = {label for head in heads["train"] for label in np.unique(head.labels).tolist()}
        for head in heads["test"]:
            unseen = sorted(set(np.unique(head.labels).tolist()) - trained)
            if unseen:
                names = ", ".join(f"{label} ({classes[label]})" for label in unseen[:5])
                raise DataError(
                    f"{head.path}: field '{self.fields.labels}' has classes that no training object has: {names}; "
                    "expected every test class in the training split"
                )


def class_list(path: Path) -> tuple[str, ...]:
    """Read class names, one per line, index = label.

    Raises:
        DataError: As `read_lines`, or a name occurs twice.
    """
    classes = tuple(read_lines(path))
    repeated = [name for name, times in Counter(classes).items() if times > 1]
    if repeated:
        lines = [i + 1 for i, name in enumerate(classes) if name == repeated[0]]
        raise DataError(f"{path}: class '{repeated[0]}' is on lines {lines[0]} and {lines[1]}; names must differ")
    return classes


def _names(path: Path, head: Head) -> list[str]:
    try:
        names = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not a JSON list ({error}); mend or remove it") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{path}: expected a JSON list of strings, one object name per row; mend or remove it")
    if len(names) != len(head.labels):
        raise DataError(
            f"{path}: names {len(names)} objects but {head.path.name} has {len(head.labels)}; mend or remove it"
        )
    return names


def data_root(root: Path | None, name: str, expected: str) -> Path:
    """Return the data set's folder, after checking it.

    Args:
        root: Path given by the user.
        name: Name of the format, for messages.
        expected: Expected content of the folder, in words.

    Raises:
        DataError: No folder is given, it does not exist (similar names are suggested), or it is a file.
    """
    if root is None:
        raise DataError(f"{name} needs a folder with {expected}: write {name}:DIR")
    root = root.expanduser()
    try:
        if root.is_dir():
            return root
        if root.exists():
            raise DataError(f"{root}: is a file; give the folder that holds it ({name}:{root.parent})")
    except OSError as error:
        raise DataError(f"{root}: cannot be accessed: {error.strerror or error}") from error
    raise DataError(f"{root}: no such folder{_near_folders(root)}; expected a folder with {expected}")


def _near_folders(root: Path) -> str:
    parent = next((p for p in root.absolute().parents if p.is_dir()), None)
    if parent is None:
        return ""
    wanted = root.absolute().relative_to(parent).parts[0]
    try:
        folders = sorted(p.name for p in parent.iterdir() if p.is_dir())
    except OSError:
        return ""
    near = difflib.get_close_matches(wanted, folders, n=3, cutoff=0.5)
    found = f" (did you mean {' or '.join(str(parent / name) for name in near)}?)" if near else f" in {parent}"
    return found if near or parent != root.absolute().parent else ""


def holding_folder(root: Path, pattern: str) -> str:
    """Return a hint at a nearby folder with matching files.

    Searches two levels below `root`; empty if there is none.
    """
    for depth in ("*", "*/*"):
        try:
            found = next(iter(sorted(root.glob(f"{depth}/{pattern}"))), None)
        except OSError:
            return ""
        if found is not None:
            return f"; did you mean {found.parent}?"
    return ""
