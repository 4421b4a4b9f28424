"""Data sets: open, check, draw, audit, name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from bench.api.common import PathLike, existing, looking, registered, workspace_at
from bench.errors import UsageError, unknown_name
from bench.progress import Progress, silent
from bench.registry import DATASETS

if TYPE_CHECKING:
    from pydantic import JsonValue

    from bench.data.base import Dataset
    from bench.data.local import LocalDataset
    from bench.inspection.adding import Added
    from bench.inspection.auditing import Audit
    from bench.inspection.facts import CheckReport
    from bench.inspection.opening import Opened

Split = Literal["train", "test"]
Splits = Literal["train", "test", "all"]
Up = Literal["y", "z"]


def dataset(name: str, *, results: PathLike | None = None, preset: str = "nano", **options: JsonValue) -> Dataset:
    """Open a data set.

    ``bench.dataset("shapes-scan-novel").load("test").points`` is ``[n, N, 3]``.

    Args:
        name: ``NAME[:ROOT]``, or a name given with ``bench data add``.
        results: Results folder, whose cache holds what is made or converted.
        preset: Gives embedded sets their size.
        **options: Options of the data set.

    Raises:
        UsageError: The name or an option is wrong.
        DataError: Its files are missing or broken.
    """
    from bench.plan.located import locate, open_dataset
    from bench.plan.overrides import Overrides
    from bench.plan.presets import preset as find_preset

    registered()
    place = looking(workspace_at(results))
    overrides = Overrides({f"data.{key}": value for key, value in options.items()}, frozenset({"data"}))
    located = locate(name, "data", find_preset(preset), overrides, place)
    overrides.check_all_taken()
    return open_dataset(located, place)


def check_data(
    name: str,
    *,
    root: PathLike | None = None,
    results: PathLike | None = None,
    assignments: Sequence[str] = (),
    plugins: Sequence[PathLike] = (),
) -> CheckReport:
    """Read all of a data set and report problems.

    As ``bench data check``.

    Args:
        name: ``NAME[:ROOT]``, or a name given with `add_data`.
        root: Folder (or file) of the data, instead of ``:ROOT``.
        results: Results folder, which holds such names and the cache.
        assignments: ``data.FIELD=VALUE`` texts.
        plugins: Plugin files.

    Returns:
        Counts, classes, coordinates, copies and ``problems``; a file that cannot be read is a problem, not an error.

    Raises:
        UsageError: The name or an option is wrong.
        DataError: There is nothing at the folder.
    """
    opened = _opened(name, root, results, assignments, plugins)
    from bench.inspection.checking import check_dataset

    return check_dataset(opened)


def list_files(
    name: str,
    path: PathLike,
    *,
    root: PathLike | None = None,
    results: PathLike | None = None,
    assignments: Sequence[str] = (),
    plugins: Sequence[PathLike] = (),
) -> tuple[int, str]:
    """List path, size and SHA-256 of files as CSV.

    As ``bench data check --manifest``.

    Args:
        name: ``NAME[:ROOT]``, or a name given with `add_data`.
        path: File to write.
        root: As in `check_data`; so are the other arguments.
        results: Results folder.
        assignments: ``data.FIELD=VALUE`` texts.
        plugins: Plugin files.

    Returns:
        Lines below the heading, and the SHA-256 hex digest of what was written.

    Raises:
        UsageError: The name or an option is wrong.
        DataError: There is nothing at the folder.
        SetupError: The file cannot be written.
    """
    opened = _opened(name, root, results, assignments, plugins)
    from bench.inspection.file_manifest import write_manifest

    return write_manifest(opened, Path(path))


@dataclass(frozen=True)
class Picture:
    """A PNG file that notebooks show.

    Attributes:
        path: The file.
        line: Description of the picture, in one line.
    """

    path: Path
    line: str

    def __fspath__(self) -> str:
        """Return the file's path, for `open` and the like."""
        return str(self.path)

    def _repr_png_(self) -> bytes:
        return self.path.read_bytes()


def show_data(
    name: str,
    *,
    split: Split = "train",
    index: int | None = None,
    class_name: str | None = None,
    count: int = 1,
    up: Up = "y",
    out: PathLike | None = None,
    root: PathLike | None = None,
    results: PathLike | None = None,
    assignments: Sequence[str] = (),
    plugins: Sequence[PathLike] = (),
) -> Picture:
    """Draw objects of a data set as a PNG.

    As ``bench data show``.

    Args:
        name: ``NAME[:ROOT]``, or a name given with `add_data`.
        split: Split.
        index: Position in the split, or among the objects of `class_name`.
        class_name: Only objects of this class.
        count: Objects side by side.
        up: Axis of the data that points up.
        out: File to write; named after the objects, in the current folder, when left out.
        root: Folder (or file) of the data, instead of ``:ROOT``.
        results: Results folder.
        assignments: ``data.FIELD=VALUE`` texts.
        plugins: Plugin files.

    Raises:
        UsageError: No such set, split, class, axis or index.
        DataError: The data cannot be read.
        SetupError: The picture cannot be written.
    """
    _one_of("split", split, Split)
    _one_of("up", up, Up)
    if index is not None and index < 0:
        raise UsageError(f"index {index}: objects are counted from 0")
    opened = _opened(name, root, results, assignments, plugins)
    from bench.inspection.showing import Wanted, show

    wanted = Wanted(split, index, class_name, count, up)
    return Picture(*show(opened, wanted, None if out is None else Path(out)))


def audit_data(
    a: str,
    b: str | None = None,
    *,
    threshold: float | None = None,
    neighbours: int | None = None,
    a_split: Splits = "train",
    b_split: Splits = "test",
    a_assignments: Sequence[str] = (),
    b_assignments: Sequence[str] = (),
    results: PathLike | None = None,
    plugins: Sequence[PathLike] = (),
    progress: Progress = silent,
) -> Audit:
    """Find shapes shared by two sets, or copies in one.

    As ``bench data audit``.

    Args:
        a: ``NAME[:ROOT]`` of what is learnt from.
        b: ``NAME[:ROOT]`` of what is tested on; None for `a` itself.
        threshold: Near pairs are at most so many times as far apart as two samples of a surface.
        neighbours: Most partners that an object is compared with.
        a_split: Split of `a`.
        b_split: Split of `b`.
        a_assignments: ``data.FIELD=VALUE`` texts of `a`.
        b_assignments: ``data.FIELD=VALUE`` texts of `b`.
        results: Results folder.
        plugins: Plugin files.
        progress: Told how many shapes were compared.

    Returns:
        ``report`` with every pair, and the clouds that were compared.

    Raises:
        UsageError: A name or number is wrong.
        DataError: A file is broken.
    """
    _one_of("a_split", a_split, Splits)
    _one_of("b_split", b_split, Splits)
    first = _opened(a, None, results, a_assignments, plugins)
    second = None if b is None else _opened(b, None, results, b_assignments)
    from bench.data.duplicates import NEIGHBOURS, THRESHOLD
    from bench.inspection.auditing import audit

    return audit(
        first,
        second,
        threshold=THRESHOLD if threshold is None else threshold,
        neighbours=NEIGHBOURS if neighbours is None else neighbours,
        a_split=a_split,
        b_split=b_split,
        progress=progress,
    )


def add_data(
    name: str,
    format: str,
    root: PathLike,
    *,
    results: PathLike | None = None,
    assignments: Sequence[str] = (),
    force: bool = False,
    plugins: Sequence[PathLike] = (),
) -> Added:
    """Name a local data set, after reading all its files.

    As ``bench data add``.

    Args:
        name: The new name.
        format: Layout of the files, such as ``modelnet-h5`` (``bench.available("datasets")``).
        root: Folder, or the file of format ``h5``.
        results: Results folder that keeps the name.
        assignments: ``data.FIELD=VALUE`` texts, kept with the name.
        force: Replace a name that exists.
        plugins: Plugin files.

    Raises:
        UsageError: A bad or taken name, or an unknown format or option.
        DataError: The files are missing or broken.
        SetupError: The results folder cannot be written.
    """
    registered(*plugins)
    DATASETS.entry(format)
    from bench.inspection.adding import add_named

    place = workspace_at(results)
    place.prepare()
    return add_named(name, format, Path(root), assignments, place, force)


def remove_data(name: str, *, results: PathLike | None = None) -> LocalDataset:
    """Remove a local data set's name; keep its files.

    As ``bench data remove``.

    Raises:
        UsageError: No such name.
    """
    from bench.data.local import remove_local

    return remove_local(workspace_at(results).results, name)


def local_data(*, results: PathLike | None = None) -> dict[str, LocalDataset]:
    """Return the local data sets by name.

    As ``bench data list``.

    Raises:
        UsageError: There is no results folder.
    """
    from bench.data.local import list_local

    return list_local(existing(results).results)


def _opened(
    name: str,
    root: PathLike | None,
    results: PathLike | None,
    assignments: Sequence[str],
    plugins: Sequence[PathLike] = (),
) -> Opened:
    """Open a data set for inspection; write only the cache."""
    registered(*plugins)
    from bench.inspection.opening import open_named

    return open_named(name, looking(workspace_at(results)), None if root is None else Path(root), assignments)


def _one_of(what: str, value: str, choices: object) -> None:
    """Refuse a value that is not among the choices."""
    if value not in get_args(choices):
        raise unknown_name(what, value, get_args(choices))
