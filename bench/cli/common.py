"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Iterable
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
    typer.Option("--verify", help="Ignore the index: read every run again and verify all checksums."),
]
MethodFilter = Annotated[
    list[str] | None, typer.Option("--method", "-m", help="Only stored runs of this method; repeatable.")
]
ProtocolFilter = Annotated[list[str] | None, typer.Option("--protocol", "-p", help="Only this protocol; repeatable.")]
DatasetFilter = Annotated[
    list[str] | None, typer.Option("--dataset", help="Only this data set, as listed; repeatable.")
]
PresetFilter = Annotated[list[str] | None, typer.Option("--preset", help="Only this preset; repeatable.")]
WhereFilter = Annotated[
    list[str] | None,
    typer.Option("--where", metavar="FIELD=VALUE", help="Only runs with this, as bench why prints fields; repeatable."),
]
PluginOption = Annotated[
    list[Path] | None,
    typer.Option("--plugin", help="Python file with methods, protocols, data sets, teachers or blocks; repeatable."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON with stable field names instead.")]

ThreadsOption = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        max=1024,
        help="CPU threads of each job; part of the key (default: 1 for jobs on a CPU, 4 on a GPU).",
    ),
]
EngineOption = Annotated[
    str | None, typer.Option("--engine", help="Where jobs run: local (default), or one of bench list engines.")
]
EngineConfigOption = Annotated[
    Path | None, typer.Option("--engine-config", help="YAML file with options of the engine.")
]

GpusOption = Annotated[
    int | None,
    typer.Option("--gpus", min=1, help="GPUs (or CPU processes) that pretrain one network together; part of the key."),
]


def reading(results: Path | None) -> Workspace:
    """Return the workspace of a command that only reads.

    It must exist, and nothing is created in it.
    """
    import gc

    from bench.api.common import existing

    # Such a command makes millions of small values, which are no garbage: looking for some took a third of its time.
    gc.set_threshold(50_000, 20, 50)
    return existing(results)


def note_environment(screen: Console) -> None:
    """Say which environment variables jobs do not get."""
    from rich.markup import escape

    from bench.environment import unused_note

    if (note := unused_note()) is not None:
        screen.print(f"[yellow]note[/yellow]: {escape(note)}", highlight=False)


def print_json(value: object) -> None:
    """Print a value as JSON, without wrapping or colours."""
    import json

    print(json.dumps(value, indent=1, allow_nan=False))


def print_json_list(values: Iterable[object]) -> None:
    """Print a list like `print_json`, value by value."""
    import json
    import textwrap

    before = "["
    for value in values:
        print(before + "\n" + textwrap.indent(json.dumps(value, indent=1, allow_nan=False), " "), end="")
        before = ","
    print("[]" if before == "[" else "\n]")


def console() -> Console:
    """Return the console for results."""
    from bench.texts import screen

    return screen()


def read_fields(texts: Iterable[str] | None) -> dict[str, tuple[str, ...]]:
    """Read ``--where FIELD=VALUE``; values of one field are joined.

    Raises:
        UsageError: A text has another form.
    """
    from bench.errors import UsageError

    found: dict[str, tuple[str, ...]] = {}
    for text in texts or ():
        name, sign, value = (part.strip() for part in text.partition("="))
        if not sign or not name or not value:
            raise UsageError(f"--where {text}: expected FIELD=VALUE, as bench why prints fields")
        found[name] = (*found.get(name, ()), value)
    return found


def chosen_labels(
    method: list[str] | None, protocol: list[str] | None, dataset: list[str] | None, preset: list[str] | None
) -> dict[str, list[str]]:
    """Return the labels asked for, with their accepted values."""
    asked = {"method": method, "protocol": protocol, "dataset": dataset, "preset": preset}
    return {label: values for label, values in asked.items() if values}
