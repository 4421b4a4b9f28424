"""``bench db``: the index of the stored runs, and changes of all of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from bench.api.results import load
from bench.cli.common import (
    DatasetFilter,
    MethodFilter,
    PresetFilter,
    ProtocolFilter,
    ResultsOption,
    StoreOption,
    WhereFilter,
    chosen_labels,
    console,
    read_fields,
)

app = typer.Typer(help="Rebuild, inspect, merge and rescore stored runs.", no_args_is_help=True)


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
    for field in fields(found):  # all of them are plain values, counts by name, or holders of leases
        value = getattr(found, field.name)
        told = _readable(value, sizes=field.name == "sizes")
        console().print(f"{field.name.replace('_', ' ')}: {told}", highlight=False, markup=False, soft_wrap=True)


def _readable(value: object, *, sizes: bool) -> str:
    """Return a value of the status as words."""
    if value is None or value in ({}, []):
        return "none"
    if isinstance(value, dict):
        return ", ".join(f"{name} {f'{n / 1e6:.1f} MB' if sizes else n}" for name, n in value.items())
    if isinstance(value, list):
        held = ((one, one.host.partition("/")[0]) for one in value)
        return "; ".join(f"{one.kind} {one.key[:12]} by process {one.pid} on {host}" for one, host in held)
    return str(value)


SHOWN = 20
"""Lines of one kind that are printed; more are counted."""


@app.command()
def merge(
    other: Annotated[Path, typer.Argument(metavar="OTHER", help="Another results folder, or a bundle.")],
    results: ResultsOption = None,
    store_url: StoreOption = None,
) -> None:
    """Take the runs of another results folder or a bundle in.

    Every run is verified first, and nothing that is here is changed. Exit
    code 1 where a run is left out: damaged, forged, or here with other numbers.
    """
    from bench.api.sharing import merge as take_in

    found = take_in(other, results, store_url=store_url)
    failed = f" and {found.failed} failed" if found.failed else ""
    console().print(f"took in {found.done} finished{failed} runs; {found.there} were here already", highlight=False)
    if found.skipped:
        console().print(f"learnt why {found.skipped} combinations were skipped", highlight=False)
    _some("note", "yellow", found.beside)
    _some("not verified", "yellow", (f"{name}: {why}" for name, why in found.unverified.items()))
    _some("conflict", "red", map(str, found.conflicts))
    _some("left out", "red", map(str, found.refused))
    raise typer.Exit(1 if found.conflicts or found.refused else 0)


@app.command()
def rescore(
    method: MethodFilter = None,
    protocol: ProtocolFilter = None,
    dataset: DatasetFilter = None,
    preset: PresetFilter = None,
    where: WhereFilter = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing; say what would change.")] = False,
    results: ResultsOption = None,
    store_url: StoreOption = None,
) -> None:
    """Score stored predictions again with today's metric code.

    Old values and old run folders are kept. Exit code 1 where numbers of
    today's code do not follow from their predictions.
    """
    labels = chosen_labels(method, protocol, dataset, preset)
    found = load(results, store_url=store_url).where(read_fields(where)).rescore(dry_run=dry_run, **labels)  # type: ignore[arg-type]
    _some("put back", "yellow", found.restored)
    lines = (f"{one.run}: {one.name} {one.old:.6f} -> {one.new:.6f}" for one in found.changed)
    _some("would change" if dry_run else "changed", "yellow", lines)
    _some("not verified", "yellow", (f"{name}: {why}" for name, why in found.unverified.items()))
    _some("does not follow", "red", map(str, found.wrong))
    verb = "would be scored" if dry_run else "scored"
    console().print(
        f"{found.runs} runs {verb} anew ({len(found.changed)} numbers), {found.unchanged} unchanged", highlight=False
    )
    raise typer.Exit(1 if found.wrong else 0)


def _some(what: str, colour: str, lines: Iterable[str]) -> None:
    """Print the first lines of a kind, and count the others."""
    told = list(lines)
    for line in told[:SHOWN]:
        console().print(f"[{colour}]{what}[/{colour}] {escape(line)}", highlight=False, soft_wrap=True)
    if len(told) > SHOWN:
        console().print(f"[{colour}]{what}[/{colour}] {len(told) - SHOWN} more", highlight=False)
