"""``bench run`` and ``bench rerun``."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from bench.api.results import load
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
from bench.errors import UsageError
from bench.plan.request import Reuse, parse_assignments, read_request
from bench.signals import INTERRUPTED

if TYPE_CHECKING:
    from bench.execution.engines import Outcome
    from bench.paths import Workspace
    from bench.plan.graph import Job, Plan

_SEED = re.compile(r"(?<!split) seed (\d+)")
"""Seed in the title of a job."""
_SCREEN = 15
"""Lines of a plan that fit a screen, some of them wrapped."""


def run(
    method: Annotated[list[str] | None, typer.Option("--method", "-m", help="Method; repeatable, or 'all'.")] = None,
    encoder: Annotated[
        list[str] | None,
        typer.Option("--encoder", help="Stored one by name or key, or NAME[:FILE] of bench list encoders; repeatable."),
    ] = None,
    protocol: Annotated[list[str] | None, typer.Option("--protocol", "-p", help="Protocol; repeatable.")] = None,
    dataset: Annotated[list[str] | None, typer.Option(help="Data set to evaluate on: NAME[:ROOT]; repeatable.")] = None,
    pretrain_data: Annotated[str | None, typer.Option(help="Data set to pretrain on: NAME[:ROOT].")] = None,
    train_on: Annotated[
        str | None, typer.Option("--train-on", help="Train protocols on this set, test on --dataset: NAME[:ROOT].")
    ] = None,
    transfer: Annotated[
        bool | None, typer.Option("--transfer", help="Also train protocols on each data set and test on the others.")
    ] = None,
    pretrain_fraction: Annotated[
        str | None, typer.Option("--pretrain-fraction", help="Parts of the pretraining data, e.g. 0.1,0.25,1.")
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="Kept equal for parts of the data: steps (default) or epochs.")
    ] = None,
    label_fraction: Annotated[
        str | None, typer.Option("--label-fraction", help="Parts of the training labels, e.g. 0.01,0.1,1.")
    ] = None,
    match: Annotated[str | None, typer.Option(help="Make encoders equal in params or flops, by their width.")] = None,
    preset: Annotated[str | None, typer.Option(help="smoke, nano, tiny, small or base.")] = None,
    seeds: Annotated[str | None, typer.Option(help="A count (5: seeds 0 to 4) or a list (0,4,7).")] = None,
    split_seeds: Annotated[
        str | None,
        typer.Option("--split-seeds", help="Seeds of validation parts, folds and label parts (default 0)."),
    ] = None,
    setting: Annotated[list[str] | None, typer.Option(help="Setting of the protocol, e.g. 5w10s; repeatable.")] = None,
    captions: Annotated[str | None, typer.Option(help="auto, none, dataset or class-names.")] = None,
    teacher: Annotated[str | None, typer.Option(help="Teacher of methods that need one.")] = None,
    text_teacher: Annotated[
        str | None, typer.Option("--text-teacher", help="Teacher of texts, if not --teacher.")
    ] = None,
    live_teacher: Annotated[
        bool | None,
        typer.Option("--live-teacher/--cached-teacher", help="Run teachers in every step; cached by default."),
    ] = None,
    held_out_losses: Annotated[
        bool | None,
        typer.Option(
            "--held-out-losses", help="Measure pretraining losses on unseen objects, for bench analyse losses."
        ),
    ] = None,
    evaluate_at: Annotated[
        str | None,
        typer.Option("--evaluate-at", help="Keep and judge encoders after parts of pretraining, e.g. 0.1,0.25,0.5,1."),
    ] = None,
    form: Annotated[str | None, typer.Option(help="fair or published.")] = None,
    corruptions: Annotated[
        bool | None, typer.Option("--corruptions", help="Also score corrupted test clouds: 7 types, 5 levels.")
    ] = None,
    rotation: Annotated[
        str | None, typer.Option(help="Turn training/test clouds: z/z, z/SO3, SO3/SO3 or none; A,B runs each.")
    ] = None,
    legacy: Annotated[
        bool | None, typer.Option("--legacy", help="Also store scores selected on the test split.")
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="GROUP.FIELD=VALUE, e.g. recipe.lr=0.001; A,B,C sweeps it; repeatable."),
    ] = None,
    baseline: Annotated[
        bool | None, typer.Option("--baseline/--no-baseline", help="Run scratch beside every method (default).")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, fp32 or bf16.")] = None,
    compile_: Annotated[str | None, typer.Option("--compile", help="auto, on or off.")] = None,
    threads: ThreadsOption = None,
    gpus: GpusOption = None,
    config: Annotated[Path | None, typer.Option(help="YAML request; options given here override it.")] = None,
    save_config: Annotated[Path | None, typer.Option(help="Write the request as YAML and stop.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="With --dry-run: list every job.")] = False,
    reuse: Annotated[Reuse, typer.Option(help="same-spec: reuse results of older code too, marked.")] = "exact",
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Jobs at a time; one per core by default, one on a GPU.")
    ] = None,
    engine: EngineOption = None,
    engine_config: EngineConfigOption = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="With --engine slurm: submit and leave; run it again to collect.")
    ] = False,
    plugin: PluginOption = None,
    results: ResultsOption = None,
    store_url: StoreOption = None,
) -> None:
    """Pretrain and evaluate, reusing whatever is stored.

    Run it again to continue after any interruption.
    """
    given = {
        "methods": method,
        "encoders": encoder,
        "protocols": protocol,
        "datasets": dataset,
        "train_on": train_on,
        "transfer": transfer,
        "pretrain_data": pretrain_data,
        "pretrain_fractions": pretrain_fraction,
        "budget": budget,
        "label_fractions": label_fraction,
        "match": match,
        "preset": preset,
        "seeds": seeds,
        "split_seeds": split_seeds,
        "settings": setting,
        "captions": captions,
        "teacher": teacher,
        "text_teacher": text_teacher,
        "live_teacher": live_teacher,
        "held_out_losses": held_out_losses,
        "evaluate_at": evaluate_at,
        "form": form,
        "corruptions": corruptions,
        "rotations": rotation,
        "legacy": legacy,
        "baseline": baseline,
        "device": device,
        "precision": precision,
        "compile": compile_,
        "threads": threads,
        "engine": engine,
        "engine_config": engine_config,
        "gpus": gpus,
    }
    fields = read_request(config) if config is not None else {}
    fields |= {name: value for name, value in given.items() if value is not None}
    if assignments:
        asked = parse_assignments(assignments)
        fields["overrides"] = _mapping("overrides", fields, config) | asked
        fields["sweep"] = {path: of for path, of in _mapping("sweep", fields, config).items() if path not in asked}
    study = Study.of(fields, results, store_url, plugin or ())
    if save_config is not None:
        study.save(save_config)
        rest = {"--results": results, "--jobs": jobs, "--reuse": None if reuse == "exact" else reuse}
        told = [part for name, value in rest.items() if value is not None for part in (name, str(value))]
        line = shlex.join(["bench", "run", "--config", str(save_config), *told])
        console().print(f"wrote {save_config}; run it with: {line}", markup=False, highlight=False, soft_wrap=True)
        return
    raise typer.Exit(execute(study, jobs, reuse, dry_run=dry_run, verbose=verbose, detach=detach))


def _mapping(name: str, fields: Mapping[str, Any], config: Path | None) -> dict[str, object]:
    """Return a field of a YAML file that holds options."""
    given = fields.get(name) or {}
    if not isinstance(given, dict):
        value = "[0.001, 0.0003]" if name == "sweep" else "0.001"
        raise UsageError(f"{config}: {name} must be a mapping, e.g. '{name}: {{recipe.lr: {value}}}'")
    return dict(given)


def execute(
    study: Study,
    jobs: int | None,
    reuse: Reuse,
    *,
    dry_run: bool = False,
    verbose: bool = False,
    detach: bool = False,
) -> int:
    """Plan a study, run what is missing, print the outcome.

    Returns:
        The exit code: 0 all good, 1 something failed, 130 interrupted.
    """
    from bench.api.study import StudyPlan
    from bench.reporting import print_results
    from bench.screen import ProgressView

    screen, place = console(), study.workspace
    planned = study.plan(reuse) if dry_run else StudyPlan(study.prepare(reuse), place, study.store_url)
    note_environment(screen)
    for note in planned.plan.notes:
        screen.print(f"[yellow]note[/yellow]: {escape(note)}", highlight=False)
    for line in planned.skipped:
        screen.print(f"[yellow]skipped[/yellow] {escape(line)}", highlight=False)
    for line in planned.axes:
        screen.print(escape(line), highlight=False)
    screen.print(planned.summary, highlight=False)
    if dry_run:
        print_plan(planned.plan, place, verbose)
        if planned.sensitivity:
            screen.print(planned.sensitivity, highlight=False, markup=False)
        return 0
    outcome = None
    if planned.plan.jobs or study.request.engine != "local":  # the ends of jobs elsewhere are still to be noted
        with ProgressView(screen) as view:
            outcome = study.execute(planned.plan, view, jobs=jobs, detach=detach)
    stored = len(planned.plan.reused) + (0 if outcome is None else len(set(outcome.done)))
    if stored or outcome is None or not (outcome.interrupted or outcome.left_behind):
        print_results(place, study.store_url, screen, {run.key for run in planned.plan.runs})
    return 0 if outcome is None else conclude(outcome, stored, len(planned.plan.runs))


def print_plan(plan: Plan, place: Workspace, verbose: bool) -> None:
    """Print the plan: jobs by seed, and total time.

    With `verbose` every job has a line.
    """
    from bench.plan.estimate import Estimator, duration
    from bench.report.plain import TextTable

    estimator = Estimator(place)
    seconds = {job.id: estimator.seconds(job) for job in plan.jobs}
    screen = console()
    if verbose:
        jobs = ([job.title, f"~{duration(seconds[job.id])}", job.id, _after(job)] for job in plan.jobs)
        headings = ("what", "time", "job", "needs")
        screen.print(TextTable(headings, jobs, below=("job", "needs"), right=("time",)))
    else:
        groups: dict[str, list[Job]] = {}
        for job in plan.jobs:
            what = job.title.replace(job.swept, "", 1) if job.swept else job.title
            groups.setdefault(_SEED.sub("", what, count=1), []).append(job)
        rows = [
            [what, _seeds(jobs), str(len(jobs)), f"~{duration(sum(seconds[job.id] for job in jobs))}"]
            for what, jobs in groups.items()
        ]
        headings = ("what", "seeds", "jobs", "time")
        screen.print(TextTable(headings, rows[:_SCREEN], whole=("seeds",), right=("jobs", "time")))
        if len(rows) > _SCREEN:
            screen.print(f"and {len(rows) - _SCREEN} more kinds of jobs; all with -v", highlight=False)
    total = sum(seconds.values())
    screen.print(f"estimated time: {duration(total)} one after another ({estimator.basis})", highlight=False)


def _after(job: Job) -> str:
    return f"after {', '.join(job.needs)}" if job.needs else ""


def _seeds(jobs: list[Job]) -> str:
    """Return the seeds named in job titles, e.g. ``0–4``."""
    from bench.report.words import numbers

    return numbers(tuple(sorted({int(found[1]) for job in jobs if (found := _SEED.search(job.title))})))


def conclude(outcome: Outcome, stored: int, runs: int) -> int:
    """Print failures or how to continue; return the exit code."""
    screen = console()
    for title, error, log in outcome.failed:
        where = f"[dim]log: {escape(str(log))}[/dim]"
        screen.print(f"[red]failed[/red] {escape(title)}: {escape(error)}  {where}", highlight=False)
    if outcome.interrupted:
        kept = f"{stored} of {runs} runs are stored" if stored else "no run was finished yet"
        line = (
            f"stopped: {kept}; finished pretraining is kept, and one that had begun goes on from its last checkpoint."
        )
        if outcome.left_behind:
            line = f"left: {kept}. {outcome.left_behind}"
        screen.print(f"{line} Run the same command again to continue.", highlight=False)
        return INTERRUPTED
    if outcome.left_behind:
        line = f"{outcome.left_behind} Run the same command again to follow them and to index what is finished."
        screen.print(line, highlight=False, markup=False)
    return 1 if outcome.failed else 0


def rerun(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Key of a run (first characters suffice), see bench runs.")],
    dataset: Annotated[
        list[str] | None, typer.Option(help="Folder of a data set that was moved, NAME:DIR; repeatable.")
    ] = None,
    plugin: PluginOption = None,
    results: ResultsOption = None,
    store_url: StoreOption = None,
) -> None:
    """Do a stored run again from nothing and compare.

    Exit code 0 if all numbers are identical, 1 if not. Both attempts stay.
    """
    screen, stored = console(), load(results, store_url=store_url)
    record = stored.record(key)
    from bench.report.plain import plain_table
    from bench.screen import ProgressView

    note_environment(screen)
    command = str(record.provenance.get("command") or "not stored by the version that made it")
    for line in (f"again: {record.key[:12]}, {', '.join(record.label.values())}", f"typed then: {command}"):
        screen.print(line, highlight=False, markup=False, soft_wrap=True)
    with ProgressView(screen) as view:
        found = stored.rerun(key, datasets=dataset or (), plugins=plugin or (), listener=view)
    if not found.same_code:
        then = f"{record.key[:12]}@{record.fingerprint[:8]}"
        line = f"other code than then: bench run it again, and bench why {then} {record.key[:12]} names the modules"
        screen.print(line, highlight=False, markup=False, soft_wrap=True)
    if found.changes:
        rows = []
        for change in found.changes:
            shown = ["missing" if value is None else f"{value:.6g}" for value in (change.before, change.after)]
            by = "" if change.before is None or change.after is None else f"{change.after - change.before:+.3g}"
            rows.append([change.name, *shown, by])
        screen.print(plain_table(("number", "then", "now", "difference"), rows))
    said = f"{len(found.changes)} of {found.numbers} numbers differ"
    if found.arrays:
        said += f", and the predictions ({', '.join(found.arrays)})"
    verdict = (
        f"identical: all {found.numbers} numbers and every prediction" if found.identical else f"different: {said}"
    )
    screen.print(verdict, highlight=False, markup=False, soft_wrap=True)
    screen.print(f"the new attempt lies in {found.folder}", highlight=False, markup=False, soft_wrap=True)
    raise typer.Exit(0 if found.identical else 1)
