"""``bench claims``: claims of papers, judged by stored runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from bench.api.common import DeviceName
from bench.cli.common import (
    EngineConfigOption,
    EngineOption,
    JsonOption,
    PluginOption,
    ResultsOption,
    StoreOption,
    console,
    note_environment,
    print_json,
)
from bench.errors import UsageError

if TYPE_CHECKING:
    from bench.api.claims import ClaimCost, Claims


def claims(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ID|FILE]...", help="Claims of the package (R1, C1, A1 ...), or files; all of them by default."
        ),
    ] = None,
    preset: Annotated[str, typer.Option(help="Preset that the verdicts are about.")] = "nano",
    run: Annotated[bool, typer.Option("--run", help="Run what is missing first.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what missing runs would cost, and stop.")] = False,
    device: Annotated[
        DeviceName, typer.Option(help="Device of --run; --dry-run estimates it, present or not.")
    ] = "auto",
    page: Annotated[
        Path | None, typer.Option(help="Write a Markdown page of these claims, with the cost of what is not run.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Jobs at a time; one per core by default, one on a GPU.")
    ] = None,
    engine: EngineOption = None,
    engine_config: EngineConfigOption = None,
    json: JsonOption = False,
    plugin: PluginOption = None,
    results: ResultsOption = None,
    store_url: StoreOption = None,
) -> None:
    """Judge claims of papers, or your own, by stored runs.

    A verdict is supported, contradicted, equivalent, not shown, not run or
    not testable here; it is one about its preset and data. Nothing runs
    without --run. Holm's correction is over the claims that are shown.
    """
    from bench.api import claims as api

    if sum((run, dry_run, page is not None)) > 1:
        raise UsageError("give one of --run, --dry-run and --page")
    if run and not names:
        raise UsageError("--run: name the claims to run, e.g. bench claims R1 --run (all of them take weeks)")
    found = api.claims(
        names or (), preset=preset, results=results, store_url=store_url, plugins=plugin or (), new=run or dry_run
    )
    if dry_run:
        _print_costs([found.cost(claim, device) for claim in found.claims], device, json)
        return
    if page is not None:
        console().print(f"wrote {found.write_page(page)}", highlight=False, markup=False, soft_wrap=True)
        return
    code = _run(found, device, jobs, engine or "local", engine_config) if run else 0
    if json:
        print_json(found.as_json())
    else:
        from bench.report.claims import document
        from bench.report.terminal import render_terminal

        render_terminal(document(found.judged), console())
    raise typer.Exit(code)


def _run(found: Claims, device: DeviceName, jobs: int | None, engine: str, config: Path | None) -> int:
    """Run what is missing.

    Returns:
        The exit code: 0 all good, 1 something failed.
    """
    from bench.screen import ProgressView
    from bench.texts import screen as screen_of

    screen = screen_of(stderr=True)
    note_environment(screen)
    with ProgressView(screen) as view:
        failed = found.run(device=device, jobs=jobs, engine=engine, engine_config=config, listener=view)
    for title, error, log in failed:
        screen.print(
            f"[red]failed[/red] {escape(title)}: {escape(error)}  [dim]log: {escape(log)}[/dim]", highlight=False
        )
    return 1 if failed else 0


def _print_costs(costs: Sequence[ClaimCost], device: str, json: bool) -> None:
    """Print what the missing runs of claims would take."""
    from bench.api.claims import total_seconds
    from bench.plan.estimate import duration
    from bench.report.plain import TextTable

    if json:
        print_json([cost.as_json() for cost in costs])
        return
    rows = []
    for cost in costs:
        why = cost.claim.not_testable or cost.problem
        state = f"{cost.stored} of {cost.runs}"
        if cost.complete:
            state = "not testable here" if why else "all"
        elif why:
            state = "cannot be planned here"
        known = ["–", ""] if why else [str(len(cost.jobs)), f"~{duration(cost.seconds)}"]
        rows.append([cost.claim.id, state, *known, why])
    headings = ("claim", "runs stored", "jobs", "time", "why")
    screen = console()
    screen.print(TextTable(headings, rows, whole=("claim",), right=("jobs", "time"), below=("why",)))
    where = f" on {device}" if device != "auto" else ""
    total = f"estimated time{where}: {duration(total_seconds(costs))} one after another, shared jobs once"
    screen.print(total, highlight=False)
