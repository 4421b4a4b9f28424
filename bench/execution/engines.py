"""Engines: run the jobs of a plan, each in a process of its own.

An engine is a class with a `name`, an `Options` model (the fields of ``--engine-config``) and `run`. It is registered
like a method: built in (`bench.registry.ENGINES`), or by a plugin file or an entry point ``engines.NAME``.

What it gets: an `Engine.ledger` of `Task` objects in an order that respects their needs, each with its job, what the
job takes of a machine (`Resources`) and `Task.write`, which writes the job as a JSON file for `bench.execution.jobfile`
(``bench worker FILE`` does such a job anywhere the results folder is mounted).

What it does: it takes tasks from `Ledger.ready` and tells the ledger of each what happens, always in the thread that
called `run`: `Ledger.begin`, `Ledger.receive` with every event of the worker, `Ledger.end` with its exit code. The
ledger tells the listener, keeps the outcome, stores failures, and gives up what needs a job that failed; all other
jobs go on. While nothing happens, the engine calls `Ledger.alive` at least once a minute.

Ctrl-C: `KeyboardInterrupt` is raised in `run`. The engine stops its workers (SIGTERM: they save a checkpoint and end
with exit code 130), or leaves them where they outlive this process and says so in `Outcome.left_behind`;
it lets the exception pass. The same command continues: whatever is stored is in no later plan.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel

from bench.environment import typed_command
from bench.errors import BenchError, UsageError
from bench.execution.events import Event
from bench.execution.failures import failed_record, open_store
from bench.execution.forecast import Forecast
from bench.execution.jobfile import JobFile
from bench.options import Configured
from bench.paths import Workspace
from bench.plan.estimate import Estimator, gpu_bytes, host_bytes
from bench.plan.graph import Job, Plan, trains_encoder
from bench.plan.request import read_mapping, validated
from bench.registry import ENGINES
from bench.signals import INTERRUPTED
from bench.store.run_folders import WorkerStore

OptionsT = TypeVar("OptionsT", bound=BaseModel)

Listener = Callable[[Job, Event], None]
"""Called in the main thread with every event; ``stage`` events named ``start`` and ``end`` frame a job."""


@dataclass(frozen=True)
class EngineSetup:
    """Settings of running jobs; no result depends on them.

    Attributes:
        workers: Jobs at a time; None leaves it to the engine.
        store_url: Database URL, or None for the SQLite file of the results folder.
        plugins: Plugin files every worker loads.
        engine: Name of the engine.
        config: YAML file with the engine's options, or None.
        detach: Leave as soon as jobs are where they outlive this process (`Outcome.left_behind`).
        indexes: Whether runs are indexed when they are stored; else there are their folders, for others to index.
    """

    workers: int | None = None
    store_url: str | None = None
    plugins: tuple[Path, ...] = ()
    engine: str = "local"
    config: Path | None = None
    detach: bool = False
    indexes: bool = True


@dataclass
class Outcome:
    """Outcome of running a plan.

    Attributes:
        done: Keys of runs stored now.
        failed: (title, error, log path) of what failed.
        interrupted: Whether the user stopped it.
        left_behind: What goes on elsewhere when this process ends, and how to look at it, in one sentence.
    """

    done: list[str] = field(default_factory=list)
    failed: list[tuple[str, str, Path]] = field(default_factory=list)
    interrupted: bool = False
    left_behind: str = ""


@dataclass(frozen=True)
class Resources:
    """Estimated needs of a job.

    Attributes:
        device: Where its networks run.
        gpus: GPUs it uses; 0 on CPUs.
        cores: CPU cores that it keeps busy.
        seconds: Time.
        gpu_bytes: Memory of a GPU, roughly; 0 on CPUs.
        host_bytes: Main memory, roughly.
        frozen: Whether it judges frozen features: its networks run for seconds, the rest is work for a CPU.
    """

    device: Literal["cpu", "cuda"]
    gpus: int
    cores: int
    seconds: float
    gpu_bytes: int = 0
    host_bytes: int = 0
    frozen: bool = False


@dataclass(frozen=True, eq=False)
class Task:
    """A job with what an engine needs to place it.

    Attributes:
        job: The job; `Job.needs` names the jobs it waits for.
        resources: What it takes.
        log: File that takes all that its worker prints.
    """

    job: Job
    resources: Resources
    log: Path
    _file: Callable[[], JobFile]

    def write(self, folder: Path) -> Path:
        """Write the job for a worker elsewhere.

        Args:
            folder: Folder that the worker sees, too.

        Returns:
            The file, named by the job's id.
        """
        return self._file().write(folder)

    def payload(self, **environment: str) -> dict[str, Any]:
        """Return the job as a worker reads it from standard input.

        Args:
            **environment: Variables that it sets before it looks for a GPU.
        """
        return {**self._file().payload(), "environment": environment}


@dataclass(frozen=True)
class _Broken:
    error: str
    log: Path
    diverged: bool = False


@dataclass
class _Begun:
    job: Job
    error: str = ""
    diverged: bool = False
    told: set[str] = field(default_factory=set)
    """Keys of runs that ended."""


class Ledger:
    """State of a plan's jobs while an engine runs them.

    It takes no longer for a job of many than for one of few.

    Attributes:
        tasks: All jobs of the plan.
        forecast: Time left; an engine sets how many jobs run side by side.
        outcome: What happened so far.
    """

    def __init__(self, tasks: Sequence[Task], workspace: Workspace, setup: EngineSetup, listener: Listener) -> None:
        self.tasks = tuple(tasks)
        self.outcome = Outcome()
        self.forecast = Forecast([(task.job, task.resources.seconds) for task in tasks])
        self._workspace = workspace
        self._setup = setup
        self._listener = listener
        self._begun: dict[str, _Begun] = {}
        self._waiting = {task.job.id: task for task in tasks}
        self._open = {task.job.id: {*task.job.needs} & {*self._waiting} for task in tasks}
        """Jobs of the plan that a job still waits for."""
        self._dependents: dict[str, list[Task]] = {}
        for task in tasks:
            for need in self._open[task.job.id]:
                self._dependents.setdefault(need, []).append(task)
        self._rank: dict[str, int] = {}
        self._ready: list[Task] = []
        self.arrange(tasks)

    @property
    def waiting(self) -> Collection[Task]:
        """Jobs that did not begin and were not given up."""
        return self._waiting.values()

    def arrange(self, tasks: Sequence[Task]) -> None:
        """Set the order of `ready`: all jobs, first the one to be tried first."""
        self._rank = {task.job.id: place for place, task in enumerate(tasks)}
        self._ready = [task for task in tasks if task.job.id in self._waiting and not self._open[task.job.id]]

    def ready(self) -> Sequence[Task]:
        """Return jobs that may begin, in the plan's order or as arranged."""
        return self._ready

    def begin(self, task: Task) -> None:
        """Note that a worker does a job now."""
        del self._waiting[task.job.id]
        del self._ready[bisect_left(self._ready, self._place(task), key=self._place)]
        self._begun[task.job.id] = _Begun(task.job)
        self.forecast.begin(task.job)
        self._listener(task.job, self._of_plan(Event(kind="stage", stage="start")))

    def receive(self, task: Task, event: Event) -> None:
        """Take an event of a job's worker."""
        begun = self._begun[task.job.id]
        if event.kind == "run":
            begun.told.add(event.key)
            self.outcome.done.append(event.key)
        elif event.kind == "failed" and event.key:
            begun.told.add(event.key)
            self.outcome.failed.append((f"{task.job.title}, {event.stage}", event.note, task.log))
        elif event.kind == "failed":
            begun.error, begun.diverged = event.note, event.diverged
        self._listener(task.job, event)

    def again(self, task: Task, why: str) -> None:
        """Let a job that ended wait once more.

        What its worker told of failures until then must not have been passed to `receive`.

        Args:
            task: The job.
            why: Reason, told in one line.
        """
        self._begun.pop(task.job.id)
        self.forecast.again(task.job)
        self._listener(task.job, Event(kind="warning", note=why))
        self._listener(task.job, self._of_plan(Event(kind="stage", stage="end")))
        self._waiting[task.job.id] = task
        insort(self._ready, task, key=self._place)

    def tell(self, event: Event) -> None:
        """Tell the listener something that concerns all jobs."""
        if self.tasks:
            self._listener(self.tasks[0].job, event)

    def alive(self) -> None:
        """Tell the listener that the jobs that began go on."""
        for begun in self._begun.values():
            self._listener(begun.job, self._of_plan(Event(kind="alive")))

    def end(self, task: Task, code: int, why: str = "") -> None:
        """Note that a job's worker ended.

        Args:
            task: The job.
            code: Exit code of the worker; negative for a signal.
            why: Reason of a bad end where its last event does not tell it.
        """
        job = task.job
        begun = self._begun.pop(job.id)
        self.forecast.end(job)
        self._listener(job, self._of_plan(Event(kind="stage", stage="end")))
        if code == 0:
            for other in self._dependents.get(job.id, ()):
                needs = self._open[other.job.id]
                needs.discard(job.id)
                if not needs and other.job.id in self._waiting:
                    insort(self._ready, other, key=self._place)
            return
        if code == INTERRUPTED:
            self.outcome.interrupted = True
            self._without(job, None)
            return
        if job.runs and {run.key for run in job.runs} <= begun.told:
            cause = _Broken("a run failed", task.log)  # each failure was reported when it happened
        else:
            killed = f"its process was killed by signal {-code}"
            error = begun.error or why or (killed if code < 0 else f"its process ended with code {code}")
            cause = _Broken(error, task.log, begun.diverged)
            self._give_up(job, cause, begun.told)
        self._without(job, replace(cause, error=f"needs a job that failed: {cause.error}"))

    def _without(self, job: Job, cause: _Broken | None) -> None:
        """Give up the jobs that need one, and those that need these.

        Without a cause they are no failures: the same command does them later.
        """
        doomed = deque(self._dependents.get(job.id, ()))
        while doomed:
            task = doomed.popleft()
            if self._waiting.pop(task.job.id, None) is not None:
                self.forecast.end(task.job)
                if cause is not None:
                    self._give_up(task.job, cause)
                doomed += self._dependents.get(task.job.id, ())

    def _place(self, task: Task) -> int:
        return self._rank[task.job.id]

    def _of_plan(self, event: Event) -> Event:
        """Add to an event its job number and remaining time."""
        forecast = self.forecast
        return event.model_copy(update={"done": forecast.begun, "total": forecast.total, "left": forecast.left()})

    @cached_property
    def _store(self) -> WorkerStore:
        """Takes failures; opened at the first one."""
        return open_store(self._workspace.results, self._setup.store_url, indexes=self._setup.indexes)

    def _give_up(self, job: Job, cause: _Broken, skip: Collection[str] = frozenset()) -> None:
        error, log = cause.error, cause.log
        self.outcome.failed.append((job.title, error, log))
        for run in job.runs:
            if run.key in skip:
                continue
            try:
                self._store.publish(failed_record(run, error, log, typed_command(), diverged=cause.diverged))
            except BenchError as problem:  # e.g. the disk is full: the summary must still appear
                self.outcome.failed.append((f"record the failure of {job.title}", str(problem), log))
                return


class Engine(Configured[OptionsT], ABC):
    """Base of engines (see the module).

    Attributes:
        name: Name on the command line.
        ledger: The jobs, and who hears of them.
        workspace: Results folder and cache.
        setup: What the user asked for.
        options: Its options, validated.
    """

    name: ClassVar[str]
    detaches: ClassVar[bool] = False
    """Whether its jobs outlive the process that started them."""

    def __init__(self, ledger: Ledger, workspace: Workspace, setup: EngineSetup, options: OptionsT) -> None:
        self.ledger = ledger
        self.workspace = workspace
        self.setup = setup
        self.options = options

    @abstractmethod
    def run(self) -> None:
        """Run every job of the ledger; others go on if one fails."""


AnyEngine = Engine[Any]
"""An engine of any options."""


def _class_of(setup: EngineSetup) -> type[AnyEngine]:
    return ENGINES.load(setup.engine)


def engine_options(setup: EngineSetup) -> BaseModel:
    """Return an engine's options as the user gave them.

    Raises:
        UsageError: The engine is unknown or not usable here, or its file is missing or wrong.
    """
    model = _class_of(setup).Options
    if setup.config is None:
        return validated(model, {}, f"engine {setup.engine}")  # type: ignore[no-any-return]
    fields = read_mapping(setup.config, "engine configuration", f"a mapping of options of engine {setup.engine}")
    return validated(model, fields, str(setup.config))  # type: ignore[no-any-return]


def run_plan(plan: Plan, workspace: Workspace, setup: EngineSetup, listener: Listener) -> Outcome:
    """Run a plan's jobs on the engine that was asked for.

    Args:
        plan: The jobs.
        workspace: Results folder and cache.
        setup: How they are run.
        listener: Told of every event.

    Returns:
        What was stored, what failed, and whether it was stopped.

    Raises:
        UsageError: The engine is unknown or not usable here, or its options are wrong.
    """
    if setup.detach and not _class_of(setup).detaches:
        raise UsageError(f"--detach: jobs of engine '{setup.engine}' end with this command; leave it out")
    return run_tasks(tasks_of(plan, workspace, setup), workspace, setup, listener)


def run_tasks(tasks: Sequence[Task], workspace: Workspace, setup: EngineSetup, listener: Listener) -> Outcome:
    """Run jobs (see `run_plan`)."""
    options = engine_options(setup)
    ledger = Ledger(tasks, workspace, setup, listener)
    try:
        _class_of(setup)(ledger, workspace, setup, options).run()
    except KeyboardInterrupt:
        ledger.outcome.interrupted = True
    return ledger.outcome


def tasks_of(plan: Plan, workspace: Workspace, setup: EngineSetup) -> list[Task]:
    """Return a plan's jobs with what an engine needs."""
    estimator = Estimator(workspace)
    return [
        Task(
            job=job,
            resources=resources_of(job, estimator.seconds(job)),
            log=workspace.logs / f"{job.id}.log",
            _file=partial(JobFile.of, job, workspace, setup.plugins, setup.store_url),
        )
        for job in plan.jobs
    ]


def resources_of(job: Job, seconds: float) -> Resources:
    """Return what a job takes of a machine.

    Args:
        job: The job.
        seconds: Its estimated time.
    """
    memory = host_bytes(job) * job.processes
    if job.encoder is None:
        return Resources("cpu", 0, 1, seconds, host_bytes=memory)
    numerics = job.encoder.numerics
    cores = job.threads * job.processes
    frozen = job.kind == "evaluate" and not any(trains_encoder(run.spec) for run in job.runs)
    if numerics.device != "cuda":
        return Resources("cpu", 0, cores, seconds, host_bytes=memory, frozen=frozen)
    return Resources("cuda", job.processes, cores, seconds, gpu_bytes(job), memory, frozen)
