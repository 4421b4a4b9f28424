"""``bench db``: the index of the stored runs."""

from __future__ import annotations

import typer
from rich.markup import escape

from bench.api.results import load
from bench.cli.common import ResultsOption, StoreOption, console

app = typer.Typer(help="Rebuild and inspect the index of stored runs.", no_args_is_help=True)


@app.command()
def rebuild(results: ResultsOption = None, store_url: StoreOption = None) -> None:
    """Recreate the index from the run folders.

    Damaged folders are set aside and named.
    """
    found = load(results, store_url=store_url).rebuild_index()
    screen = console()
    screen.print(f"indexed {found.indexed} finished and {found.failed} failed runs", highlight=False)
    if found.mended:
        screen.print(f"[yellow]mended[/yellow] the index said otherwise: {escape(found.mended)}", highlight=False)
    for _, reason in found.skipped:
        screen.print(f"[yellow]left out[/yellow] {escape(reason)}", highlight=False)
    for path, reason in found.quarantined:
        screen.print(f"[yellow]set aside[/yellow] {escape(f'{path}: {reason}')}", highlight=False)
    raise typer.Exit(1 if found.quarantined else 0)


@app.command()
def status(results: ResultsOption = None, store_url: StoreOption = None) -> None:
    """Show the index's counts and sizes beside the folders'."""
    from dataclasses import fields

    found = load(results, store_url=store_url).index_status()
    for field in fields(found):
        value = getattr(found, field.name)
        console().print(f"{field.name.replace('_', ' ')}: {value}", highlight=False, markup=False)
