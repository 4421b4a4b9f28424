"""Fit a teacher or fetch its weights, and describe it."""

from __future__ import annotations

from functools import partial

from pydantic import JsonValue
from rich.console import Console
from rich.progress import Progress, TaskID

from bench.errors import SetupError
from bench.paths import Workspace
from bench.plan.overrides import Overrides
from bench.plan.request import parse_assignments, validated
from bench.registry import TEACHERS
from bench.store.once import once
from bench.store.store import Store
from bench.teachers.base import Teacher


def fit_teacher(name: str, assignments: list[str], workspace: Workspace, screen: Console) -> dict[str, JsonValue]:
    """Fit a teacher or fetch its weights; return its report.

    Args:
        name: Registered name.
        assignments: ``teacher.FIELD=VALUE`` texts.
        workspace: Workspace with the cache.
        screen: Shows progress.

    Returns:
        The teacher's report.

    Raises:
        UsageError: Unknown name or option.
        SetupError: Its weights cannot be had here.
    """
    teacher = _open(name, assignments, workspace)

    teacher.fetch()

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
    return teacher.fit_report() or _facts(teacher)


def describe_teacher(name: str, assignments: list[str], workspace: Workspace) -> dict[str, JsonValue]:
    """Describe a teacher without fitting or fetching anything.

    Args:
        name: Registered name.
        assignments: ``teacher.FIELD=VALUE`` texts.
        workspace: Workspace with the cache.

    Returns:
        ``ready`` (yes, or the line that says what to do), ``identity``, ``weights``, ``image features`` and ``text
        features`` (widths), ``token transformer``, ``sees class names``.

    Raises:
        UsageError: Unknown name or option.
    """
    teacher = _open(name, assignments, workspace)
    try:
        if teacher.ready():
            return {"ready": "yes", **_facts(teacher)}
        teacher.identity()  # raises with instructions if weights must be downloaded
    except SetupError as error:
        return {"ready": f"no: {error}"}
    return {"ready": f"no: run `bench teachers fit {name}`, or let a run do it", **_facts(teacher)}


def _open(name: str, assignments: list[str], workspace: Workspace) -> Teacher:
    """Build a teacher from assignments.

    Those of ``text_teacher`` are accepted too, as a run accepts them.
    """
    teacher_class = TEACHERS.load(name)
    groups = ("teacher", "text_teacher")
    overrides = Overrides(parse_assignments(assignments), frozenset(groups))
    return teacher_class(workspace.cache, validated(teacher_class.Options, overrides.merge({}, *groups), "teacher"))


def _facts(teacher: Teacher) -> dict[str, JsonValue]:
    shape = teacher.transformer_shape()
    lent = "none" if shape is None else f"{shape.depth} blocks, width {shape.width}, {shape.heads} heads"
    trained: dict[str, JsonValue] = {}
    if teacher.ready():
        seen = teacher.captions_seen()
        trained["trained on"] = "images or texts that are not known here" if seen is None else f"{len(seen)} captions"
    return {
        "identity": teacher.identity(),
        "weights": teacher.weights_source(),
        "image features": teacher.image_dim or "none",
        "text features": teacher.text_dim or "none",
        "token transformer": lent,
        **trained,
    }


def _show(progress: Progress, task: TaskID, done: int, total: int, what: str = "", note: str = "") -> None:
    progress.update(task, completed=done, total=total)
