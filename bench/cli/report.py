"""``bench report``: tables, files and pages of stored runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from bench.cli.common import (
    DatasetFilter,
    JsonOption,
    MethodFilter,
    PresetFilter,
    ProtocolFilter,
    StoreOption,
    VerifyOption,
    WhereFilter,
    chosen_labels,
    console,
    read_fields,
    reading,
)
from bench.errors import UsageError
from bench.report.forms import ALWAYS, FigureWidth, Format


def report(
    results: Annotated[
        list[Path] | None,
        typer.Option("--results", help="Results folder (BENCH_RESULTS, or ./results); repeatable.", show_default=False),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the files.")] = Path("reports"),
    form: Annotated[
        Format | None,
        typer.Option("--format", help="Write this file only, and print it instead of the tables.", show_default=False),
    ] = None,
    json: JsonOption = False,
    figures: Annotated[
        FigureWidth | None,
        typer.Option(
            help="Also write all figures as PDF, SVG and PNG to figures/, 85 mm (column) or 175 mm (page) wide.",
            show_default=False,
        ),
    ] = None,
    title: Annotated[str, typer.Option(help="Title of the files.")] = "",
    selection: Annotated[
        bool, typer.Option("--selection", help="Print scores chosen on validation, last epoch and test instead.")
    ] = False,
    page: Annotated[
        Path | None, typer.Option(help="Write only the page that this YAML file describes, beside it.")
    ] = None,
    method: MethodFilter = None,
    protocol: ProtocolFilter = None,
    dataset: DatasetFilter = None,
    preset: PresetFilter = None,
    where: WhereFilter = None,
    group_by: Annotated[
        str, typer.Option(metavar="FIELD", help="A table of its own for each value of this field.")
    ] = "",
    published: Annotated[
        bool, typer.Option("--published", help="Set published figures beside the runs that correspond to them.")
    ] = False,
    verify: VerifyOption = False,
    store_url: StoreOption = None,
) -> None:
    """Print stored results; write HTML, CSV, Markdown and JSON.

    The HTML page needs no other file. --format latex writes results.tex, with
    tables for a paper, --format latex-report writes all of it as report.tex;
    --json is --format json. Several results folders are read as one: a run
    that two of them have counts once.
    """
    if json and form not in (None, "json"):
        raise UsageError(f"--json is --format json: give it without --format {form}")
    form = "json" if json else form
    if form is not None and selection:
        raise UsageError(f"--selection prints one table, which every file holds: give it without {_asked(form, json)}")
    labels, fields = chosen_labels(method, protocol, dataset, preset), read_fields(where)
    if page is not None:
        chosen = [*(f"--{name}" for name in labels), *["--where"] * bool(fields), *["--group-by"] * bool(group_by)]
        chosen += ["--figures"] * (figures is not None)
        for option in (*chosen, *["--selection"] * selection, *["--published"] * published):
            raise UsageError(f"{page} says itself what it shows: give --page without {option}")
    screen, places = console(), [reading(place) for place in results] if results else [reading(None)]
    from bench.reporting import write_page, write_report

    if verify:
        from bench.store.artifacts import ArtifactStore

        for place in places:
            ArtifactStore(place.results, readonly=True).check(digests=True)
    if page is not None:
        if form == "csv":
            raise UsageError("a page has several tables and no CSV: give --page with another --format")
        if form == "latex-report":
            raise UsageError("--format latex-report is the whole report: give --page with --format latex")
        written = write_page(places, store_url, page, form or "markdown", title)
        screen.print(f"wrote {written}", highlight=False, markup=False)
        return
    made = write_report(
        places,
        store_url,
        out,
        None if form else screen,
        selection=selection,
        labels=labels,
        where=fields,
        verify=verify,
        forms=(form,) if form else ALWAYS,
        title=title,
        group_by=group_by,
        figures=figures,
        published=published,
    )
    if form:
        print(made.file(form).read_text(encoding="utf-8"), end="")
        return
    shown = escape(str(made.html))
    if figures:
        screen.print(f"{len(made.figures)} figures: {escape(str(out / 'figures'))}", highlight=False)
    screen.print(f"report: [bold]{shown}[/bold]  (open it in a browser; CSV, Markdown and JSON lie beside it)")


def _asked(form: Format, json: bool) -> str:
    return "--json" if json else f"--format {form}"
