"""``bench teachers``: fit the embedded teacher and see what it knows."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.cli.common import PluginOption, ResultsOption, console, load_plugins, workspace

app = typer.Typer(help="Fit and inspect teachers.", no_args_is_help=True)


@app.callback()
def teachers() -> None:
    """Fit and inspect teachers."""


@app.command()
def fit(
    name: Annotated[str, typer.Argument(help="Teacher, see bench list teachers.")],
    assignments: Annotated[list[str] | None, typer.Option("--set", help="teacher.FIELD=VALUE; repeatable.")] = None,
    results: ResultsOption = None,
    plugin: PluginOption = None,
) -> None:
    """Fit a teacher (once; later calls show its report) and report held-out retrieval against chance."""
    from bench.execution.teachers import fit_teacher

    load_plugins(plugin)
    report = fit_teacher(name, assignments or [], workspace(results), console())
    screen = console()
    for part, figures in report.items():
        if not isinstance(figures, dict):
            screen.print(f"{part}: {figures}", highlight=False, markup=False)
            continue
        screen.print(f"[bold]{part.replace('_', ' ')}[/bold]", highlight=False)
        for figure, value in figures.items():
            shown = f"{value:.4g}" if isinstance(value, float) else str(value)
            screen.print(f"  {figure.replace('_', ' ')}: {shown}", highlight=False, markup=False)
