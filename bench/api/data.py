"""Data sets: open, check, draw, audit, name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bench.api.common import PathLike, looking, registered, workspace_at

if TYPE_CHECKING:
    from pydantic import JsonValue

    from bench.data.base import Dataset
    from bench.data.local import LocalDataset
    from bench.inspection.adding import Added
    from bench.inspection.auditing import Audit
    from bench.inspection.facts import CheckReport

Split = Literal["train", "test"]


def dataset(name: str, *, results: PathLike | None = None, preset: str = "nano", **options: JsonValue) -> Dataset:
    """Open a data set: ``bench.dataset("shapes-scan-novel").load("test").points`` is ``[n, N, 3]``.

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


def check_data(name: str, *, results: PathLike | None = None, assignments: Sequence[str] = ()) -> CheckReport:
    """Read all of a data set and report what is wrong (``bench data check``).

    Args:
        name: ``NAME[:ROOT]``, or a name given with `add_data`.
        results: Results folder, which holds such names and the cache.
        assignments: ``data.FIELD=VALUE`` texts.

    Returns:
        Counts, classes, coordinates, copies and ``problems``; a file that cannot be read is a problem, not an error.

    Raises:
        UsageError: The name or an option is wrong.
        DataError: There is nothing at the folder.
    """
    registered()
    from bench.inspection.checking import check_dataset
    from bench.inspection.opening import open_named

    return check_dataset(open_named(name, looking(workspace_at(results)), None, assignments))


def show_data(
    name: str,
    *,
    split: Split = "train",
    index: int | None = None,
    class_name: str | None = None,
    count: int = 1,
    up: Literal["y", "z"] = "y",
    out: PathLike | None = None,
    results: PathLike | None = None,
    assignments: Sequence[str] = (),
) -> Path:
    """Draw objects of a data set as a PNG (``bench data show``).

    Args:
        name: ``NAME[:ROOT]``, or a name given with `add_data`.
        split: Split.
        index: Position in the split, or among the objects of `class_name`.
        class_name: Only objects of this class.
        count: Objects side by side.
        up: Axis of the data that points up.
        out: File to write; named after the objects, in the current folder, when left out.
        results: Results folder.
        assignments: ``data.FIELD=VALUE`` texts.

    Returns:
        The file.

    Raises:
        UsageError: No such set, class or index.
        DataError: The data cannot be read.
        SetupError: The picture cannot be written.
    """
    registered()
    from bench.inspection.opening import open_named
    from bench.inspection.showing import Wanted, show

    opened = open_named(name, looking(workspace_at(results)), None, assignments)
    return show(opened, Wanted(split, index, class_name, count, up), None if out is None else Path(out))[0]


def audit_data(
    a: str,
    b: str | None = None,
    *,
    threshold: float | None = None,
    neighbours: int | None = None,
    a_split: Literal["train", "test", "all"] = "train",
    b_split: Literal["train", "test", "all"] = "test",
    results: PathLike | None = None,
) -> Audit:
    """Find shapes of one data set that are in another too, or copies within one (``bench data audit``).

    Args:
        a: ``NAME[:ROOT]`` of what is learnt from.
        b: ``NAME[:ROOT]`` of what is tested on; None for `a` itself.
        threshold: Near pairs are at most so many times as far apart as two samples of a surface.
        neighbours: Most partners that an object is compared with.
        a_split: Split of `a`.
        b_split: Split of `b`.
        results: Results folder.

    Returns:
        ``report`` with every pair, and the clouds that were compared.

    Raises:
        UsageError: A name or number is wrong.
        DataError: A file is broken.
    """
    registered()
    from bench.data.duplicates import NEIGHBOURS, THRESHOLD
    from bench.inspection.auditing import audit
    from bench.inspection.opening import open_named
    from bench.progress import silent

    place = looking(workspace_at(results))
    return audit(
        open_named(a, place),
        None if b is None else open_named(b, place),
        threshold=THRESHOLD if threshold is None else threshold,
        neighbours=NEIGHBOURS if neighbours is None else neighbours,
        a_split=a_split,
        b_split=b_split,
        progress=silent,
    )


def add_data(
    name: str,
    format: str,
    root: PathLike,
    *,
    results: PathLike | None = None,
    assignments: Sequence[str] = (),
    force: bool = False,
) -> Added:
    """Give a local data set a name, once all its files have been read (``bench data add``).

    Args:
        name: The new name.
        format: Layout of the files, such as ``modelnet-h5`` (``bench.available("datasets")``).
        root: Folder, or the file of format ``h5``.
        results: Results folder that keeps the name.
        assignments: ``data.FIELD=VALUE`` texts, kept with the name.
        force: Replace a name that exists.

    Raises:
        UsageError: A bad or taken name, or an unknown format or option.
        DataError: The files are missing or broken.
        SetupError: The results folder cannot be written.
    """
    registered()
    from bench.inspection.adding import add_named

    place = workspace_at(results)
    place.prepare()
    return add_named(name, format, Path(root), assignments, place, force)


def remove_data(name: str, *, results: PathLike | None = None) -> LocalDataset:
    """Forget the name of a local data set; the files stay (``bench data remove``).

    Raises:
        UsageError: No such name.
    """
    from bench.data.local import remove_local

    return remove_local(workspace_at(results).results, name)


def local_data(*, results: PathLike | None = None) -> dict[str, LocalDataset]:
    """Return the data sets that were given a name (``bench data list``)."""
    from bench.data.local import list_local

    return list_local(workspace_at(results).results)
