"""``bench plan`` and ``bench worker``: jobs for other schedulers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from bench.api.study import Study, do_job
from bench.cli.common import JsonOption, PluginOption, ResultsOption, StoreOption, console
from bench.errors import Interrupted
from bench.plan.request import Reuse
from bench.signals import INTERRUPTED

if TYPE_CHECKING:
    from bench.execution.events import Event
    from bench.plan.graph import Job


def plan(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML request, see bench run --save-config.")],
    out: Annotated[Path, typer.Option(help="Folder for the job files; workers must see it.")] = Path("jobs"),
    reuse: Annotated[Reuse, typer.Option(help="same-spec: reuse results of older code too, marked.")] = "exact",
    plugin: PluginOption = None,
    json: JsonOption = False,
    results: ResultsOption = None,
    store_url: StoreOption = None,
) -> None:
    """Write the missing jobs of a study as files.

    For any scheduler; each is done by: bench worker FILE.
    Write them again after a failure: what is done is left out.
    """
    study = Study.read(config, results, store_url, plugin or ())
    written = study.write_plan(out, reuse)
    if json:
        print(written.model_dump_json(indent=1))
        return
    screen = console()
    for wave in range(written.waves):
        count = sum(job.wave == wave for job in written.jobs)
        file = out / f"wave-{wave}.txt"
        screen.print(f"{file}: {count} job{'s' * (count != 1)}", highlight=False, markup=False, soft_wrap=True)
    done = f"wrote {len(written.jobs)} missing jobs to {out / 'plan.json'}; do each with: bench worker FILE"
    nothing = f"nothing is missing: wrote {out / 'plan.json'} without a job"
    screen.print(done if written.jobs else nothing, highlight=False, markup=False, soft_wrap=True)


def worker(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Job file written by bench plan.")],
    json: Annotated[bool, typer.Option("--json", help="Print events as JSON lines instead.")] = False,
    results: Annotated[
        Path | None,
        typer.Option("--results", help="Results folder, if it is mounted elsewhere here.", show_default=False),
    ] = None,
    store_url: StoreOption = None,
) -> None:
    """Do one job of a written plan; done ones take a moment.

    It writes run folders; without --store-url, bench db rebuild indexes
    them. SIGTERM leaves a checkpoint, from which the next one goes on.
    Exit codes: 0 done, 1 failed, 2 wrong file or other code, 130 stopped.
    """
    from bench.screen import ProgressView

    def tell(job: Job, event: Event) -> None:
        print(event.model_dump_json(exclude_defaults=True), flush=True)

    screen = console()
    try:
        if json:
            failed = do_job(file, results=results, store_url=store_url, listener=tell)
        else:
            with ProgressView(screen) as view:
                failed = do_job(file, results=results, store_url=store_url, listener=view)
    except Interrupted as stop:
        console().print(str(stop), highlight=False, markup=False)
        raise typer.Exit(INTERRUPTED) from None
    for title, error, log in () if json else failed:
        where = f"[dim]log: {escape(log)}[/dim]"
        screen.print(f"[red]failed[/red] {escape(title)}: {escape(error)}  {where}", highlight=False)
    raise typer.Exit(1 if failed else 0)
