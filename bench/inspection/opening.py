"""Open a data set for the commands that inspect it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.data.base import DataPlace, Dataset
from bench.data.local import resolve_dataset_ref
from bench.data.reading_progress import progress_on_stderr
from bench.errors import DataError, UsageError
from bench.paths import Workspace
from bench.plan.located import superfluous_folder
from bench.plan.overrides import Overrides
from bench.plan.request import parse_assignments, validated
from bench.registry import DATASETS


@dataclass(frozen=True)
class Opened:
    """A data set opened for inspection.

    Attributes:
        dataset: The data set.
        label: Name in tables.
        root: Folder or file of its data; None for embedded sets.
    """

    dataset: Dataset
    label: str
    root: Path | None


def open_named(
    reference: str, workspace: Workspace, root: Path | None = None, assignments: Sequence[str] = (), group: str = "data"
) -> Opened:
    """Open ``NAME[:ROOT]`` without reading data.

    Args:
        reference: A data set of the registry, with its folder where it reads files, or a local name.
        workspace: Workspace with local names and caches.
        root: The folder, instead of ``:ROOT``.
        assignments: ``GROUP.FIELD=VALUE`` options.
        group: Name of the group in `assignments`.

    Raises:
        UsageError: Unknown name or option, no folder where one is needed, or one where none is.
        DataError: There is nothing at the folder; says how to get the data.
    """
    if root is not None:
        if ":" in reference:
            raise UsageError(f"'{reference}' names its folder already; leave out --root {root}")
        reference = f"{reference}:{root}"
    found = resolve_dataset_ref(reference, workspace.results, DATASETS.names())
    dataset_class = DATASETS.load(found.format)
    how = dataset_class.card.how_to_get
    if dataset_class.needs_root and found.root is None:
        raise UsageError(f"data set '{found.format}' needs its folder: write {found.format}:DIR; to get it: {how}")
    if found.root is not None and not dataset_class.needs_root:
        raise superfluous_folder(found.format)
    overrides = Overrides(parse_assignments(assignments), frozenset({group}))
    options = validated(dataset_class.Options, overrides.merge(dict(found.options), group), group)
    dataset = dataset_class(DataPlace(workspace.cache, found.root, progress=progress_on_stderr(found.label)), options)
    if found.root is not None and not found.root.expanduser().exists():
        raise DataError(f"{absent(dataset)}; to get it: {how}")
    return Opened(dataset, found.label, None if found.root is None else found.root.expanduser())


def absent(dataset: Dataset) -> str:
    """Return the loader's message for a missing folder."""
    try:
        dataset.classes()
        dataset.manifest()  # the classes of some sets are known without looking
    except DataError as error:
        return str(error)
    return f"{dataset.place.root}: no such folder"
