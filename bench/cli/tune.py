"""``bench tune``: search hyperparameters by validation score."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from bench.api.study import Study
from bench.cli.common import (
    EngineConfigOption,
    EngineOption,
    GpusOption,
    PluginOption,
    ResultsOption,
    StoreOption,
    ThreadsOption,
    console,
    note_environment,
)
from bench.plan.request import parse_assignments
from bench.signals import INTERRUPTED

if TYPE_CHECKING:
    from bench.api.study import Search
    from bench.paths import Workspace
    from bench.tuning.engine import Found


def tune(
    method: Annotated[
        list[str], typer.Option("--method", "-m", help="Method, scratch, or 'all' (with scratch); repeatable.")
    ],
    protocol: Annotated[str, typer.Option("--protocol", "-p", help="Protocol whose validation score counts.")],
    trials: Annotated[int, typer.Option("--trials", help="Trials of each method in all, earlier ones included.")],
    what: Annotated[
        Literal["downstream", "pretrain", "both"], typer.Option(help="Stages whose hyperparameters are searched.")
    ] = "downstream",
    dataset: Annotated[str | None, typer.Option(help="Data set to evaluate on: NAME[:ROOT].")] = None,
    pretrain_data: Annotated[str | None, typer.Option(help="Data set to pretrain on: NAME[:ROOT].")] = None,
    preset: Annotated[str | None, typer.Option(help="smoke, nano, tiny, small or base.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the search and of its runs.")] = 0,
    split_seeds: Annotated[
        str | None,
        typer.Option(
            "--split-seeds", help="Seeds of the validation parts and folds that score a trial: 3 or 0,4 (default 0)."
        ),
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option(help="Setting of the protocol; repeatable; all by default.")
    ] = None,
    captions: Annotated[str | None, typer.Option(help="auto, none, dataset or class-names.")] = None,
    teacher: Annotated[str | None, typer.Option(help="Teacher of methods that need one.")] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="GROUP.FIELD=VALUE of every trial; repeatable.")
    ] = None,
    baseline: Annotated[
        bool | None,
        typer.Option("--baseline/--no-baseline", help="Tune scratch of each architecture too (default with all)."),
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(min=0, help="Seconds after which no further trial is started.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    compile_: Annotated[str | None, typer.Option("--compile", help="auto, on or off.")] = None,
    threads: ThreadsOption = None,
    gpus: GpusOption = None,
    jobs: Annotated[int | None, typer.Option("--jobs", "-j", min=1, help="Jobs of a trial at a time.")] = None,
    engine: EngineOption = None,
    engine_config: EngineConfigOption = None,
    plugin: PluginOption = None,
    results: ResultsOption = None,
    store_url: StoreOption = None,
) -> None:
    """Search learning rates and the like by validation score.

    Every method gets the same space and number of trials. Run it again to continue.

    A trial whose run fails counts as a trial (0 as exit code, and said in the table); 1 where a search cannot go on.
    """
    given = {
        "methods": method,
        "protocols": [protocol],
        "datasets": None if dataset is None else [dataset],
        "pretrain_data": pretrain_data,
        "preset": preset,
        "seeds": [seed],
        "split_seeds": split_seeds,
        "settings": setting,
        "captions": captions,
        "teacher": teacher,
        "baseline": False,
        "device": device,
        "compile": compile_,
        "threads": threads,
        "gpus": gpus,
        "engine": engine,
        "engine_config": engine_config,
        "overrides": parse_assignments(assignments or ()),
    }
    study = Study.of(
        {name: value for name, value in given.items() if value is not None}, results, store_url, plugin or ()
    )
    both = "all" in method if baseline is None else baseline
    raise typer.Exit(_tune(study.search(trials, what=what, baseline=both), timeout, jobs))


def _tune(search: Search, timeout: float | None, jobs: int | None) -> int:
    """Run the searches and print the outcome.

    Returns:
        The exit code: 0 every search has its trials or the time is up, 1 one cannot go on, 130 interrupted.
    """
    from bench.screen import ProgressView

    screen = console()

    def say(line: str) -> None:
        screen.print(escape(line), highlight=False, soft_wrap=True)

    note_environment(screen)
    for line in dict.fromkeys(note for problem in search.problems for note in problem.notes):
        screen.print(f"[yellow]note[/yellow]: {escape(line)}", highlight=False)
    for line in search.left_out:
        screen.print(f"[yellow]left out[/yellow] {escape(line)}", highlight=False)
    say(f"{len(search.problems)} search(es), {search.trials} trials each, scored on validation only:")
    for dimension in max((problem.space.dimensions for problem in search.problems), key=len):
        say(f"  {dimension.describe()}")
    with ProgressView(screen) as view:
        found = search.run(view, say, timeout=timeout, jobs=jobs)
    _print(found.found, search.study.workspace)
    for line in found.failed:
        screen.print(f"[red]failed[/red] {escape(line)}", highlight=False)
    if found.interrupted:
        say("stopped; every finished trial is stored. Run the same command again to continue.")
        return INTERRUPTED
    return 1 if found.failed else 0


def _print(found: Sequence[Found], place: Workspace) -> None:
    """Print the searches, and how to continue."""
    from bench.report.document import Document
    from bench.report.terminal import render_terminal
    from bench.report.tuning import groups, part
    from bench.tuning.engine import as_text
    from bench.tuning.studies import read_studies

    screen = console()
    names = {one.problem.name for one in found}
    shown = groups(study for study in read_studies(place.results) if study.name in names)
    render_terminal(Document("Tuning", tuple(map(part, shown))), screen)
    for one in found:
        if one.config is None:
            continue
        line = " ".join(f"--set {shlex.quote(f'{path}={as_text(value)}')}" for path, value in one.values.items())
        screen.print(f"[bold]{escape(one.problem.label)}[/bold]: {escape(line)}", highlight=False, soft_wrap=True)
        screen.print(f"  bench run --config {one.config} --seeds 3", highlight=False, markup=False, soft_wrap=True)
    labels = {one.problem.label for one in found}
    if found and not any(label.startswith("scratch") for label in labels):
        screen.print(
            "to compare with scratch, give it the same trials: the same command with --baseline",
            highlight=False,
            soft_wrap=True,
        )
