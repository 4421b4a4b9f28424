"""Run a study of many made-up jobs, and measure what each costs beside its work: ``make benchmark-jobs``.

The study is a real one (two methods, a sweep of learning rates, many seeds, three protocols), and so are planner, local
engine, leases, sealed folders, index and records of failures. Only the work is made up: instead of a new process for
each job a few lasting ones take the jobs, and what they store is drawn at random. A share of the jobs fails: some
raise, some end as killed processes do, and what needs them must not run. Every execution is written down. Then the
same study runs again without failures, and does only what is missing.

    python tests/benchmarks/many_jobs.py FOLDER --jobs 10000
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import resource
import shutil
import signal
import socket
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from math import ceil
from multiprocessing import get_context
from pathlib import Path
from time import monotonic, process_time
from typing import IO, Any

import numpy as np
from pydantic import Field
from rich.console import Console

import bench
from bench.execution.engines import EngineSetup, Ledger, Outcome
from bench.execution.events import Channel, Event
from bench.execution.forkserver import ForkServer, WorkerProcess
from bench.execution.local import LocalEngine, LocalOptions
from bench.execution.seats import Seat
from bench.execution.worker import Worker, describe
from bench.paths import Workspace
from bench.plan.graph import Job, Plan, PlannedRun
from bench.provenance import machine_kind, provenance
from bench.registry import ENGINES, Entry
from bench.screen import ProgressView
from bench.spec import PretrainSpec
from bench.store import maintenance
from bench.store.records import Metric, RunRecord
from bench.store.scratch import scratch_name
from bench.store.store import Store

METHODS, PROTOCOLS = ("point-mae", "crosspoint"), ("linear", "svm", "finetune")
JOBS_PER_ENCODER = 3
"""Pretraining, evaluation of its frozen features, and fine-tuning."""
FAILS = 0.02
"""Share of the jobs that fail of themselves."""
EXECUTED = "executed.txt"
MOST_MS, MOST_MB = 20, 1000
"""Processor time beside its work that a job may take, and memory that planner or head process may."""


def study(results: Path, jobs: int, options: Path) -> bench.Study:
    """Describe a study of about so many jobs."""
    seeds = 10 if jobs < 10_000 else 100
    points = ceil(jobs / (JOBS_PER_ENCODER * len(METHODS) * seeds))
    return bench.study(
        METHODS, PROTOCOLS, seeds=seeds, results=results, baseline=False, compile="off", engine=MadeUpEngine.name,
        engine_config=options,
        sweep={"recipe.lr": [round(1e-4 * (1 + step / 100), 8) for step in range(points)]},
    )  # fmt: skip


# --- made-up work

KILLED, RAISED = "its process was killed by signal 9", "MadeUpError: made-up failure"


class MadeUpError(Exception):
    """A failure that was asked for."""


def outcome_of(kind: str, key: str, fails: float) -> str:
    """Return how some work fails; empty where it does not."""
    draw = int(hashlib.sha256(f"{kind} {key}".encode()).hexdigest()[:8], 16) / 2**32
    return KILLED if draw < fails / 4 else RAISED if draw < fails else ""


class MadeUpWorker(Worker):
    """Does the duties of a worker, but draws results instead of computing them."""

    def __init__(self, payload: dict[str, Any], channel: Channel, fails: float) -> None:
        super().__init__(payload, channel)
        self._fails = fails

    def _execute(self, kind: str, key: str) -> None:
        """Write down that something is done, and fail where it should."""
        with (self.workspace.results / EXECUTED).open("a") as file:
            file.write(f"{kind} {key}\n")
        told = outcome_of(kind, key, self._fails)
        if told == KILLED:
            raise Killed
        if told:
            raise MadeUpError("made-up failure")

    def _encoder(self, spec: PretrainSpec) -> None:
        key, code = self.job.key, self.job.fingerprint

        def work() -> None:
            self._execute("encoder", key)
            folder = self.workspace.results / f"{scratch_name()}-artifact"
            folder.mkdir()
            (folder / "encoder.safetensors").write_bytes(key.encode())
            facts = provenance(code, "cpu", {"root": spec.seed}, "2026-01-01T00:00:00+00:00", self.command)
            cost = {"pretrain_samples": 4800.0, "pretrain_seconds": 100.0}
            for name, content in (("provenance", facts), ("spec", spec.model_dump(mode="json")), ("cost", cost)):
                (folder / f"{name}.json").write_text(json.dumps(content, sort_keys=True))
            self.artifacts.publish_folder("encoder", key, code.digest, folder)

        found = partial(self.artifacts.find_folder, "encoder", key, code.digest)
        self._once("encoder", f"{key}:{code.digest[:16]}", lambda: found() is not None, work)

    def _evaluate(self) -> bool:
        assert self.job.encoder is not None
        self._encoder_folder(self.job.encoder)
        good = True
        for run in self.job.runs:
            try:
                self._draw(run)
            except Exception as error:
                good = False
                self._failed(run, error)
        return good

    def _draw(self, run: PlannedRun) -> None:
        code = run.fingerprint

        def work() -> None:
            self._execute("run", run.key)
            draw = np.random.default_rng(int(run.key[:12], 16))
            logits = draw.normal(size=(100, 10)).astype(np.float32)
            values = draw.uniform(size=2)
            seeds = {"root": run.spec.seed, "split": run.spec.split_seed}
            record = RunRecord(
                key=run.key,
                fingerprint=code.digest,
                status="done",
                spec=run.spec.model_dump(mode="json"),
                label=dict(run.label),
                metrics=[
                    Metric(value=values[0], split="val", n_objects=100),
                    Metric(value=values[1], split="test", n_objects=100),
                ],
                predictions={
                    "ids": np.array([f"object-{one:04d}" for one in range(100)]),
                    "labels": (np.arange(100) % 10).astype(np.int32),
                    "predicted": logits.argmax(1).astype(np.int32),
                    "logits": logits,
                },
                cost={"evaluate_seconds": 1.0},
                provenance=provenance(code, "cpu", seeds, "2026-01-01T00:00:00+00:00", self.command),
            )
            self.store.publish(record)

        name = f"{run.key}:{code.digest[:16]}"
        self._once("run", name, lambda: self.store.find(run.key, code.digest) is not None, work)
        self.channel.send(Event(kind="run", key=run.key, stage=run.spec.setting))


class Killed(BaseException):
    """The job ends as that of a killed process does."""


class Servant(ForkServer):
    """A lasting process that does the jobs itself, one after another, which a fork server would fork a worker for."""

    def __init__(self, fails: float) -> None:
        super().__init__({})
        self._fails = fails
        self._process = 0

    def _launch(self, log: IO[str]) -> socket.socket:
        ours, theirs = socket.socketpair()
        self._process = os.fork()
        if self._process == 0:
            ours.close()
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            try:
                _serve(theirs, self._fails)
            finally:
                os._exit(0)
        theirs.close()
        return ours

    def launch(self) -> None:
        """Fork now, while this process has one thread."""
        with Path(os.devnull).open("w") as log:
            self._socket = self._launch(log)

    def close(self) -> None:
        """End the process."""
        if self._socket is not None:
            self._socket.shutdown(socket.SHUT_RDWR)  # the other processes hold it, too
        super().close()
        if self._process:
            os.waitpid(self._process, 0)
            self._process = 0


def _serve(control: socket.socket, fails: float) -> None:
    """Do jobs until the socket is closed."""
    logging.getLogger("bench").setLevel(logging.ERROR)
    while True:
        message, files, _, _ = socket.recv_fds(control, 1, 3)
        if not message:
            return
        job, log, channel = files
        os.dup2(log, 2)
        os.close(log)
        control.sendall(str(os.getpid()).encode())
        with os.fdopen(job) as stream:
            payload = json.load(stream)
        told = Channel(channel)
        try:
            code = 0 if MadeUpWorker(payload, told, fails).perform() else 1
        except Killed:
            code = -int(signal.SIGKILL)
        except Exception as error:
            traceback.print_exc()
            told.send(Event(kind="failed", note=describe(error)))
            code = 1
        os.write(channel, f"\nended {code}\n".encode())
        os.close(channel)


class MadeUpOptions(LocalOptions):
    """Options of the engine for made-up work."""

    fails: float = Field(FAILS, ge=0, le=1)
    """Share of jobs that fail."""


class MadeUpEngine(LocalEngine):
    """The local engine, with lasting processes for made-up work."""

    name = "made-up"
    Options = MadeUpOptions

    def __init__(self, ledger: Ledger, workspace: Workspace, setup: EngineSetup, options: MadeUpOptions) -> None:
        super().__init__(ledger, workspace, setup, options)
        self._idle = [Servant(options.fails) for _ in range(setup.workers or 1)]
        self._all = (*self._idle,)

    def run(self) -> None:
        """Run every job."""
        for servant in self._all:
            servant.launch()
        try:
            super().run()
        finally:
            for servant in self._all:
                servant.close()

    def start_worker(self, seat: Seat) -> WorkerProcess:
        """Hand the job to an idle process."""
        task, servant = seat.task, self._idle.pop()
        with task.log.open("a") as log, tempfile.TemporaryFile("w+") as file:
            json.dump(task.payload(**seat.environment), file)
            file.seek(0)
            process = servant.start(file, log)
        return Lent(process, lambda: self._idle.append(servant))


class Lent(WorkerProcess):
    """A job of a lasting process, which is idle again after it."""

    def __init__(self, process: WorkerProcess, give_back: Callable[[], None]) -> None:
        super().__init__(process.pid, process._channel)
        self._give_back = give_back

    def lines(self) -> Iterator[str]:
        """Yield the output lines of the job."""
        yield from super().lines()
        self._give_back()


# --- running and checking


@dataclass(frozen=True)
class Measured:
    """Cost of one pass over a study; processor time in seconds, memory in MB.

    Attributes:
        jobs: Jobs of the plan.
        runs: Runs of these jobs.
        failed: Runs that failed, those of jobs that were not begun included.
        planned: Processor time of the planner.
        headed: Processor time of scheduling, in the process that the user started.
        worked: Processor time of all workers.
        wall: Seconds that passed.
        plan_mb: Peak memory after planning.
        head_mb: Peak memory of the process that the user started, after all jobs.
        worker_mb: Peak memory of a worker.
        problems: Jobs that were lost or done twice, and whatever else is not as it should be.
        begun: Keys of the encoders and runs of these jobs.
        left: Keys of those that the next pass has to make.
    """

    jobs: int
    runs: int
    failed: int
    planned: float
    headed: float
    worked: float
    wall: float
    plan_mb: float
    head_mb: float
    worker_mb: float
    problems: tuple[str, ...]
    begun: frozenset[str]
    left: frozenset[str]

    @property
    def ms(self) -> float:
        """Processor milliseconds per job."""
        return 1000 * (self.planned + self.headed + self.worked) / max(self.jobs, 1)


@dataclass
class Expected:
    """What a pass should come to.

    Attributes:
        executed: Work in the words of `EXECUTED`.
        done: Keys of runs that succeed.
        failed: Beginning of the error of every other run, by key.
        again: Keys of encoders and runs that are left for the next pass, and of encoders whose runs are.
    """

    executed: list[str] = field(default_factory=list)
    done: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    again: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, jobs: Sequence[Job], fails: float) -> Expected:
        """Work out what comes of jobs, from the draws alone."""
        found, broken = cls(), dict[str, str]()
        for job in jobs:
            error = next((f"needs a job that failed: {broken[need]}" for need in job.needs if need in broken), "")
            if not error and job.kind == "encoder":
                found.executed.append(f"encoder {job.key}")
                error = outcome_of("encoder", job.key, fails)
            for run in job.runs:
                told = error
                if not error:
                    found.executed.append(f"run {run.key}")
                    told = outcome_of("run", run.key, fails)
                    error = KILLED if told == KILLED else ""  # it takes along the job's other runs
                if told:
                    found.failed[run.key] = told
                    found.again |= {job.key, run.key}
                else:
                    found.done.add(run.key)
            if error:
                broken[job.id] = error
                found.again.add(job.key)
        return found


def run(results: Path, jobs: int, workers: int = 2, fails: float = FAILS) -> Measured:
    """Plan and run a study, and look for jobs that were lost or done twice."""
    ENGINES.add(Entry("engines", MadeUpEngine.name, f"{__name__}:MadeUpEngine", "", source=__file__))
    results.mkdir(parents=True, exist_ok=True)
    options, journal = results / "engine.yaml", results / EXECUTED
    options.write_text(f"fails: {fails}\n")
    journal.touch()
    before = len(journal.read_text().splitlines())
    wanted = study(results, jobs, options)
    began, at, children = monotonic(), process_time(), _children()
    plan = wanted.prepare()
    planned, plan_mb = process_time() - at, _peak_mb(resource.RUSAGE_SELF)
    at = process_time()
    with Path(os.devnull).open("w") as nowhere, ProgressView(Console(file=nowhere)) as view:
        outcome = wanted.execute(plan, view, jobs=workers)
    headed, head_mb, wall = process_time() - at, _peak_mb(resource.RUSAGE_SELF), monotonic() - began
    worked, worker_mb = _children() - children, _peak_mb(resource.RUSAGE_CHILDREN)
    count, expected = sum(len(job.runs) for job in plan.jobs), Expected.of(plan.jobs, fails)
    return Measured(
        jobs=len(plan.jobs),
        runs=count,
        failed=count - len(outcome.done),
        planned=planned,
        headed=headed,
        worked=worked,
        wall=wall,
        plan_mb=plan_mb,
        head_mb=head_mb,
        worker_mb=worker_mb,
        problems=tuple(_problems(results, plan, outcome, expected, before)),
        begun=frozenset(key for job in plan.jobs for key in (job.key, *(run.key for run in job.runs))),
        left=frozenset(expected.again),
    )


def _problems(results: Path, plan: Plan, outcome: Outcome, expected: Expected, before: int) -> Iterator[str]:
    """Compare what happened with what should have."""
    lines = Counter((results / EXECUTED).read_text().splitlines()[before:])
    wanted = Counter(expected.executed)
    yield from (f"{line} was done {count - wanted[line]} time(s) too often" for line, count in (lines - wanted).items())
    yield from (f"{line} was lost" for line in wanted - lines)
    if sorted(outcome.done) != sorted(expected.done):
        yield f"{len(outcome.done)} runs were told to be done, expected {len(expected.done)}"
    store = Store.open_readonly(results)
    stored = [(run.status, run.key, run.row.error or "") for run in store.runs()]
    done = Counter(key for status, key, _ in stored if status == "done")
    failed = {key: error for status, key, error in stored if status == "failed" and key not in done}
    if done != Counter({run.key for run in plan.runs} - expected.failed.keys()):
        yield f"{done.total()} finished runs are stored, expected {len(plan.runs) - len(expected.failed)}, each once"
    if failed.keys() != expected.failed.keys():
        yield f"{len(failed)} failed runs are stored, expected {len(expected.failed)}"
    for key in failed.keys() & expected.failed.keys():
        if not failed[key].startswith(expected.failed[key]):
            yield f"run {key} says '{failed[key]}', expected '{expected.failed[key]}'"
    if told := maintenance.looked(store.database).disagreement():
        yield f"the index does not agree with the folders: {told}"


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _peak_mb(who: int) -> float:
    return resource.getrusage(who).ru_maxrss / 1024


# --- the command


def read_index(results: Path) -> tuple[float, float, int]:
    """Read all runs from the index; return seconds, peak memory in MB, and their number."""
    at = process_time()
    count = len(Store.open_readonly(results).runs())
    return process_time() - at, _peak_mb(resource.RUSAGE_SELF), count


def sizes(results: Path) -> dict[str, tuple[int, int, int]]:
    """Return number of folders, of files, and bytes on disk of runs, failed runs and encoders."""
    found = {}
    for name in ("runs", "failed", "artifacts/encoder"):
        files = [path.stat() for path in (results / name).rglob("*") if path.is_file()]
        folders = sum(1 for _ in (results / name).glob("*/*"))
        found[name] = folders, len(files), sum(512 * one.st_blocks for one in files)
    return found


def main() -> int:
    """Read the command line, run the study twice, print figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="results folder; it is made, and deleted in the end")
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2, help="processes that do made-up work")
    parser.add_argument("--keep", action="store_true", help="keep the results folder")
    given = parser.parse_args()
    if given.results.exists():
        parser.error(f"'{given.results}' exists already; name a folder that does not")
    columns = "jobs, runs, failed runs, planner ms, scheduling ms, workers ms, all ms per job, wall s"
    print("| pass | " + " | ".join(f"{columns}, planner MB, head MB, worker MB".split(", ")) + " |")
    good, left = True, None
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as fresh:
        for name, fails in (("first", FAILS), ("again", 0.0)):
            found = fresh.submit(run, given.results, given.jobs, given.workers, fails).result()
            per_job = [1000 * part / max(found.jobs, 1) for part in (found.planned, found.headed, found.worked)]
            row = [f"{found.jobs:,}", f"{found.runs:,}", f"{found.failed:,}", *(f"{ms:.2f}" for ms in per_job)]
            peaks = (found.wall, found.plan_mb, found.head_mb, found.worker_mb)
            print(f"| {name} | " + " | ".join([*row, f"{found.ms:.2f}", *(f"{x:.0f}" for x in peaks)]) + " |")
            problems = [*found.problems[:20]]
            problems += [] if left in (None, found.begun) else [f"{len(found.begun ^ left)} keys are not those left"]
            print("\n".join(problems) or "no job was lost or done twice", flush=True)
            good, left = good and not problems and found.head_mb < MOST_MB, found.left
            good = good and (name == "again" or found.ms < MOST_MS)
        seconds, peak, count = fresh.submit(read_index, given.results).result()
    index = sum(path.stat().st_size for path in given.results.glob("bench.sqlite*")) / 1e6
    print(f"index: {count:,} runs, {index:.0f} MB; reading all took {seconds:.1f} s and {peak:.0f} MB")
    for name, (folders, files, size) in sizes(given.results).items():
        print(f"{name}: {folders:,} folders, {files:,} files, {size / 1e6:,.0f} MB on disk")
    print(machine_kind("cpu"))
    if not given.keep:
        shutil.rmtree(given.results)
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
