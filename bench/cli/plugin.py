"""``bench new`` and ``bench check-plugin``: write and check plugins."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from bench.api import checks
from bench.api.common import DeviceName
from bench.api.units import NewKind, Style, new_plugin
from bench.cli.common import PluginOption, console

if TYPE_CHECKING:
    from bench.api.checks import PluginCheck

_MARKS = {
    "warn": "[yellow]warn[/yellow]",
    "pass": "[green]pass[/green]",
    "fail": "[bold red]FAIL[/bold red]",
    "skip": "[yellow]skip[/yellow]",
}
_WIDTH = 18
"""Characters of the longest name of a check."""


def new(
    kind: Annotated[NewKind, typer.Argument(help="Kind of plugin.")],
    name: Annotated[str, typer.Argument(help="Its name on the command line, such as my-method.")],
    out: Annotated[Path | None, typer.Option(help="File to write; NAME.py in this folder by default.")] = None,
    style: Annotated[Style | None, typer.Option(help="Example that a method starts from; masked by default.")] = None,
) -> None:
    """Write a plugin file that works, and its test.

    Change them into your own.
    """
    file, test = new_plugin(kind, name, style=style, out=out)
    uses = {
        "method": f"-m {name} -p linear",
        "encoder": f"--encoder {name} -p linear",
        "protocol": f"-m point-mae -p {name}",
        "dataset": f"-m point-mae -p linear --dataset {name}",
        "teacher": f"-m recon -p linear --teacher {name}",
        "block": f"-m point-mae -p linear --set backbone.block={name}",
    }
    screen = console()
    for line in (
        f"wrote {file} and {test}",
        f"check it: bench check-plugin {file}",
        f"run it:   bench run --plugin {file} {uses[kind]} --preset smoke",
        f"test it:  python -m pytest {test}",
    ):
        screen.print(line, markup=False, highlight=False, soft_wrap=True)


def check_plugin(
    file: Annotated[Path, typer.Argument(help="Python file of a plugin.")],
    method: Annotated[
        list[str] | None, typer.Option("--method", "-m", help="Only this plugin of the file; repeatable.")
    ] = None,
    device: Annotated[
        DeviceName, typer.Option(help="auto compares with a GPU where there is one, cpu does not, cuda insists on it.")
    ] = "auto",
    root: Annotated[Path | None, typer.Option(help="Folder of a data set that comes as files.")] = None,
    file_: Annotated[Path | None, typer.Option("--file", help="File of an encoder, as in NAME:FILE.")] = None,
    plugin: PluginOption = None,
) -> None:
    """Check a plugin file against the contracts.

    Checks run at nano size; exit code 1 if one fails.
    """
    screen = console()
    counts: Counter[str] = Counter()

    def conclude() -> None:
        if counts:
            told = f"{counts['pass']} passed, {counts['fail']} failed, {counts['skip']} skipped"
            told += f", {counts['warn']} with a warning" if counts["warn"] else ""
            screen.print(f"  {told}", highlight=False)

    def show(one: PluginCheck) -> None:
        nonlocal counts
        if subjects[-1:] != [one.subject]:
            conclude()
            subjects.append(one.subject)
            counts = Counter()
            screen.print(f"[bold]{escape(one.subject)}[/bold]", highlight=False)
        counts[one.status] += 1
        screen.print(
            f"  {_MARKS[one.status]}  {one.check:{_WIDTH}}  {escape(one.remark)}", highlight=False, soft_wrap=True
        )
        if one.status == "fail":
            screen.print(f"{'':{_WIDTH + 10}}[dim]{escape(one.what)}[/dim]", highlight=False, soft_wrap=True)

    subjects: list[str] = []
    checked = checks.check_plugin(
        file, names=method or (), device=device, root=root, encoder_file=file_, plugins=plugin or (), listener=show
    )
    conclude()
    raise typer.Exit(1 if (checked["status"] == "fail").any() else 0)
