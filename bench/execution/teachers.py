"""Fitting a teacher on request."""

from __future__ import annotations

from functools import partial

from pydantic import JsonValue
from rich.console import Console
from rich.progress import Progress, TaskID

from bench.execution.once import once
from bench.paths import Workspace
from bench.plan.request import parse_assignment, validated
from bench.plan.resolve import Overrides
from bench.registry import TEACHERS
from bench.store.store import Store


def fit_teacher(name: str, assignments: list[str], workspace: Workspace, screen: Console) -> dict[str, JsonValue]:
    """Fit a teacher unless it is fitted, and return its report.

    Args:
        name: Registered name.
        assignments: ``teacher.FIELD=VALUE`` texts.
        workspace: Where the cache is.
        screen: Shows progress.

    Returns:
        The teacher's report.

    Raises:
        UsageError: Unknown name or option.
        SetupError: Its weights cannot be had here.
    """
    teacher_class = TEACHERS.load(name)
    overrides = Overrides(dict(parse_assignment(text) for text in assignments), frozenset({"teacher"}))
    options = validated(teacher_class.Options, overrides.merge({}, "teacher"), "teacher")
    teacher = teacher_class(workspace.cache, options)

    def fit() -> None:
        with Progress(console=screen, disable=not screen.is_terminal) as progress:
            teacher.prepare(partial(_show, progress, progress.add_task(f"fit {name}", total=None)))

    told: set[str] = set()

    def say_waiting(who: str) -> None:
        if who not in told:
            told.add(who)
            screen.print(f"waiting: {who}", markup=False)

    identity = teacher.identity()
    store = Store(workspace.results)
    once(store, "teacher", identity, done=teacher.ready, work=fit, on_wait=say_waiting, note=f"fit {name}")
    return teacher.fit_report()


def _show(progress: Progress, task: TaskID, done: int, total: int) -> None:
    progress.update(task, completed=done, total=total)
