"""``bench ablate``: effects of a method's options, and its best setting."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from bench.api.ablation import Ablation, stored_ablation
from bench.cli.common import (
    EngineConfigOption,
    EngineOption,
    GpusOption,
    JsonOption,
    PluginOption,
    ResultsOption,
    StoreOption,
    ThreadsOption,
    VerifyOption,
    console,
    note_environment,
)
from bench.errors import UsageError
from bench.plan.request import parse_assignments

if TYPE_CHECKING:
    from rich.console import Console

    from bench.api.ablation import Ablated
    from bench.api.study import StudyPlan

DesignOption = Literal["full", "one-at-a-time", "fractional"]


def ablate(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="Method whose options are varied.")],
    axis: Annotated[
        list[str] | None,
        typer.Option(
            "--axis", help="OPTION=A,B,C of the method, or recipe.lr=A,B, teacher=A,B, method=A,B; repeatable."
        ),
    ] = None,
    paper: Annotated[bool, typer.Option("--paper", help="Add the axes that the method's paper varied.")] = False,
    design: Annotated[
        DesignOption | None,
        typer.Option(help="Settings to run; full by default, one-at-a-time with --paper."),
    ] = None,
    protocol: Annotated[list[str] | None, typer.Option("--protocol", "-p", help="Protocol; repeatable.")] = None,
    dataset: Annotated[list[str] | None, typer.Option(help="Data set to evaluate on: NAME[:ROOT]; repeatable.")] = None,
    pretrain_data: Annotated[str | None, typer.Option(help="Data set to pretrain on: NAME[:ROOT].")] = None,
    setting: Annotated[list[str] | None, typer.Option(help="Setting of the protocol, e.g. 5w10s; repeatable.")] = None,
    preset: Annotated[str | None, typer.Option(help="smoke, nano, tiny, small or base.")] = None,
    seeds: Annotated[str, typer.Option(help="A count (5: seeds 0 to 4) or a list (0,4,7).")] = "3",
    split_seeds: Annotated[
        str | None, typer.Option("--split-seeds", help="Seeds of validation parts and folds (default 0).")
    ] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="GROUP.FIELD=VALUE of every setting; repeatable.")
    ] = None,
    teacher: Annotated[str | None, typer.Option(help="Teacher of methods that need one.")] = None,
    captions: Annotated[str | None, typer.Option(help="auto, none, dataset or class-names.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    threads: ThreadsOption = None,
    gpus: GpusOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="With --dry-run: list every job.")] = False,
    no_run: Annotated[
        bool, typer.Option("--no-run", help="Print what is stored of it; needs no torch, runs nothing.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder for page, tables and figures, one folder per study.")] = Path(
        "reports/ablations"
    ),
    jobs: Annotated[int | None, typer.Option("--jobs", "-j", min=1, help="Jobs at a time.")] = None,
    engine: EngineOption = None,
    engine_config: EngineConfigOption = None,
    plugin: PluginOption = None,
    verify: VerifyOption = False,
    json: JsonOption = False,
    results: ResultsOption = None,
    store_url: StoreOption = None,
) -> None:
    """Vary options of a method; show effects and the best setting.

    Runs what is missing; run it again to continue. Effects are paired by seed;
    the best setting is chosen on validation. --no-run reads a study that was
    run before, also from a copied results folder.
    """
    from bench.texts import screen as make_screen

    screen = make_screen(stderr=True) if json else console()
    if no_run:
        given = {"--dry-run": dry_run, "--paper": paper, "--set": assignments, "--seeds": seeds != "3"}
        for name, value in given.items():
            if value:
                raise UsageError(
                    f"--no-run shows a stored study; leave {name} out (--axis and --design choose among several)"
                )
        names = [text.partition("=")[0].strip() for text in axis or ()]
        found = stored_ablation(method, names, design, results=results, store_url=store_url, verify=verify)
        _show(found, out, screen, json)
        return
    fields = {
        "protocols": protocol,
        "datasets": dataset,
        "pretrain_data": pretrain_data,
        "settings": setting,
        "preset": preset,
        "seeds": seeds,
        "split_seeds": split_seeds,
        "overrides": parse_assignments(assignments or ()),
        "teacher": teacher,
        "captions": captions,
        "device": device,
        "threads": threads,
        "gpus": gpus,
        "engine": engine,
        "engine_config": engine_config,
    }
    ablation = Ablation.of(
        method,
        axis or (),
        {name: value for name, value in fields.items() if value is not None},
        design=design,
        paper=paper,
        results=results,
        store_url=store_url,
        plugins=plugin or (),
    )
    planned = ablation.plan() if dry_run else ablation.prepare()
    if dry_run and json:
        print(jsonlib.dumps(ablation.plan_facts(planned), indent=1))
        return
    _announce(ablation, planned, screen)
    if dry_run:
        from bench.cli.run import print_plan

        print_plan(planned.plan, planned.workspace, verbose)
        if planned.sensitivity:
            screen.print(planned.sensitivity, highlight=False, markup=False)
        return
    raise typer.Exit(_run(ablation, planned, screen, jobs, out, json))


def _announce(ablation: Ablation, planned: StudyPlan, screen: Console) -> None:
    """Print axes, design, and what is left out."""
    from bench.ablation.papers import cited_once
    from bench.plan.sweeps import shown

    note_environment(screen)
    study = ablation.study
    paper, told_once = cited_once([*study.sources, *study.left_out])
    sources, left_out = told_once[: len(study.sources)], told_once[len(study.sources) :]
    if paper:
        screen.print(
            escape(f"axes as in {paper}; the values are ours where the paper's are not known"), highlight=False
        )
    for axis, base, source in zip(study.axes, study.base, sources, strict=True):
        told = f"; {source}" if source else ""
        screen.print(escape(f"axis {axis} (base {shown(base)}{told})"), highlight=False)
    screen.print(f"design {study.design}: {len(study.points)} settings", highlight=False)
    for line in left_out:
        screen.print(f"[yellow]left out[/yellow] {escape(line)}", highlight=False)
    for note in planned.plan.notes:
        screen.print(f"[yellow]note[/yellow]: {escape(note)}", highlight=False)
    for line in planned.skipped:
        screen.print(f"[yellow]skipped[/yellow] {escape(line)}", highlight=False)
    screen.print(planned.summary, highlight=False)


def _run(ablation: Ablation, planned: StudyPlan, screen: Console, jobs: int | None, out: Path, json: bool) -> int:
    """Run what is missing and print what follows.

    Returns:
        The exit code: 0 all good, 1 something failed, 130 interrupted.
    """
    from bench.cli.run import conclude
    from bench.screen import ProgressView

    outcome = None
    if planned.plan.jobs:
        with ProgressView(screen) as view:
            outcome = ablation.execute(planned, view, jobs=jobs)
    stored = len(planned.plan.reused) + (0 if outcome is None else len(set(outcome.done)))
    if stored:
        _show(ablation.results(), out, screen, json)
    return 0 if outcome is None else conclude(outcome, stored, len(planned.plan.runs))


def _show(found: Ablated, out: Path, screen: Console, json: bool) -> None:
    """Print an ablation, and write its files."""
    from bench.report.terminal import render_terminal

    folders = found.write(out)
    if json:
        print(found.json(), end="")
        return
    render_terminal(found.document, screen)
    for folder in folders:
        line = f"page, tables and figures: {folder}"
        screen.print(line, highlight=False, markup=False, soft_wrap=True)
