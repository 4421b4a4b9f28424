"""``bench teachers``: fit, fetch and inspect teachers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from bench.api.units import fit_teacher, teacher
from bench.cli.common import PluginOption, ResultsOption, console

if TYPE_CHECKING:
    from pydantic import JsonValue

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
    """Fit the embedded teacher, or download another's weights.

    Later calls show the report.
    """
    _print(fit_teacher(name, results=results, assignments=assignments or (), plugins=plugin or ()))


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Teacher, see bench list teachers.")],
    assignments: Annotated[list[str] | None, typer.Option("--set", help="teacher.FIELD=VALUE; repeatable.")] = None,
    results: ResultsOption = None,
    plugin: PluginOption = None,
) -> None:
    """Show what a teacher is and whether it is ready."""
    _print(teacher(name, results=results, assignments=assignments or (), plugins=plugin or ()))


def _print(report: Mapping[str, JsonValue]) -> None:
    screen = console()
    for part, figures in report.items():
        if not isinstance(figures, dict):
            screen.print(f"{part}: {figures}", highlight=False, markup=False, soft_wrap=True)
            continue
        screen.print(f"[bold]{part.replace('_', ' ')}[/bold]", highlight=False)
        for figure, value in figures.items():
            shown = f"{value:.4g}" if isinstance(value, float) else str(value)
            screen.print(f"  {figure.replace('_', ' ')}: {shown}", highlight=False, markup=False)
