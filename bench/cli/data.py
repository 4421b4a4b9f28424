"""``bench data``: names for local data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.common import PluginOption, ResultsOption, console, load_plugins, workspace

app = typer.Typer(help="Give local data sets a name.", no_args_is_help=True)


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Name to use in --dataset and --pretrain-data.")],
    format_: Annotated[str, typer.Option("--format", help="Layout, e.g. modelnet-h5; see bench list datasets.")],
    root: Annotated[Path, typer.Option(help="Folder that holds the files.")],
    assignments: Annotated[list[str] | None, typer.Option("--set", help="data.FIELD=VALUE; repeatable.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a name that exists.")] = False,
    results: ResultsOption = None,
    plugin: PluginOption = None,
) -> None:
    """Name a local data set; its files are read once to check them and are never changed."""
    from bench.data.local import add_local
    from bench.plan.located import Located
    from bench.plan.request import parse_assignment, validated
    from bench.plan.resolve import Overrides, open_dataset
    from bench.registry import DATASETS
    from bench.spec import DataSpec

    load_plugins(plugin)
    place = workspace(results)
    dataset_class = DATASETS.load(format_)
    overrides = Overrides(dict(parse_assignment(text) for text in assignments or []), frozenset({"data"}))
    given = overrides.merge({}, "data")
    options = validated(dataset_class.Options, given, "data").model_dump(mode="json")
    located = Located(DataSpec(name=format_, options=options, manifest=""), name, root.absolute())
    dataset = open_dataset(located, place)
    train, test = len(dataset.load("train")), len(dataset.load("test"))
    add_local(place.results, name, format_, root, given, known_formats=DATASETS.names(), force=force)
    classes = dataset.classes()
    screen = console()
    screen.print(
        f"{name}: {train} train and {test} test clouds of {len(classes)} classes "
        f"({', '.join(classes[:6])}{', ...' if len(classes) > 6 else ''})",
        highlight=False,
    )
    screen.print(f"use it: bench run --dataset {name}   or   bench run --pretrain-data {name}", highlight=False)


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="Name given with bench data add.")], results: ResultsOption = None
) -> None:
    """Forget a name; the files stay."""
    from bench.data.local import remove_local

    gone = remove_local(workspace(results).results, name)
    console().print(f"forgot {name}; its files in {gone.root} stay", highlight=False)


@app.command("list")
def list_(results: ResultsOption = None) -> None:
    """List local names; embedded data sets and formats are in bench list datasets."""
    from rich.table import Table

    from bench.data.local import list_local

    table = Table(box=None, pad_edge=False)
    for column in ("name", "format", "folder", "options"):
        table.add_column(column, overflow="fold")
    known = list_local(workspace(results).results)
    for name, entry in known.items():
        options = ", ".join(f"{field}={value}" for field, value in entry.options.items())
        table.add_row(f"[bold]{name}[/bold]", entry.format, entry.root, options)
    console().print(table if known else "no local names yet; add one with: bench data add NAME --format F --root DIR")
