"""Options that several commands share."""

from __future__ import annotations

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


def reading(results: Path | None) -> Workspace:
    """Return the workspace of a command that only reads: it must be there, and nothing is created in it."""
    from bench.api.common import existing

    return existing(results)


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
