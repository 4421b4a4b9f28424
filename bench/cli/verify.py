"""``bench verify`` and ``bench check``: compare with accepted numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from bench.api import checks
from bench.cli.common import JsonOption, PluginOption, console, note_environment, print_json
from bench.errors import UsageError
from bench.texts import screen

app = typer.Typer(help="Compare with recorded reference numbers.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Compare with recorded reference numbers."""


@app.command()
def golden(
    folder: Annotated[Path, typer.Argument(help="Folder of recorded .npz files.")],
    strict: Annotated[bool, typer.Option("--strict", help="Fail also for files that no check covers.")] = False,
) -> None:
    """Compare outputs, buffers and gradient norms with recorded ones.

    Loads recorded weights and inputs.
    """
    from bench.api.checks import verify
    from bench.interop.golden import exit_code, report_lines, summary_line

    results = verify(folder)
    for line in (*report_lines(results), summary_line(results, strict=strict)):
        console().print(line, highlight=False, markup=False, soft_wrap=True)
    raise typer.Exit(exit_code(results, strict=strict))


def check(
    baseline: Annotated[
        Path,
        typer.Option(help="Baseline file: the accepted numbers; beside it the suite, a .yaml of the same name."),
    ],
    results: Annotated[
        Path | None, typer.Option(help="Empty folder to run in and to keep.", show_default="a temporary one")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on in --results, where a check of the same suite was interrupted.")
    ] = False,
    seeds: Annotated[
        int | None,
        typer.Option(help="How many of the baseline's seeds to run.", show_default="3, or all if fewer"),
    ] = None,
    more_seeds: Annotated[
        bool, typer.Option("--more-seeds", help="Go on with more of the baseline's seeds while undecided.")
    ] = False,
    golden: Annotated[
        Path | None,
        typer.Option(help="Folder of recorded .npz files that must be reproduced, too.", show_default=False),
    ] = None,
    undecided: Annotated[
        Literal["alarm", "pass"],
        typer.Option(help="Count an undecided end as an alarm (exit 3) or a pass (exit 0)."),
    ] = "alarm",
    junit: Annotated[Path | None, typer.Option(help="JUnit XML to write.", show_default=False)] = None,
    summary: Annotated[
        Path | None,
        typer.Option(
            envvar="GITHUB_STEP_SUMMARY", help="File to append the result to, as Markdown.", show_default=False
        ),
    ] = None,
    json: JsonOption = False,
    update: Annotated[bool, typer.Option("--update", help="Write the suite's numbers as the new baseline.")] = False,
    why: Annotated[
        str | None, typer.Option(help="With --update: why the baseline is replaced; kept with it.", show_default=False)
    ] = None,
    simulate: Annotated[
        int | None,
        typer.Option(help="Run nothing: simulate what the gate finds, with so many draws.", show_default=False),
    ] = None,
    page: Annotated[
        Path | None, typer.Option(help="With --simulate: Markdown file to write.", show_default=False)
    ] = None,
    plugin: PluginOption = None,
) -> None:
    """Run a suite and compare it with accepted numbers.

    Exit code 0 pass, 1 fail, 3 undecided, 4 broken.
    """
    if (update or simulate is not None) and (more_seeds or golden is not None):
        raise UsageError("--more-seeds and --golden are for comparing; leave them out")
    if update and seeds is not None:
        raise UsageError("--seeds is for comparing; a baseline has the seeds of its suite")
    if update and simulate is not None:
        raise UsageError("give --update or --simulate, not both")
    if why is not None and not update:
        raise UsageError("--why says why a baseline is replaced; give --update too")
    if page is not None and simulate is None:
        raise UsageError("--page is written by --simulate; give both")
    if resume and simulate is not None:
        raise UsageError("--resume goes on with an interrupted check; --simulate runs nothing")
    if simulate is not None:
        from bench.gate.page import print_simulation

        print_simulation(checks.simulate_check(baseline, simulate, seeds=seeds, page=page), console())
        if page is not None:
            console().print(f"wrote {page}", highlight=False, markup=False)
        return
    progress, plugins = screen(stderr=json), plugin or ()
    note_environment(progress)
    if update:
        made = checks.update_baseline(
            baseline, why=why, results=results, plugins=plugins, resume=resume, screen=progress
        )
        progress.print(f"wrote {baseline} with {len(made.cells)} cells", highlight=False, markup=False)
        return
    report = checks.check(
        baseline,
        results=results,
        seeds=seeds,
        more_seeds=more_seeds,
        golden=golden,
        plugins=plugins,
        resume=resume,
        screen=progress,
    )
    from bench.gate import output

    if json:
        print_json(output.as_json(report))
    else:
        output.print_report(report, console())
    if junit is not None:
        output.write_junit(report, junit, baseline.name, undecided_passes=undecided == "pass")
    if summary is not None:
        output.append_summary(report, summary, baseline.name)
    passes = report.verdict == "undecided" and undecided == "pass"
    raise typer.Exit(0 if passes else report.exit_code)
