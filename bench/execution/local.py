"""Engine for this machine: one process per job.

A GPU has one job that trains networks at a time, or several where the user allows it and memory does; evaluations of
frozen features run beside them, on CPUs. Each worker sees only its own GPU. `bench.execution.seats` decides.
"""

from __future__ import annotations

import queue
import re
import signal
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field

from pydantic import Field, field_validator

from bench.execution.engines import Engine, EngineSetup, Ledger
from bench.execution.events import Event
from bench.execution.forkserver import WorkerProcess, close_servers, start_worker
from bench.execution.seats import Machine, Seat, in_order, limits, machine_here, seat
from bench.paths import Workspace
from bench.signals import INTERRUPTED
from bench.spec import Frozen

ALIVE_SECONDS = 60.0
"""Seconds between two events that say that a job is still running."""
_NO_MEMORY = re.compile("out of memory|OutOfMemoryError|ALLOC_FAILED")
"""Errors of a job whose GPU had too little free memory."""


class LocalOptions(Frozen):
    """Options of the local engine."""

    gpus: tuple[str, ...] | None = None
    """GPUs to use, as ``CUDA_VISIBLE_DEVICES`` names them; None for all that are visible."""
    jobs_per_gpu: int | None = Field(None, ge=1, le=64)
    """Trainings that share a GPU where memory allows; None for one, or as many as ``--jobs`` needs."""
    jobs_on_cpus: int | None = Field(None, ge=1, le=1024)
    """Jobs on the CPU at a time, evaluations of frozen features among them; None: one per core, at most four."""

    @field_validator("gpus", mode="before")
    @classmethod
    def _read_gpus(cls, told: object) -> object:
        several = told.split(",") if isinstance(told, str) else told if isinstance(told, list | tuple) else [told]
        return None if told is None else tuple(str(one).strip() for one in several)


@dataclass
class _Running:
    seat: Seat
    process: WorkerProcess
    pump: threading.Thread
    shared: bool = False
    """Whether another job used its GPU meanwhile."""
    short: list[Event] = field(default_factory=list)
    """Failures for want of a GPU's memory, not passed on yet."""


class LocalEngine(Engine[LocalOptions]):
    """This machine: one job per GPU, or per core."""

    name = "local"
    Options = LocalOptions

    def __init__(
        self,
        ledger: Ledger,
        workspace: Workspace,
        setup: EngineSetup,
        options: LocalOptions,
        machine: Machine | None = None,
    ) -> None:
        """Prepare to run jobs.

        Args:
            ledger: The jobs.
            workspace: Results folder and cache.
            setup: What the user asked for.
            options: Options.
            machine: What jobs may use; None to look.
        """
        super().__init__(ledger, workspace, setup, options)
        self._machine = machine or machine_here(ledger.tasks, options.gpus)
        self._messages: queue.Queue[tuple[str, Event | None]] = queue.Queue()
        self._running: dict[str, _Running] = {}
        self._alone: set[str] = set()
        self._alive_at = time.monotonic()

    def run(self) -> None:
        """Run every job; others go on if one fails."""
        ledger, machine, own = self.ledger, self._machine, self.options
        most = limits(machine, ledger.tasks, self.setup.workers, own.jobs_per_gpu, own.jobs_on_cpus)
        ledger.forecast.workers = most.jobs
        ledger.arrange(in_order(ledger.tasks, most.jobs))
        try:
            while ledger.waiting or self._running:
                taken = [running.seat for running in self._running.values()]
                for one in seat(machine, most, taken, ledger.ready(), self._alone):
                    self._start(one)
                if not self._running:
                    continue
                identity, event = self._next_message()
                if event is not None:
                    self._receive(self._running[identity], event)
                else:
                    self._finish(self._running.pop(identity))
        except KeyboardInterrupt:
            ledger.outcome.interrupted = True
            raise
        finally:  # after any error, too: no job may outlive us
            self._stop_all()

    def start_worker(self, seat: Seat) -> WorkerProcess:
        """Start the worker of a job on its seat."""
        task = seat.task
        return start_worker(task.payload(**seat.environment), task.job.threads, task.log)

    def _next_message(self) -> tuple[str, Event | None]:
        """Wait for a message; report running jobs once a minute."""
        while True:
            due = self._alive_at + ALIVE_SECONDS - time.monotonic()
            if due > 0:
                with suppress(queue.Empty):
                    return self._messages.get(timeout=due)
            self._alive_at = time.monotonic()
            self.ledger.alive()

    def _start(self, seat: Seat) -> None:
        task = seat.task
        process = self.start_worker(seat)
        pump = threading.Thread(target=self._pump, args=(task.job.id, process), daemon=True)
        new = _Running(seat, process, pump)
        for other in self._running.values():
            if {*(seat.gpus or ())} & {*(other.seat.gpus or ())}:
                new.shared = other.shared = True
        self._running[task.job.id] = new
        self.ledger.begin(task)
        pump.start()

    def _pump(self, identity: str, process: WorkerProcess) -> None:
        for line in process.lines():
            try:
                self._messages.put((identity, Event.model_validate_json(line)))
            except ValueError:
                continue  # a killed worker can leave half a line
        self._messages.put((identity, None))

    def _receive(self, running: _Running, event: Event) -> None:
        if running.shared and event.kind == "failed" and _NO_MEMORY.search(event.note):
            running.short.append(event)
        else:
            self.ledger.receive(running.seat.task, event)

    def _finish(self, running: _Running) -> None:
        """Note that a worker ended; one without memory runs again alone."""
        task, code = running.seat.task, running.process.returncode
        assert code is not None, "it has told how it ended"
        if running.short and code not in (0, INTERRUPTED):
            self._alone.add(task.job.id)
            where = ",".join(running.seat.gpus or ())
            self.ledger.again(task, f"GPU {where} had too little memory for it beside other jobs; it runs again alone")
            return
        for event in running.short:
            self.ledger.receive(task, event)
        self.ledger.end(task, code)

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
        if self.ledger.outcome.interrupted:  # not only at exit, which a second request to stop could cut short
            close_servers()
        self._running.clear()
