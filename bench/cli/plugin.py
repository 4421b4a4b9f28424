"""``bench new`` and ``bench check-plugin``: write a plugin file, and check that it keeps the contracts."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from bench.cli.common import PluginOption, console, load_plugins

if TYPE_CHECKING:
    from bench.conformance.checks import Suite

_MARKS = {"pass": "[green]pass[/green]", "fail": "[bold red]FAIL[/bold red]", "skip": "[yellow]skip[/yellow]"}


class NewKind(StrEnum):
    """Kinds of plugins that can be written."""

    method = "method"
    protocol = "protocol"
    dataset = "dataset"
    teacher = "teacher"


class NewStyle(StrEnum):
    """Examples that a method can start from."""

    masked = "masked"
    contrastive = "contrastive"


def new(
    kind: Annotated[NewKind, typer.Argument(help="What to write.")],
    name: Annotated[str, typer.Argument(help="Its name on the command line, such as my-method.")],
    out: Annotated[Path | None, typer.Option(help="File to write; NAME.py in this folder when left out.")] = None,
    style: Annotated[NewStyle | None, typer.Option(help="What a method starts from; masked when left out.")] = None,
) -> None:
    """Write a plugin file that works, and its test.

    Change them into your own.
    """
    from bench.errors import UsageError
    from bench.scaffold.writing import scaffold

    if style and kind is not NewKind.method:
        raise UsageError(f"--style {style.value} is for methods; a {kind.value} has one example")
    file, test = scaffold(kind.value, name, (style or NewStyle.masked).value, out)
    uses = {
        "method": f"-m {name} -p linear",
        "protocol": f"-m point-mae -p {name}",
        "dataset": f"-m point-mae -p linear --dataset {name}",
        "teacher": f"-m recon -p linear --teacher {name}",
    }
    screen = console()
    for line in (
        f"wrote {file} and {test}",
        f"check it: bench check-plugin {file}",
        f"run it:   bench run --plugin {file} {uses[kind.value]} --preset smoke",
        f"test it:  python -m pytest {test}",
    ):
        screen.print(line, markup=False, highlight=False, soft_wrap=True)


def check_plugin(
    file: Annotated[Path, typer.Argument(help="Python file of a plugin.")],
    method: Annotated[
        list[str] | None, typer.Option("--method", "-m", help="Only this plugin of the file; repeatable.")
    ] = None,
    device: Annotated[
        str, typer.Option(help="auto compares with a GPU where there is one, cpu does not, cuda insists on it.")
    ] = "auto",
    root: Annotated[Path | None, typer.Option(help="Folder of a data set that comes as files.")] = None,
    plugin: PluginOption = None,
) -> None:
    """Check a plugin file against the contracts.

    Checks run at nano size; exit code 1 if one fails.
    """
    load_plugins(plugin)
    from bench.conformance.suites import file_suites
    from bench.training.precision import resolve_device

    resolve_device(device)
    suites = file_suites(file, tuple(method or ()), device=device, root=root)
    raise typer.Exit(1 if sum(_print(suite) for suite in suites) else 0)


def _print(suite: Suite[Any]) -> int:
    """Make a suite's checks and print a line for each; return how many failed."""
    screen = console()
    screen.print(f"[bold]{escape(suite.subject)}[/bold]", highlight=False)
    width = max(map(len, suite.checks.names()))
    counts: Counter[str] = Counter()
    for outcome in suite.run():
        counts[outcome.status] += 1
        line = f"  {_MARKS[outcome.status]}  {outcome.check:{width}}  {escape(outcome.remark)}"
        screen.print(line, highlight=False, soft_wrap=True)
        if outcome.status == "fail":
            indent = " " * (width + 10)
            screen.print(
                f"{indent}[dim]{escape(suite.checks[outcome.check].what)}[/dim]", highlight=False, soft_wrap=True
            )
    told = f"{counts['pass']} passed, {counts['fail']} failed, {counts['skip']} skipped"
    screen.print(f"  {told}", highlight=False)
    return counts["fail"]
