"""``bench profile``: speed of pretraining and time per stage."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from bench.api import checks
from bench.api.common import DeviceName
from bench.cli.common import PluginOption, console
from bench.errors import SetupError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from bench.profiling.probes import ProbeProfile
    from bench.profiling.result import PathResult, Profile


def profile(
    method: Annotated[str, typer.Option("--method", "-m", help="Method, see bench list methods.")] = "recon",
    preset: Annotated[str, typer.Option(help="smoke, nano, tiny, small or base.")] = "base",
    device: Annotated[DeviceName, typer.Option(help="auto takes a GPU where there is one.")] = "auto",
    batch: Annotated[
        int | None, typer.Option(help="Samples per step (CPU: 16 exact, 64 fast; GPU: the recipe's).")
    ] = None,
    fast_batch: Annotated[int | None, typer.Option(help="Samples per step of the fast paths, if not --batch.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads; every core by default.")] = None,
    repeats: Annotated[int, typer.Option(help="Measured steps per path; medians are shown.")] = 5,
    compile_: Annotated[
        bool, typer.Option("--compile/--no-compile", help="Measure a compiled fast path too (minutes of warm-up).")
    ] = True,
    quick: Annotated[bool, typer.Option("--quick", help="Check that it works: one step, tiny teacher.")] = False,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="backbone., recipe. or method.FIELD=VALUE; repeatable.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write everything measured to this file.")] = None,
    probes: Annotated[
        bool, typer.Option("--probes", help="Measure heads on cached features instead: few-shot grid, linear, SVM.")
    ] = False,
    oracle: Annotated[
        bool, typer.Option("--oracle", help="With --probes: let scikit-learn fit the chosen heads, too (minutes).")
    ] = False,
    objects: Annotated[int, typer.Option(help="With --probes: training objects.")] = 12_000,
    width: Annotated[int, typer.Option(help="With --probes: width of the features.")] = 1536,
    plugin: PluginOption = None,
) -> None:
    """Measure the speed of the pretraining step.

    Paths take turns: exact (as released), exact with a live teacher, and fast.
    """
    if json_file is not None and not json_file.resolve().parent.is_dir():
        raise SetupError(f"--json {json_file}: its folder does not exist; make it first")
    screen = console()
    if probes:
        with _Bar(screen) as bar:
            heads = checks.profile_probes(objects=objects, width=width, threads=threads, oracle=oracle, progress=bar)
        _print_heads(heads, oracle, screen)
        _write(asdict(heads), json_file, screen)
        return
    with _Bar(screen) as bar:
        found = checks.profile(
            method,
            preset=preset,
            device=device,
            batch=batch,
            fast_batch=fast_batch,
            threads=threads,
            repeats=repeats,
            compile=compile_,
            quick=quick,
            assignments=assignments or (),
            plugins=plugin or (),
            progress=bar,
        )
    _print(found, screen)
    _write(found.as_json(), json_file, screen)


def _write(value: object, file: Path | None, screen: Console) -> None:
    if file is not None:
        file.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        screen.print(f"written: {file}", highlight=False, markup=False)


def _print_heads(found: ProbeProfile, oracle: bool, screen: Console) -> None:
    """Print how long heads on cached features take."""
    from bench.report.plain import TextTable

    screen.print(
        escape(
            f"heads on cached features: {found.machine}, {found.threads} threads; "
            f"{found.request.objects:,} objects x {found.request.width:,}"
        ),
        highlight=False,
        soft_wrap=True,
    )
    headings = ("", "seconds", "accuracy %", *(["scikit-learn, C given, s", "its accuracy %"] if oracle else []))
    rows = []
    for one in found.times:
        other = ["", ""]
        if one.oracle_seconds is not None and one.oracle_accuracy is not None:
            other = [f"{one.oracle_seconds:.1f}", f"{100 * one.oracle_accuracy:.2f}"]
        rows.append([one.name, f"{one.seconds:.2f}", f"{100 * one.accuracy:.2f}", *(other if oracle else [])])
    screen.print(TextTable(headings, rows, whole=headings[:1], right=headings[1:]))


class _Bar:
    """Progress bar with an ETA on terminals; else silent."""

    def __init__(self, screen: Console) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=screen,
            transient=True,
            disable=not screen.is_terminal,
        )
        self._task = self._progress.add_task("starting", total=None)

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, done: int, total: int, what: str = "", note: str = "") -> None:
        self._progress.update(self._task, completed=done, total=total, description=what)


def _print(found: Profile, screen: Console) -> None:
    from rich.text import Text

    from bench.profiling.clock import STAGES
    from bench.report.plain import TextTable

    peak = ", ".join(f"{rate / 1e9:,.0f} GFLOP/s {precision}" for precision, rate in found.peak.items())
    for line in (
        f"{found.method}, preset {found.preset}, {found.device}: {found.machine}, {found.threads} threads, "
        f"torch {found.versions['torch']}",
        f"matmul peak: {peak}",
    ):
        screen.print(escape(line), highlight=False, soft_wrap=True)
    names = [path.name + (" *" if path.name == found.fast else "") for path in found.paths]
    rows: list[list[str | Text]] = [[title, *(cell(path) for path in found.paths)] for title, cell in _ROWS.items()]
    rows.append([Text("ms per sample", style="dim"), *("" for _ in names)])
    for stage in STAGES:
        if any(stage in path.stages for path in found.paths):
            rows.append([f"  {stage}", *(_milliseconds(path, stage) for path in found.paths)])
    screen.print(TextTable(("", *names), rows, whole=("", *names), right=names))
    for line in (*_remarks(found), *_verdicts(found)):
        screen.print(escape(line), highlight=False, soft_wrap=True)


_ROWS: dict[str, Callable[[PathResult], str]] = {
    "samples/s": lambda path: f"{path.samples_per_second:.1f}",
    "samples per step": lambda path: str(path.batch),
    "precision": lambda path: path.precision,
    "patches tokenized": lambda path: path.tokenize or "all",
    "GFLOP per sample": lambda path: f"{path.flops_per_sample / 1e9:.2f}",
    "GFLOP/s": lambda path: f"{path.flops_per_second / 1e9:.0f}",
    "share of matmul peak": lambda path: f"{path.share_of_peak:.0%}",
    "peak memory": lambda path: f"{path.peak_memory_bytes / 2**30:.2f} GiB",
    "warm-up": lambda path: f"{path.warmup_seconds:.1f} s",
}


def _milliseconds(path: PathResult, stage: str) -> str:
    seconds = path.stages.get(stage)
    return "" if seconds is None else f"{1000 * seconds / path.batch:.2f}"


def _remarks(found: Profile) -> list[str]:
    """Describe compile and cache costs, and when they pay."""
    lines = [f"* counts as fast: ends {found.planned_samples:,} samples soonest, warm-up included"]
    eager, compiled = found.path("fast"), found.path("fast compiled")
    if eager is not None and compiled is not None:
        saved = 1 / eager.samples_per_second - 1 / compiled.samples_per_second
        paid = f"has paid after {compiled.warmup_seconds / saved:,.0f} samples" if saved > 0 else "never pays here"
        lines.append(f"compiling takes {compiled.warmup_seconds:.0f} s and {paid}")
    if found.teacher_seconds_per_image is not None:
        lines.append(
            f"cached teacher: {1000 * found.teacher_seconds_per_image:.1f} ms per image once, "
            f"{found.teacher_views} view(s) per object; has paid after {found.teacher_views} epoch(s)"
        )
    return lines


def _verdicts(found: Profile) -> list[str]:
    lines = []
    for ratio in found.ratios:
        target = "" if ratio.target is None else f" (target {ratio.target:g})"
        lines.append(f"{ratio.name}: {ratio.value:.3g}{target}: {ratio.verdict}")
    return lines
