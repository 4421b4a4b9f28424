"""Show progress of jobs: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from bench.execution.events import Event
from bench.plan.estimate import duration
from bench.plan.graph import Job


class ProgressView:
    """Shows the events of running jobs; a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = console.is_terminal
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", style="dim", markup=False),
            console=console,
            disable=not self._live,
        )
        self._tasks: dict[str, tuple[TaskID, str]] = {}
        self._started: dict[str, float] = {}
        self._said: dict[str, str] = {}
        self._latest: dict[str, Event] = {}
        self._study: TaskID | None = None

    def __enter__(self) -> ProgressView:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, job: Job, event: Event) -> None:
        """Show one event."""
        if event.kind == "stage" and event.stage == "start":
            self._started[job.id] = time.monotonic()
            which = f"  [dim]{of_plan(event)}[/dim]" if event.total > 1 else ""
            self._console.print(f"[bold]{escape(job.title)}[/bold]{which}", highlight=False)
            self._show_study(event)
        elif event.kind == "stage" and event.stage == "end":
            self._drop(job)
            seconds = time.monotonic() - self._started.pop(job.id, time.monotonic())
            self._console.print(f"  [dim]{seconds:.1f} s[/dim]", highlight=False)
            self._latest.pop(job.id, None)
            self._show_study(event)
        elif event.kind == "alive":
            self._show_study(event)
            if not self._live:
                self._console.print(self._sign(job, event), highlight=False, markup=False)
        elif event.kind == "stage":
            self._advance(job, event)
        elif event.kind == "waiting":
            self._say(job, f"  [yellow]waiting[/yellow]: {escape(event.note)}")
        elif event.kind == "warning":
            self._say(job, f"  [yellow]note[/yellow]: {escape(event.note)}")
        elif event.kind == "failed":
            self._console.print(f"  [red]failed[/red]: {escape(event.note)}", highlight=False)

    def _sign(self, job: Job, event: Event) -> str:
        """Return one line on a job, for logs."""
        latest, minutes = self._latest.get(job.id), (time.monotonic() - self._started.get(job.id, 0.0)) / 60
        doing = job.title if latest is None else f"{job.title}, {latest.stage}"
        if latest is not None and latest.total:
            doing += f" {latest.done:g} of {latest.total:g}"
        return f"  {doing}: {minutes:.0f} min so far; {of_plan(event)}"

    def _show_study(self, event: Event) -> None:
        """Show how many jobs of the plan have begun."""
        if not self._live or event.total < 2:
            return
        if self._study is None:
            self._study = self._progress.add_task("all jobs", total=event.total, note="")
        self._progress.update(self._study, completed=max(event.done - len(self._started), 0), note=of_plan(event))

    def _advance(self, job: Job, event: Event) -> None:
        self._latest[job.id] = event
        if not self._live:
            if event.total and event.done >= event.total:
                self._say(job, f"  {escape(event.stage)}: {event.total:g} done  {escape(event.note)}".rstrip())
            return
        task, stage = self._tasks.get(job.id, (None, ""))
        if task is None or stage != event.stage:
            self._drop(job)
            task = self._progress.add_task(f"  {event.stage}", total=event.total or None, note="")
            self._tasks[job.id] = (task, event.stage)
        self._progress.update(task, completed=event.done, total=event.total or None, note=event.note)

    def _say(self, job: Job, line: str) -> None:
        if self._said.get(job.id) != line:
            self._said[job.id] = line
            self._console.print(line, highlight=False)

    def _drop(self, job: Job) -> None:
        task, _ = self._tasks.pop(job.id, (None, ""))
        if task is not None:
            self._progress.remove_task(task)


def of_plan(event: Event) -> str:
    """Return ``job 3 of 16, about 12 min left``."""
    left = f", about {duration(event.left)} left for all" if event.left >= 1 else ""
    return f"job {event.done:g} of {event.total:g}{left}"
