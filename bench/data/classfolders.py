"""Base of data sets with class folders, ``<class>/<file>``.

Meshes and clouds of the user's own objects. The split comes from the first of these that exists:

1. ``train/<class>/<file>`` and ``test/<class>/<file>``;
2. ``<class>/train/<file>`` and ``<class>/test/<file>`` (as ModelNet's OFF release);
3. ``train.txt`` and ``test.txt`` beside the classes, one ``<class>/<file>`` a line, the suffix may be left out;
4. else a stratified choice fixed by the option `split_seed` and the names: adding a file moves no other.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from bench.data.base import CloudSet, Dataset, SplitName
from bench.data.converted import Converted, Reader, convert
from bench.data.digest import manifest_digest
from bench.data.filelists import FileList, list_files
from bench.data.h5set import SPLITS, data_root, natural_key, read_lines
from bench.data.holdout import hold_out
from bench.errors import DataError
from bench.spec import LARGEST, Frozen


@dataclass(frozen=True)
class Listing:
    """Files of both splits, with classes and labels.

    Attributes:
        classes: Names of the class folders, in alphabetical order.
        names: Path below the root of every file, per split.
        labels: int64 ``[n]`` per split.
    """

    classes: tuple[str, ...]
    names: dict[SplitName, tuple[str, ...]]
    labels: dict[SplitName, npt.NDArray[np.int64]]


class ClassFolders(Dataset):
    """Folder of class folders.

    Subclasses select files by suffix and read them.
    """

    needs_root: ClassVar[bool] = True
    suffixes: ClassVar[tuple[str, ...]]
    revision: ClassVar[int] = 1
    """Version of the loader; increased when it returns other arrays for the same files."""

    class Options(Frozen):
        """Options of points and split; they enter the key."""

        points: int = Field(2048, ge=16, le=262_144, description="points per object")
        test_fraction: float = Field(0.2, gt=0, lt=1, description="share for the test split, if the folder has none")
        split_seed: int = Field(0, ge=0, le=LARGEST, description="seed of that split")

    @abstractmethod
    def _reader(self, root: Path) -> Reader:
        """Return the conversion of one file into ``points`` and ``normals``."""

    @property
    def _root(self) -> Path:
        return data_root(self.place.root, self.name, f"<class>/<file> ({', '.join(self.suffixes)})")

    @cached_property
    def _listing(self) -> Listing:
        assert isinstance(self.options, ClassFolders.Options)
        return list_classes(self._root, self.suffixes, self.options.test_fraction, self.options.split_seed)

    def _files(self, split: SplitName) -> FileList:
        return list_files(self._root, self._listing.names[split], self.place.cache, self.place.progress)

    def manifest(self) -> str:
        """Return the SHA-256 of files, split, classes and options."""
        entries = [("class", name, "") for name in self._listing.classes]
        for split in SPLITS:
            files = self._files(split)
            entries += [(split, name, digest) for name, digest in zip(files.names, files.digests, strict=True)]
        return manifest_digest(self.name, self.revision, self.options.model_dump(mode="json"), entries)

    def train_size(self) -> int:
        """Return the number of training files without reading them."""
        return len(self._listing.names["train"])

    def classes(self) -> tuple[str, ...]:
        """Return the names of the class folders, in alphabetical order."""
        return self._listing.classes

    def load(self, split: SplitName) -> CloudSet:
        """Load one split from the converted cache.

        Raises:
            DataError: A file is invalid; the message names file and fault.
            SetupError: The cache cannot be written.
        """
        listing = self._listing
        found: Converted = convert(self._files(split), self._reader(self._root), self.place.cache, self.place.progress)
        return CloudSet(
            points=found.arrays["points"],
            labels=listing.labels[split],
            ids=listing.names[split],
            classes=listing.classes,
            normals=found.arrays.get("normals"),
        )


def list_classes(root: Path, suffixes: tuple[str, ...], test_fraction: float, split_seed: int) -> Listing:
    """Return classes, files and split of a folder.

    The rules for the split are in the module's docstring.

    Raises:
        DataError: No classes, an empty class, a list that names a missing file, or a class of the test split alone.
    """
    if (root / "train").is_dir() or (root / "test").is_dir():
        found = _split_folders(root, suffixes)
    else:
        folders = {name: _members(root, name, suffixes) for name in _folders(root)}
        if not folders:
            raise DataError(f"{root}: no class folders here; expected <class>/<file> ({', '.join(suffixes)})")
        inner = [name for name in folders if (root / name / "train").is_dir() or (root / name / "test").is_dir()]
        lists = [root / f"{split}.txt" for split in SPLITS]
        if inner:
            found = _inner_folders(root, tuple(folders), suffixes)
        else:
            _refuse_empty(root, folders, suffixes)
            if any(path.is_file() for path in lists):
                found = _listed(root, folders)
            else:
                found = _drawn(root, folders, test_fraction, split_seed)
    classes = tuple(sorted({class_name for rows in found.values() for class_name, _ in rows}))
    trained = {class_name for class_name, _ in found["train"]}
    unseen = [name for name in classes if name not in trained]
    if unseen:
        raise DataError(
            f"{root}: the test split has classes that no training file has: {', '.join(unseen[:5])}; add files"
        )
    if not found["test"]:
        raise DataError(f"{root}: the test split has no files; add some")
    return Listing(
        classes,
        {split: tuple(name for _, name in rows) for split, rows in found.items()},
        {split: np.asarray([classes.index(c) for c, _ in rows], dtype=np.int64) for split, rows in found.items()},
    )


Rows = list[tuple[str, str]]
"""Class and path of each file."""


def _folders(folder: Path) -> list[str]:
    return sorted(_readable(folder, (p.name for p in _entries(folder) if p.is_dir() and not p.name.startswith("."))))


def _members(root: Path, below: str, suffixes: tuple[str, ...]) -> list[str]:
    """Return the files with a known suffix, in numerical order.

    As paths below the root.
    """
    names = (
        p.name
        for p in _entries(root / below)
        if p.suffix.lower() in suffixes and not p.name.startswith(".") and not p.is_dir()
    )
    return [f"{below}/{name}" for name in sorted(_readable(root / below, names), key=natural_key)]


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed: {error.strerror or error}") from error


def _readable(folder: Path, names: Iterable[str]) -> list[str]:
    """Return the names; refuse one that is not UTF-8.

    Such a name cannot be stored in a record.
    """
    found = list(names)
    for name in found:
        try:
            name.encode("utf-8")
        except UnicodeEncodeError as error:
            shown = str(folder).encode("utf-8", "backslashreplace").decode()
            raise DataError(f"{shown}: holds {name!r}, whose name is not UTF-8; rename it") from error
    return found


def _refuse_empty(root: Path, folders: dict[str, list[str]], suffixes: tuple[str, ...]) -> None:
    for name, files in folders.items():
        if not files:
            held = ", ".join(sorted(p.name for p in _entries(root / name))[:3]) or "nothing"
            raise DataError(
                f"{root / name}: class has no files ({', '.join(suffixes)}); it holds: {held}; fill or remove it"
            )


def _split_folders(root: Path, suffixes: tuple[str, ...]) -> dict[SplitName, Rows]:
    found: dict[SplitName, Rows] = {}
    for split in SPLITS:
        if not (root / split).is_dir():
            raise DataError(f"{root}: has no folder {split}/ beside {'test' if split == 'train' else 'train'}/")
        folders = {name: _members(root, f"{split}/{name}", suffixes) for name in _folders(root / split)}
        if not folders:
            raise DataError(f"{root / split}: no class folders here; expected <class>/<file>")
        _refuse_empty(root / split, folders, suffixes)
        found[split] = [(name, file) for name, files in folders.items() for file in files]
    return found


def _inner_folders(root: Path, classes: tuple[str, ...], suffixes: tuple[str, ...]) -> dict[SplitName, Rows]:
    found: dict[SplitName, Rows] = {split: [] for split in SPLITS}
    for name in classes:
        for split in SPLITS:
            if not (root / name / split).is_dir():
                raise DataError(f"{root / name}: has no folder {split}/, which other classes have; add or remove it")
            files = _members(root, f"{name}/{split}", suffixes)
            _refuse_empty(root / name, {split: files}, suffixes)
            found[split] += [(name, file) for file in files]
    return found


def _listed(root: Path, folders: dict[str, list[str]]) -> dict[SplitName, Rows]:
    known = {file: (name, file) for name, files in folders.items() for file in files}
    bare: dict[str, list[str]] = {}
    for file in known:
        bare.setdefault(str(Path(file).with_suffix("")), []).append(file)
    found: dict[SplitName, Rows] = {}
    taken: dict[str, str] = {}
    for split in SPLITS:
        path, rows = root / f"{split}.txt", []
        for number, line in enumerate(read_lines(path), start=1):
            entry = line.replace("\\", "/").removeprefix("./")
            matches = [entry] if entry in known else bare.get(entry, [])
            if len(matches) != 1:
                reason = "does not exist" if not matches else f"may be {' or '.join(matches)}"
                raise DataError(f"{path}: line {number} names {entry[:100]}, which {reason}; expected <class>/<file>")
            if matches[0] in taken:
                raise DataError(f"{path}: line {number} names {entry[:100]}, which {taken[matches[0]]} names already")
            taken[matches[0]] = path.name
            rows.append(known[matches[0]])
        found[split] = rows
    return found


def _drawn(root: Path, folders: dict[str, list[str]], fraction: float, seed: int) -> dict[SplitName, Rows]:
    rows = [(name, file) for name, files in folders.items() for file in files]
    for name, files in folders.items():
        if len(files) < 2:
            raise DataError(
                f"{root / name}: class has 1 file, and at least 2 are needed to split train from test; add files, "
                "remove the class, or state the split in train.txt and test.txt"
            )
    order = {name: label for label, name in enumerate(folders)}
    labels = np.asarray([order[name] for name, _ in rows], dtype=np.int64)
    drawn: dict[SplitName, Any] = dict(
        zip(SPLITS, hold_out([f"{seed}\x1f{file}" for _, file in rows], labels, fraction), strict=True)
    )
    return {split: [rows[i] for i in index.tolist()] for split, index in drawn.items()}
