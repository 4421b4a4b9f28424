"""``bench verify`` and ``bench check``: is it still computing what it should?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.common import PluginOption, console, load_plugins, note_environment
from bench.errors import UsageError

app = typer.Typer(help="Compare with recorded reference numbers.", no_args_is_help=True)


@app.callback()
def verify() -> None:
    """Compare with recorded reference numbers."""


@app.command()
def golden(
    folder: Annotated[Path, typer.Argument(help="Folder of recorded .npz files.")],
    strict: Annotated[bool, typer.Option("--strict", help="Files that are not covered fail too.")] = False,
) -> None:
    """Load recorded weights and inputs, and compare outputs, buffers and gradient norms."""
    from bench.interop.golden import exit_code, report_lines, summary_line, verify_folder

    results = verify_folder(folder)
    for line in (*report_lines(results), summary_line(results, strict=strict)):
        console().print(line, highlight=False, markup=False, soft_wrap=True)
    raise typer.Exit(exit_code(results, strict=strict))


def check(
    baseline: Annotated[
        Path,
        typer.Option(help="Baseline file: the accepted numbers; beside it the suite, a .yaml of the same name."),
    ],
    results: Annotated[
        Path | None, typer.Option(help="Empty folder to run in and to keep.", show_default="a temporary one")
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, help="How many of the baseline's seeds to run.", show_default="3, or all if fewer"),
    ] = None,
    update: Annotated[bool, typer.Option("--update", help="Write the suite's numbers as the new baseline.")] = False,
    plugin: PluginOption = None,
) -> None:
    """Run the baseline's suite into an empty folder and compare: 0 pass, 1 fail, 3 undecided, 4 broken."""
    from bench.gate import check as gate

    note_environment(console())
    plugins = load_plugins(plugin)
    if update and seeds is not None:
        raise UsageError("--seeds is for comparing; a new baseline (--update) has the seeds of its suite")
    if update:
        raise typer.Exit(gate.update(baseline, results, plugins, console()))
    raise typer.Exit(gate.check(baseline, results, plugins, console(), seeds))
