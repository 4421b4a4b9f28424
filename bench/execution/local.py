"""Local pool: one process per job, with progress and failures."""

from __future__ import annotations

import json
import queue
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.environment import job_path, typed_command, usable_cores
from bench.errors import BenchError
from bench.execution.events import Event
from bench.execution.failures import store_failure
from bench.execution.forecast import Forecast
from bench.execution.forkserver import WorkerProcess, close_servers, server_for
from bench.paths import Workspace
from bench.plan.graph import Job, Plan
from bench.signals import INTERRUPTED

ALIVE_SECONDS = 60.0
"""Seconds between two events that say that a job is still running."""


@dataclass(frozen=True)
class PoolOptions:
    """Options for running jobs; they change no result.

    Attributes:
        workers: Jobs at a time; None for one per core (at most four), or one on a GPU.
        store_url: Database URL, or None for the SQLite file of the results folder.
        plugins: Plugin files every worker loads.
    """

    workers: int | None = None
    store_url: str | None = None
    plugins: tuple[Path, ...] = ()


@dataclass
class Outcome:
    """Outcome of running a plan.

    Attributes:
        done: Keys of runs stored now.
        failed: (title, error, log path) of what failed.
        interrupted: Whether the user stopped it.
    """

    done: list[str] = field(default_factory=list)
    failed: list[tuple[str, str, Path]] = field(default_factory=list)
    interrupted: bool = False


@dataclass
class _Running:
    job: Job
    process: WorkerProcess
    pump: threading.Thread
    log: Path
    error: str = ""
    diverged: bool = False
    finished_runs: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class _Broken:
    error: str
    log: Path
    diverged: bool = False


Listener = Callable[[Job, Event], None]
"""Called in the main thread with every event; ``stage`` events named ``start`` and ``end`` frame a job."""


class LocalPool:
    """Runs the jobs of a plan on this machine."""

    def __init__(self, workspace: Workspace, options: PoolOptions, listener: Listener) -> None:
        self._workspace = workspace
        self._options = options
        self._listener = listener
        self._messages: queue.Queue[tuple[str, Event | None]] = queue.Queue()
        self._running: dict[str, _Running] = {}
        self._outcome = Outcome()
        self._workers = 1
        self._forecast = Forecast(workspace, [], 1)
        self._alive_at = time.monotonic()

    def run(self, plan: Plan) -> Outcome:
        """Run every job; others go on if one fails."""
        waiting = list(plan.jobs)
        on_gpu = any(job.encoder is not None and job.encoder.numerics.device == "cuda" for job in waiting)
        self._workers = self._options.workers or (1 if on_gpu else self._side_by_side(waiting))
        self._forecast = Forecast(self._workspace, waiting, self._workers)
        settled: set[str] = set()
        broken: dict[str, _Broken] = {}
        try:
            while waiting or self._running:
                for job in self._startable(waiting, settled, broken):
                    waiting.remove(job)
                    bad = next((need for need in job.needs if need in broken), None)
                    if bad is not None:
                        cause = broken[bad]
                        self._forecast.end(job)
                        self._give_up(job, replace(cause, error=f"needs a job that failed: {cause.error}"), broken)
                    else:
                        self._start(job)
                if not self._running:
                    continue
                identity, event = self._next_message()
                if event is not None:
                    self._receive(identity, event)
                else:
                    self._finish(identity, settled, broken)
        except KeyboardInterrupt:
            self._outcome.interrupted = True
        finally:  # after any error of the pool, too: no job may outlive it
            self._stop_all()
        return self._outcome

    def _next_message(self) -> tuple[str, Event | None]:
        """Wait for a message; report running jobs once a minute."""
        while True:
            due = self._alive_at + ALIVE_SECONDS - time.monotonic()
            if due > 0:
                with suppress(queue.Empty):
                    return self._messages.get(timeout=due)
            self._alive_at = time.monotonic()
            for running in self._running.values():
                self._listener(running.job, self._of_plan(Event(kind="alive")))

    def _of_plan(self, event: Event) -> Event:
        """Add to an event its job number and remaining time."""
        forecast = self._forecast
        return event.model_copy(update={"done": forecast.begun, "total": forecast.total, "left": forecast.left()})

    def _side_by_side(self, jobs: Sequence[Job]) -> int:
        """Return how many jobs of some threads run together.

        At most four.
        """
        most = max((job.encoder.numerics.job_threads for job in jobs if job.encoder is not None), default=1)
        return max(min(usable_cores() // most, 4), 1)

    def _startable(self, waiting: Sequence[Job], settled: set[str], broken: dict[str, _Broken]) -> list[Job]:
        free = self._workers - len(self._running)
        ready = [job for job in waiting if all(need in settled or need in broken for need in job.needs)]
        return ready[: max(free, 0)]

    def _start(self, job: Job) -> None:
        log = self._workspace.logs / f"{job.id}.log"
        payload = {
            "job": job.model_dump(mode="json"),
            "results": str(self._workspace.results),
            "cache": str(self._workspace.cache),
            "store_url": self._options.store_url,
            "plugins": [str(path) for path in self._options.plugins],
            "command": typed_command(),
            "path": job_path(),
        }
        threads = 1 if job.encoder is None else job.encoder.numerics.job_threads
        # A nameless file: nothing is left behind when we or the worker are killed.
        with log.open("a", encoding="utf-8") as log_file, tempfile.TemporaryFile("w+", encoding="utf-8") as job_file:
            json.dump(payload, job_file)
            job_file.seek(0)
            process = server_for(threads).start(job_file, log_file)
        pump = threading.Thread(target=self._pump, args=(job.id, process), daemon=True)
        self._running[job.id] = _Running(job, process, pump, log)
        self._forecast.begin(job)
        self._listener(job, self._of_plan(Event(kind="stage", stage="start")))
        pump.start()

    def _pump(self, identity: str, process: WorkerProcess) -> None:
        for line in process.lines():
            try:
                self._messages.put((identity, Event.model_validate_json(line)))
            except ValueError:
                continue  # a killed worker can leave half a line
        self._messages.put((identity, None))

    def _receive(self, identity: str, event: Event) -> None:
        running = self._running[identity]
        if event.kind == "run":
            running.finished_runs.add(event.key)
            self._outcome.done.append(event.key)
        elif event.kind == "failed" and event.key:
            running.finished_runs.add(event.key)
            self._outcome.failed.append((f"{running.job.title}, {event.stage}", event.note, running.log))
        elif event.kind == "failed":
            running.error, running.diverged = event.note, event.diverged
        self._listener(running.job, event)

    def _finish(self, identity: str, settled: set[str], broken: dict[str, _Broken]) -> None:
        running = self._running.pop(identity)
        code = running.process.returncode
        assert code is not None, "it has told how it ended"
        self._forecast.end(running.job)
        self._listener(running.job, self._of_plan(Event(kind="stage", stage="end")))
        if code == 0:
            settled.add(identity)
        elif code == INTERRUPTED:
            self._outcome.interrupted = True
            broken[identity] = _Broken("interrupted", running.log)
        elif running.job.runs and {run.key for run in running.job.runs} <= running.finished_runs:
            broken[identity] = _Broken("a run failed", running.log)  # each failure was reported when it happened
        else:
            error = running.error or (
                f"its process was killed by signal {-code}" if code < 0 else f"its process ended with code {code}"
            )
            self._give_up(running.job, _Broken(error, running.log, running.diverged), broken, running.finished_runs)

    def _give_up(
        self, job: Job, cause: _Broken, broken: dict[str, _Broken], skip: Collection[str] = frozenset()
    ) -> None:
        broken[job.id], error, log = cause, cause.error, cause.log
        self._outcome.failed.append((job.title, error, log))
        for run in job.runs:
            if run.key in skip:
                continue
            try:
                store_failure(
                    self._workspace, self._options.store_url, run, error, log, typed_command(), diverged=cause.diverged
                )
            except BenchError as problem:  # e.g. the disk is full: the summary must still appear
                self._outcome.failed.append((f"record the failure of {job.title}", str(problem), log))
                return

    def _stop_all(self) -> None:
        """Ask every worker to save and end.

        A second request to stop ends them at once.
        """
        for running in self._running.values():
            running.process.send(signal.SIGTERM)  # not SIGINT, which is ignored where a shell started us in background
        for running in self._running.values():
            with suppress(KeyboardInterrupt):
                running.pump.join(timeout=60)
            running.process.send(signal.SIGKILL)
        if self._outcome.interrupted:  # not only at exit, which a second request to stop could cut short
            close_servers()
        self._running.clear()
