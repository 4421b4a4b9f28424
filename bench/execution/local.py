"""Engine for this machine: one process per job."""

from __future__ import annotations

import json
import queue
import signal
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from bench.environment import usable_cores
from bench.execution.engines import Engine, EngineSetup, Ledger, Task
from bench.execution.events import Event
from bench.execution.forkserver import WorkerProcess, close_servers, server_for
from bench.paths import Workspace
from bench.spec import Frozen

ALIVE_SECONDS = 60.0
"""Seconds between two events that say that a job is still running."""


class LocalOptions(Frozen):
    """Options of the local engine."""


@dataclass
class _Running:
    task: Task
    process: WorkerProcess
    pump: threading.Thread


class LocalEngine(Engine[LocalOptions]):
    """This machine: one job per core, or one on a GPU."""

    name = "local"
    Options = LocalOptions

    def __init__(self, ledger: Ledger, workspace: Workspace, setup: EngineSetup, options: LocalOptions) -> None:
        super().__init__(ledger, workspace, setup, options)
        self._messages: queue.Queue[tuple[str, Event | None]] = queue.Queue()
        self._running: dict[str, _Running] = {}
        self._alive_at = time.monotonic()

    def run(self) -> None:
        """Run every job; others go on if one fails."""
        ledger = self.ledger
        on_gpu = any(task.resources.device == "cuda" for task in ledger.tasks)
        workers = self.setup.workers or (1 if on_gpu else _side_by_side(ledger.tasks))
        ledger.forecast.workers = workers
        try:
            while ledger.waiting or self._running:
                for task in ledger.ready()[: max(workers - len(self._running), 0)]:
                    self._start(task)
                if not self._running:
                    continue
                identity, event = self._next_message()
                running = self._running[identity]
                if event is not None:
                    ledger.receive(running.task, event)
                else:
                    code = self._running.pop(identity).process.returncode
                    assert code is not None, "it has told how it ended"
                    ledger.end(running.task, code)
        except KeyboardInterrupt:
            ledger.outcome.interrupted = True
            raise
        finally:  # after any error, too: no job may outlive us
            self._stop_all()

    def _next_message(self) -> tuple[str, Event | None]:
        """Wait for a message; report running jobs once a minute."""
        while True:
            due = self._alive_at + ALIVE_SECONDS - time.monotonic()
            if due > 0:
                with suppress(queue.Empty):
                    return self._messages.get(timeout=due)
            self._alive_at = time.monotonic()
            self.ledger.alive()

    def _start(self, task: Task) -> None:
        # A nameless file: nothing is left behind when we or the worker are killed.
        with (
            task.log.open("a", encoding="utf-8") as log_file,
            tempfile.TemporaryFile("w+", encoding="utf-8") as job_file,
        ):
            json.dump(task.payload(), job_file)
            job_file.seek(0)
            process = server_for(task.resources.cores).start(job_file, log_file)
        pump = threading.Thread(target=self._pump, args=(task.job.id, process), daemon=True)
        self._running[task.job.id] = _Running(task, process, pump)
        self.ledger.begin(task)
        pump.start()

    def _pump(self, identity: str, process: WorkerProcess) -> None:
        for line in process.lines():
            try:
                self._messages.put((identity, Event.model_validate_json(line)))
            except ValueError:
                continue  # a killed worker can leave half a line
        self._messages.put((identity, None))

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


def _side_by_side(tasks: Sequence[Task]) -> int:
    """Return how many jobs of some threads run together.

    At most four.
    """
    most = max((task.resources.cores for task in tasks), default=1)
    return max(min(usable_cores() // most, 4), 1)
