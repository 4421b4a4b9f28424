"""``bench data``: name, check, show and audit data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.api import data
from bench.api.data import Split, Splits, Up
from bench.cli.common import PluginOption, ResultsOption, console

app = typer.Typer(help="Name local data sets; check, show and audit data sets.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="NAME[:ROOT]: a data set, with its folder; see bench list datasets.")]
RootOption = Annotated[Path | None, typer.Option("--root", help="Folder (or file), instead of :ROOT.")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="data.FIELD=VALUE; repeatable.")]


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Name to use in --dataset and --pretrain-data.")],
    format_: Annotated[str, typer.Option("--format", help="Layout, e.g. modelnet-h5; see bench list datasets.")],
    root: Annotated[Path, typer.Option(help="Folder that holds the files, or the file of format h5.")],
    assignments: Annotated[list[str] | None, typer.Option("--set", help="data.FIELD=VALUE; repeatable.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a name that exists.")] = False,
    results: ResultsOption = None,
    plugin: PluginOption = None,
) -> None:
    """Name a local data set.

    Its files are read once to check them and are never changed.
    """
    added = data.add_data(
        name, format_, root, results=results, assignments=assignments or (), force=force, plugins=plugin or ()
    )
    screen = console()
    screen.print(f"{name}: {added.contents}", highlight=False, markup=False)
    for number, command in enumerate(added.uses):
        screen.print(f"{'use it:' if not number else '    or:'} {command}", highlight=False, markup=False)


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="Name given with bench data add.")], results: ResultsOption = None
) -> None:
    """Forget a name; the files stay."""
    gone = data.remove_data(name, results=results)
    console().print(f"forgot {name}; its files in {gone.root} stay", highlight=False, markup=False)


@app.command("list")
def list_(results: ResultsOption = None) -> None:
    """List local names; for formats see bench list datasets."""
    from rich.text import Text

    from bench.report.plain import TextTable

    rows = []
    known = data.local_data(results=results)
    for name, entry in known.items():
        options = ", ".join(f"{field}={value}" for field, value in entry.options.items())
        rows.append((Text(name, style="bold"), entry.format, options, entry.root))
    table = TextTable(("name", "format", "options", "folder"), rows, whole=("name", "format"), below=("folder",))
    console().print(table if known else "no local names yet; add one with: bench data add NAME --format F --root DIR")


@app.command()
def check(
    name: NameArgument,
    root: RootOption = None,
    assignments: SetOption = None,
    json: Annotated[Path | None, typer.Option("--json", help="Write all findings to this file.")] = None,
    manifest: Annotated[
        Path | None, typer.Option("--manifest", help="Write path, size and SHA-256 of every file to this CSV.")
    ] = None,
    results: ResultsOption = None,
    plugin: PluginOption = None,
) -> None:
    """Check a data set: counts, classes, coordinates, copies, problems.

    All of it is read.

    Exit code 1 where something is wrong: unreadable files, NaN, an empty class, test objects that are in train.
    """
    report = data.check_data(name, root=root, results=results, assignments=assignments or (), plugins=plugin or ())
    from bench.inspection.check_tables import print_report
    from bench.store.publish import write_whole

    screen = console()
    print_report(report, screen)
    if json is not None:
        write_whole(json, report.model_dump_json(indent=2) + "\n")
        screen.print(f"wrote {json}", highlight=False, markup=False)
    if manifest is not None:
        lines, digest = data.list_files(name, manifest, root=root, results=results, assignments=assignments or ())
        screen.print(f"wrote {manifest}: {lines:,} lines, SHA-256 {digest}", highlight=False, markup=False)
    raise typer.Exit(1 if report.problems else 0)


@app.command()
def show(
    name: NameArgument,
    index: Annotated[int | None, typer.Option("--index", help="Position in the split (or within --class).")] = None,
    split: Annotated[Split, typer.Option("--split", help="Split.")] = "train",
    class_name: Annotated[str | None, typer.Option("--class", help="Only objects of this class.")] = None,
    count: Annotated[int, typer.Option("--count", help="Objects side by side, spread over the split.")] = 1,
    up: Annotated[Up, typer.Option("--up", help="Axis of the data that points up.")] = "y",
    out: Annotated[Path | None, typer.Option("--out", help="PNG to write.")] = None,
    root: RootOption = None,
    assignments: SetOption = None,
    results: ResultsOption = None,
    plugin: PluginOption = None,
) -> None:
    """Draw an object, several side by side, or a room."""
    picture = data.show_data(
        name,
        split=split,
        index=index,
        class_name=class_name,
        count=count,
        up=up,
        out=out,
        root=root,
        results=results,
        assignments=assignments or (),
        plugins=plugin or (),
    )
    screen = console()
    screen.print(picture.line, highlight=False, markup=False)
    screen.print(f"wrote {picture.path}", highlight=False, markup=False)


@app.command()
def audit(
    a: Annotated[str, typer.Argument(metavar="A", help="Training data set: NAME[:ROOT].")],
    b: Annotated[
        str | None, typer.Argument(metavar="[B]", help="Test data set: NAME[:ROOT]; A itself by default.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Largest distance of a near pair, relative to two samples of one surface.")
    ] = None,
    neighbours: Annotated[int | None, typer.Option(help="Most candidates that each object is compared with.")] = None,
    a_split: Annotated[Splits, typer.Option("--a-split", help="Split of A.")] = "train",
    b_split: Annotated[Splits, typer.Option("--b-split", help="Split of B.")] = "test",
    a_set: Annotated[list[str] | None, typer.Option("--set-a", help="data.FIELD=VALUE of A; repeatable.")] = None,
    b_set: Annotated[list[str] | None, typer.Option("--set-b", help="data.FIELD=VALUE of B; repeatable.")] = None,
    pictured: Annotated[int, typer.Option("--top", min=0, help="Pairs in the picture.")] = 12,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for pairs.csv, audit.json and pairs.png.")] = None,
    results: ResultsOption = None,
    plugin: PluginOption = None,
) -> None:
    """Find A's training shapes in B's test split, also near-copies.

    Without B, find copies within A.
    """
    from bench.data.reading_progress import progress_on_stderr

    found = data.audit_data(
        a,
        b,
        threshold=threshold,
        neighbours=neighbours,
        a_split=a_split,
        b_split=b_split,
        a_assignments=a_set or (),
        b_assignments=b_set or (),
        results=results,
        plugins=plugin or (),
        progress=progress_on_stderr("shapes"),
    )
    from bench.inspection.audit_output import print_audit, write_audit

    screen = console()
    print_audit(found.report, screen)
    for path in write_audit(found, out, pictured) if out is not None else ():
        screen.print(f"wrote {path}", highlight=False, markup=False)
