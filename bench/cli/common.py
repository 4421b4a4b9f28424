"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from bench.paths import Workspace

ResultsOption = Annotated[
    Path | None,
    typer.Option("--results", help="Results folder (BENCH_RESULTS, or ./results).", show_default=False),
]
StoreOption = Annotated[
    str | None,
    typer.Option("--store-url", envvar="BENCH_STORE_URL", help="Database URL instead of <results>/bench.sqlite."),
]
VerifyOption = Annotated[
    bool,
    typer.Option("--verify", help="Believe nothing of the index: read everything again and check every checksum."),
]
MethodFilter = Annotated[
    list[str] | None, typer.Option("--method", "-m", help="Only stored runs of this method; repeatable.")
]
ProtocolFilter = Annotated[list[str] | None, typer.Option("--protocol", "-p", help="Only this; repeatable.")]
DatasetFilter = Annotated[list[str] | None, typer.Option("--dataset", help="Only this, as listed; repeatable.")]
PresetFilter = Annotated[list[str] | None, typer.Option("--preset", help="Only this preset; repeatable.")]
PluginOption = Annotated[
    list[Path] | None,
    typer.Option("--plugin", help="Python file with methods, protocols, data sets, teachers or blocks; repeatable."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead, with fields that stay.")]

ThreadsOption = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        max=1024,
        help="CPU threads of one job's operators, a part of the key (default: 1 on a CPU, 4 on a GPU, everywhere).",
    ),
]


def workspace(results: Path | None) -> Workspace:
    """Return the workspace of a command, writable or an error."""
    from bench.paths import Workspace

    place = Workspace.at(results)
    place.prepare()
    return place


def looking(results: Path | None) -> Workspace:
    """Return the workspace of a command that looks at data: no results folder is needed, none is changed.

    Nothing is written but the cache, and that only where it may be.

    Raises:
        SetupError: A file is in its way.
    """
    from dataclasses import replace

    from bench.paths import Workspace
    from bench.store.scratch import lent_cache

    place = Workspace.at(results)
    place.refuse_file()
    return replace(place, cache=lent_cache(place.cache))


def reading(results: Path | None, *, data: bool = False) -> Workspace:
    """Return the workspace of a command that only reads: it must be there, and nothing is created in it.

    Args:
        results: The results folder; None for the default one.
        data: Whether data sets are looked at too (see `looking`).

    Raises:
        UsageError: There is no such folder.
        SetupError: A file is in its way.
    """
    from bench.errors import UsageError
    from bench.paths import Workspace

    place = Workspace.at(results)
    if not place.results.is_dir():
        place.refuse_file()
        raise UsageError(
            f"no results folder at {place.results}; give the right one with --results, or make it with: "
            "bench run --method recon --protocol fewshot"
        )
    return looking(results) if data else place


def load_plugins(files: Sequence[Path] | None) -> tuple[Path, ...]:
    """Register installed plugins and the given plugin files."""
    from bench.plugins import load_entry_points, load_plugin_file

    load_entry_points()
    paths = tuple(path.resolve() for path in files or ())
    for path in paths:
        load_plugin_file(path)
    return paths


def note_environment(screen: Console) -> None:
    """Say which variables of the environment jobs are not given."""
    from rich.markup import escape

    from bench.environment import unused_note

    if (note := unused_note()) is not None:
        screen.print(f"[yellow]note[/yellow]: {escape(note)}", highlight=False)


def print_json(value: object) -> None:
    """Print a value as JSON, for programs: nothing is wrapped, shortened or coloured."""
    import json

    print(json.dumps(value, indent=1, allow_nan=False))


def console() -> Console:
    """Return the console for results."""
    from bench.texts import screen

    return screen()


def chosen_labels(
    method: list[str] | None, protocol: list[str] | None, dataset: list[str] | None, preset: list[str] | None
) -> dict[str, list[str]]:
    """Return the accepted values of the labels that were asked for."""
    asked = {"method": method, "protocol": protocol, "dataset": dataset, "preset": preset}
    return {label: values for label, values in asked.items() if values}
