"""Name a local data set, after reading its files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.data.base import Dataset
from bench.data.digest import read_again
from bench.data.h5set import SPLITS
from bench.data.local import add_local, check_name
from bench.errors import UsageError
from bench.inspection.opening import open_named
from bench.paths import Workspace
from bench.plan.overrides import Overrides
from bench.plan.request import parse_assignments
from bench.registry import DATASETS

SHOWN = 6
"""Most classes that the screen lists by name."""


@dataclass(frozen=True)
class Added:
    """A data set that was given a name.

    Attributes:
        contents: Objects or rooms per split and classes, in words.
        uses: Commands that take the name.
    """

    contents: str
    uses: tuple[str, ...]


def add_named(
    name: str, format_name: str, root: Path, assignments: Sequence[str], workspace: Workspace, force: bool = False
) -> Added:
    """Read all of a local data set, then name it.

    Nothing remembered from an earlier reading is used.

    Args:
        name: The new name.
        format_name: Data set class that reads the files.
        root: Its folder, or its file where the format reads one.
        assignments: ``data.FIELD=VALUE`` options; they are kept with the name.
        workspace: Workspace with local names and caches.
        force: Replace a name that exists.

    Raises:
        UsageError: A bad or taken name, an unknown format or option, or a format that reads no files.
        DataError: The files are missing or broken.
        SetupError: The results folder or the cache cannot be written.
    """
    known = DATASETS.names()
    check_name(name, known)  # check before reading gigabytes
    dataset_class = DATASETS.load(format_name)
    if not dataset_class.needs_root:
        raise UsageError(f"'{format_name}' is embedded and reads no files; use it by its name: --dataset {format_name}")
    opened = open_named(format_name, workspace, root, assignments)
    with read_again():
        contents = _contents(opened.dataset)
    given = Overrides(parse_assignments(assignments), frozenset({"data"})).merge({}, "data")
    add_local(
        workspace.results,
        name,
        format_name,
        root,
        given,
        known_formats=known,
        takes_file=dataset_class.takes_file,
        force=force,
    )
    return Added(contents, tuple(_uses(opened.dataset, name)))


def _contents(dataset: Dataset) -> str:
    """Read everything; return its size in words."""
    dataset.manifest()
    if dataset.card.has_rooms:
        train, test, what = dataset.train_size(), len(dataset.rooms()) - dataset.train_size(), "rooms"
    else:
        train, test = (len(dataset.load(split)) for split in SPLITS)
        what = "clouds"
    classes = dataset.classes()
    named = ", ".join(classes[:SHOWN]) + (", ..." if len(classes) > SHOWN else "")
    return f"{train:,} train and {test:,} test {what} of {len(classes)} classes ({named})"


def _uses(dataset: Dataset, name: str) -> list[str]:
    if dataset.card.has_rooms:
        return [f"bench run --protocol semseg --dataset {name}"]
    if dataset.offers_folds():
        return [f"bench run --protocol fewshot --dataset {name}"]
    parts = [f"bench run --protocol partseg --dataset {name}"] if dataset.offers_parts() else []
    return [f"bench run --dataset {name}", *parts, f"bench run --pretrain-data {name}"]
