"""``bench published``: figures of the literature, each with its source."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.cli.common import JsonOption, console, print_json

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Show published figures, with source and selection."
)


@app.callback()
def _group() -> None:
    """Show published figures, with source and selection."""


@app.command()
def show(
    method: Annotated[
        list[str] | None, typer.Option("--method", "-m", help="Method, by our name or the literature's; repeatable.")
    ] = None,
    dataset: Annotated[list[str] | None, typer.Option(help="Data set, e.g. ModelNet40; repeatable.")] = None,
    protocol: Annotated[
        list[str] | None, typer.Option("--protocol", "-p", help="Protocol, by our name or theirs; repeatable.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """List published figures with source, selection and standing.

    "Chosen" is what the source says of it: best epoch on test, best of k seeds, votes.
    """
    from bench.published.figures import select

    found = select(method or (), dataset or (), protocol or ())
    if json:
        print_json([figure.as_json() for figure in found])
        return
    from bench.report.literature import figures_document
    from bench.report.terminal import render_terminal

    render_terminal(figures_document(found), console())
