"""Plugins, results folders and types shared within the API."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from bench.errors import UsageError
from bench.paths import Workspace

Names = str | Sequence[str]
"""One name or several."""
PathLike = str | Path
DeviceName = Literal["auto", "cpu", "cuda"]
Form = Literal["fair", "published"]
DEVICES: tuple[DeviceName, ...] = get_args(DeviceName)

_loaded: dict[Path, None] = {}
"""Plugin files of this process, in the order of their registration: jobs of its studies load them too."""


def load_plugins(*files: PathLike) -> tuple[Path, ...]:
    """Register plugin files for this process and later studies.

    The jobs of these studies load them too.

    Returns:
        The files, absolute.

    Raises:
        UsageError: A file is missing, cannot be imported, or takes a name that is taken.
    """
    paths = registered(*files)
    _loaded.update(dict.fromkeys(paths))
    return paths


def loaded_plugins() -> tuple[Path, ...]:
    """Return the files of `load_plugins`, in loading order."""
    return tuple(_loaded)


def registered(*files: PathLike) -> tuple[Path, ...]:
    """Register installed plugins and plugin files.

    Loading one twice does nothing.

    Returns:
        The files, absolute.

    Raises:
        UsageError: A file is missing, cannot be imported, or takes a name that is taken.
    """
    from bench.plugins import load_entry_points, load_plugin_file

    load_entry_points()
    paths = tuple(dict.fromkeys(Path(file).resolve() for file in files))
    for path in paths:
        load_plugin_file(path)
    return paths


def workspace_at(results: PathLike | None) -> Workspace:
    """Return the results folder given, or the default one."""
    return Workspace.at(None if results is None else Path(results))


def existing(results: PathLike | None) -> Workspace:
    """Return an existing results folder for reading.

    Raises:
        UsageError: There is no such folder.
        SetupError: A file is in its way.
    """
    place = workspace_at(results)
    if not place.results.is_dir():
        place.refuse_file()
        raise UsageError(
            f"no results folder at {place.results}; give the right one with --results (results=), or make it with: "
            "bench run --method recon --protocol fewshot"
        )
    return place


def looking(place: Workspace) -> Workspace:
    """Return a workspace in which only the cache is written.

    A temporary cache replaces one that is read-only.
    """
    from bench.store.scratch import lent_cache

    place.refuse_file()
    return replace(place, cache=lent_cache(place.cache))


def listed(names: Names | None) -> tuple[str, ...] | None:
    """Return one name or several as a tuple."""
    return None if names is None else (names,) if isinstance(names, str) else tuple(names)


def fraction_of_points(name: str, points: float) -> float:
    """Return a difference given in points as a fraction.

    Args:
        name: Name of the argument, for the error.
        points: Points of accuracy.

    Raises:
        UsageError: It is not above 0 and below 100.
    """
    if not 0 < points < 100:
        raise UsageError(f"{name} {points:g}: expected points of accuracy above 0 and below 100, e.g. 1.0")
    return points / 100
