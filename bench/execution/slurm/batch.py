"""Work of a SLURM job on its node.

submitit calls `do_jobs` with the paths of job files. Each job has a worker process as on one machine. Some time
before the time limit SLURM sends SIGUSR2: the worker saves a checkpoint, and submitit queues the SLURM job again,
which then goes on from there.
"""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from bench.errors import BenchError, Interrupted
from bench.execution.events import Event
from bench.execution.forkserver import WorkerProcess, start_worker
from bench.execution.jobfile import read_job
from bench.execution.slurm.submissions import Reader, events_of
from bench.signals import INTERRUPTED

_SAVING = 30.0
"""Seconds in which a worker that heard SLURM's signal, too, saves its state; afterwards it is asked to."""
_EVERY = 2.0
"""Seconds between two messages on the progress of a stage."""


class _Current:
    """The worker at work, for the handler of the signal."""

    process: WorkerProcess | None = None
    pump: threading.Thread | None = None


def do_jobs(files: Sequence[str]) -> None:
    """Do the jobs of these files; all of them, also if one fails.

    Raises:
        BenchError: One of them failed.
        Interrupted: The SLURM job is being stopped.
    """
    failed = [file for file in files if _do(Path(file)) != 0]
    if failed:
        raise BenchError(f"{len(failed)} of {len(files)} jobs failed: {', '.join(Path(file).stem for file in failed)}")


def _again(files: Sequence[str]) -> Any:
    """Stop the worker, and return what the next SLURM job calls."""
    from submitit.core.utils import DelayedSubmission

    if _Current.process is not None and _Current.pump is not None:
        _wait(_Current.pump, _SAVING)
        _Current.process.send(signal.SIGTERM)
        _wait(_Current.pump, 2 * _SAVING)
    return DelayedSubmission(do_jobs, files)


do_jobs.checkpoint = _again  # type: ignore[attr-defined]  # where submitit looks for it


def _wait(thread: threading.Thread, seconds: float) -> None:
    """Wait for a thread without a lock.

    A handler of a signal could not take one.
    """
    until = time.monotonic() + seconds
    while thread.is_alive() and time.monotonic() < until:
        time.sleep(0.05)


def _do(file: Path) -> int:
    """Do one job unless an earlier attempt did."""
    earlier = Reader(events_of(file))
    earlier.news()
    if earlier.told.code == 0:
        return 0
    content = read_job(file)
    if (need := _lacks(file, content.job.needs)) is not None:
        with events_of(file).open("a", encoding="utf-8") as told:
            _write(told, skipped=need)
        raise Interrupted(f"{need}, which it needs, was cancelled or failed")
    payload = content.payload() | {"indexes": False, "store_url": None}
    log = Path(content.results) / "logs" / f"{content.id}.log"
    with events_of(file).open("a", encoding="utf-8") as told:
        _write(told, began=_slurm_id(), host=socket.gethostname())
        process = start_worker(payload, content.job.threads, log)
        pump = threading.Thread(target=_pump, args=(process, told), daemon=True)
        _Current.process, _Current.pump = process, pump
        pump.start()
        _wait(pump, math.inf)
        _Current.process = None
        code = process.returncode
        assert code is not None, "it has told how it ended"
        if code == INTERRUPTED:
            time.sleep(5.0)  # the signal that stopped it reaches this process, too, and ends it here
            raise Interrupted("the worker was stopped")
        _write(told, ended=code)
    return code


def _lacks(file: Path, needs: Sequence[str]) -> str | None:
    """Return a job of the same submission that is needed and did not end well.

    SLURM starts a job although it depends on a task of an array that was cancelled while it waited.
    """
    for need in needs:
        other = file.with_name(f"{need}.json")
        reader = Reader(events_of(other))
        reader.news()
        if other.exists() and reader.told.code != 0:
            return need
    return None


def _pump(process: WorkerProcess, told: IO[str]) -> None:
    """Write what a worker tells; of progress, only so much."""
    last = 0.0
    for line in process.lines():
        try:
            event = Event.model_validate_json(line)
        except ValueError:
            continue  # a killed worker can leave half a line
        if event.kind == "stage" and 0 < event.done < event.total:
            if time.monotonic() - last < _EVERY:
                continue
            last = time.monotonic()
        told.write(line)
        told.flush()


def _write(told: IO[str], **values: object) -> None:
    told.write(json.dumps({**values, "at": datetime.now(UTC).isoformat(timespec="seconds")}) + "\n")
    told.flush()
    os.fsync(told.fileno())


def _slurm_id() -> str:
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ.get("SLURM_JOB_ID", "")
