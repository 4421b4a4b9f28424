"""``bench jobs``: what SLURM has of a results folder."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.api.jobs import cancel_jobs
from bench.api.jobs import jobs as submitted_jobs
from bench.cli.common import JsonOption, ResultsOption, console, print_json

app = typer.Typer(help="Show jobs on a cluster: running, waiting, failed.", invoke_without_command=True)


@app.callback()
def jobs(context: typer.Context, results: ResultsOption = None, json: JsonOption = False) -> None:
    """Show jobs on a cluster: running, waiting, failed.

    A failed or cancelled job is listed until it is submitted again; bench run with the same request does that.
    """
    if context.invoked_subcommand is not None:
        return
    found = submitted_jobs(results)
    if json:
        print_json([job.as_json() for job in found])
        return
    screen = console()
    if not found:
        screen.print("no jobs are with SLURM; submit some with bench run --engine slurm", highlight=False)
        return
    from bench.report.plain import TextTable

    order = {"running": 0, "waiting": 1, "unknown": 2, "done": 3, "cancelled": 4, "failed": 5}
    rows = [
        [job.state, job.title, job.slurm, job.elapsed, job.node, _below(job.why, job.log, job.state)]
        for job in sorted(found, key=lambda job: order[job.state])
    ]
    headings = ("state", "job", "SLURM job", "time", "node", "why")
    screen.print(TextTable(headings, rows, whole=("state", "SLURM job"), below=("why",), drop=("node", "time")))
    counts = [f"{number} {word}" for word in order if (number := sum(job.state == word for job in found))]
    screen.print(", ".join(counts), highlight=False)


def _below(why: str, log: str, state: str) -> str:
    return f"{why}{'; ' if why else ''}log: {log}" if state in ("running", "failed") else why


@app.command()
def cancel(
    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ID]...", help="Jobs by id, its first characters, or SLURM's id; all if left out."),
    ] = None,
    results: ResultsOption = None,
) -> None:
    """Cancel jobs, and those that need them.

    What they stored stays; bench run with the same request submits the rest again.
    """
    found = cancel_jobs(ids or (), results=results)
    screen = console()
    for job in found:
        screen.print(f"cancelled {job.title} (SLURM job {job.slurm})", highlight=False, markup=False)
    if not found:
        screen.print("no job waits or runs", highlight=False)
