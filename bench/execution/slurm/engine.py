"""SLURM engine: submits jobs through submitit and follows them.

What a SLURM job carries is the path of a job file. Its worker writes run folders and events on the shared file system;
the process here only reads them, and indexes finished runs. It may end at any time: jobs stay with SLURM, and the same
command later follows them instead of submitting again.
"""

from __future__ import annotations

import contextlib
import io
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.environment import typed_command
from bench.errors import BenchError, SetupError
from bench.execution.engines import Engine, EngineSetup, Ledger, Task
from bench.execution.events import Event
from bench.execution.failures import failed_record
from bench.execution.jobfile import read_job
from bench.execution.local import ALIVE_SECONDS
from bench.execution.slurm import scheduler, submissions
from bench.execution.slurm.conditions import ended, lives
from bench.execution.slurm.options import Resources, SlurmOptions, minutes
from bench.execution.slurm.scheduler import State
from bench.execution.slurm.submissions import Submitted, Unit
from bench.paths import Workspace
from bench.report.words import numbers
from bench.signals import INTERRUPTED
from bench.store.store import Store

_NAME = "bench"
"""First characters of the names of SLURM jobs."""
FOLLOW = "bench jobs shows them, bench jobs cancel ends them."


@dataclass(frozen=True)
class _Bundle:
    """Jobs that share a SLURM job."""

    tasks: tuple[Task, ...]
    after: tuple[str, ...]
    """Dependencies of the SLURM job."""


class SlurmEngine(Engine[SlurmOptions]):
    """A SLURM cluster whose nodes see the results folder."""

    name = "slurm"
    detaches = True
    Options = SlurmOptions

    def __init__(self, ledger: Ledger, workspace: Workspace, setup: EngineSetup, options: SlurmOptions) -> None:
        super().__init__(ledger, workspace, setup, options)
        self._store = Store(workspace.results, setup.store_url)
        self._followed: dict[str, Unit] = {}
        self._begun: set[str] = set()
        self._ended: dict[str, submissions.Outcome] = {}
        self._missing: dict[str, int] = {}
        self._silent = False
        self._said = ""

    def run(self) -> None:
        """Submit jobs that no earlier command submitted; follow all.

        Raises:
            SetupError: SLURM is not here, or refuses a job.
            UsageError: A partition does not exist.
        """
        scheduler.require()
        cluster = scheduler.facts()
        for partition in {self.options.resources(task.job.kind).partition for task in self.ledger.tasks} - {None}:
            scheduler.check_partition(str(partition))
        with submissions.locked(self.workspace.results):
            live = self._settle_past(cluster.name)
            submitted = self._submit(cluster, live)
        jobs = {unit.facts.slurm for unit in self._followed.values()}
        told = f"{len(self._followed)} jobs are with SLURM, {submitted} of them new (SLURM jobs {_listed(jobs)})"
        if self._followed:
            self.ledger.outcome.left_behind = f"{told}: {FOLLOW}"
        if self.setup.detach and self._followed:
            return
        self._tell(f"{told}; Ctrl-C leaves them there")
        self._follow()
        self.ledger.outcome.left_behind = ""
        with submissions.locked(self.workspace.results):
            submissions.remove_finished(self.workspace.results)

    def _settle_past(self, cluster: str) -> list[Unit]:
        """Note ends that nobody followed; return jobs that go on."""
        units = [unit for unit in submissions.units(self.workspace.results) if unit.outcome is None]
        states = scheduler.states() if units else {}
        units = [unit for unit in units if unit.facts.cluster == cluster]
        live = [unit for unit in units if lives(unit, states)]
        past = scheduler.past_states(unit.facts.slurm for unit in units if unit not in live)
        broken: dict[str, str] = {}
        for unit in units:
            if unit in live:
                continue
            code, why = ended(unit, states.get(unit.facts.slurm) or past.get(unit.facts.slurm))
            cause = next((broken[need] for need in unit.facts.needs if need in broken), None)
            if code not in (0, INTERRUPTED) or (cause and not unit.reader.told.began):
                why = f"needs a job that failed: {cause}" if cause else why
                broken[unit.facts.id] = why
                self._store_failures(unit, why)
                submissions.note_ended(unit, "failed", why)
            else:
                submissions.note_ended(unit, "done" if code == 0 else "cancelled", why)
        return live

    def _store_failures(self, unit: Unit, why: str) -> None:
        """Store failures of runs that a job did not even try."""
        with contextlib.suppress(BenchError):  # a file of another version; bench jobs still names the failure
            told = unit.reader.told
            for run in read_job(unit.file).job.runs:
                if run.key not in told.runs:
                    log = Path(unit.facts.log)
                    self._store.publish(failed_record(run, why, log, typed_command(), diverged=told.diverged))

    def _submit(self, cluster: scheduler.ClusterFacts, live: Sequence[Unit]) -> int:
        """Submit what no live job makes; return the number of jobs."""
        makers = {thing: unit for unit in live for thing in unit.facts.makes}
        new: list[Task] = []
        after: dict[str, list[str]] = {}
        for task in self.ledger.tasks:
            found = {makers[thing] for thing in submissions.makes(task.job) if thing in makers}
            if len(found) == 1 and set(submissions.makes(task.job)) <= set(next(iter(found)).facts.makes):
                self._followed[task.job.id] = found.pop()
            else:
                # Others make a part of it: it waits for them, and then finds that part stored.
                after[task.job.id] = [f"afterany:{unit.facts.slurm}" for unit in found]
                new.append(task)
        self._drop_stale(new, after)
        if not new:
            return 0
        folder = submissions.new_folder(self.workspace.results)
        most = min(cluster.max_array, self.options.max_array or cluster.max_array)
        waiting = list(new)
        while waiting:
            open_ = {task.job.id for task in waiting}
            ready = [task for task in waiting if open_.isdisjoint(task.job.needs)]
            waiting = [task for task in waiting if not open_.isdisjoint(task.job.needs)]
            for bundles in self._arrays(ready, after, most):
                self._submit_array(folder, cluster.name, bundles)
        return len(new)

    def _drop_stale(self, new: list[Task], after: dict[str, list[str]]) -> None:
        """Submit waiting jobs again whose needs are gone."""
        lost = {task.job.id for task in new}
        for task in self.ledger.tasks:
            if task.job.id not in lost and not lost.isdisjoint(task.job.needs):
                stale = self._followed.pop(task.job.id)
                scheduler.cancel([stale.facts.slurm])
                submissions.note_ended(stale, "cancelled", "a job that it needs was submitted again")
                lost.add(task.job.id)
                after[task.job.id] = []
                new.append(task)

    def _arrays(self, tasks: Sequence[Task], after: dict[str, list[str]], most: int) -> Iterator[list[_Bundle]]:
        """Yield bundles that make one array: equal resources and needs."""
        groups: dict[tuple[object, ...], list[Task]] = {}
        needs: dict[str, tuple[str, ...]] = {}
        for task in tasks:
            found = [f"afterok:{self._followed[need].facts.slurm}" for need in task.job.needs if need in self._followed]
            needs[task.job.id] = own = tuple(dict.fromkeys([*found, *after[task.job.id]]))
            numbers = (task.resources.device, task.resources.cores, task.resources.gpus)
            groups.setdefault((task.job.kind, *numbers, own), []).append(task)
        for members in groups.values():
            own = needs[members[0].job.id]
            shared = [task for task in members if task.job.kind == "evaluate" and not task.job.alone]
            parts: list[tuple[Task, ...]] = [(task,) for task in members if task not in shared]
            parts += [tuple(shared[at : at + self.options.bundle]) for at in range(0, len(shared), self.options.bundle)]
            bundles = [_Bundle(part, own) for part in parts]
            yield from (bundles[at : at + most] for at in range(0, len(bundles), most))

    def _submit_array(self, folder: Path, cluster: str, bundles: Sequence[_Bundle]) -> None:
        """Submit one array, or one job, and note its ids."""
        from submitit import SlurmExecutor

        from bench.execution.slurm.batch import do_jobs

        files = [[str(task.write(folder)) for task in bundle.tasks] for bundle in bundles]
        first = bundles[0].tasks[0]
        executor = SlurmExecutor(folder=folder / submissions.SUBMITIT, max_num_timeout=self.options.requeues)
        executor.update_parameters(**self._parameters(first, bundles[0].after))
        said = io.StringIO()
        try:
            with _quiet_environment(), contextlib.redirect_stderr(said), executor.batch():
                jobs = [executor.submit(do_jobs, paths) for paths in files]
        except Exception as error:
            words = [line.removeprefix("sbatch: error: ") for line in str(error).splitlines() if line.strip()]
            raise SetupError(f"SLURM refuses a job ({first.job.title}): {' '.join(words) or error!r}") from error
        now = datetime.now(UTC).isoformat(timespec="seconds")
        for bundle, job in zip(bundles, jobs, strict=True):
            facts = [
                Submitted(
                    id=task.job.id,
                    title=task.job.title,
                    kind=task.job.kind,
                    makes=submissions.makes(task.job),
                    needs=task.job.needs,
                    cluster=cluster,
                    slurm=str(job.job_id),
                    at=now,
                    log=str(task.log),
                )
                for task in bundle.tasks
            ]
            submissions.note_submitted(folder, facts)
            self._followed |= {one.id: Unit(folder, one) for one in facts}

    def _parameters(self, task: Task, after: Sequence[str]) -> dict[str, Any]:
        """Return submitit's parameters for jobs like this one."""
        options = self.options
        own: Resources = options.resources(task.job.kind)
        cpus = max(own.cpus or 1, task.resources.cores)
        gpus = max(own.gpus or 1, task.resources.gpus) if task.resources.gpus else 0
        more: dict[str, Any] = {name.replace("_", "-"): value for name, value in own.sbatch.items()}
        more["requeue"] = True
        if after:
            more |= {"dependency": ",".join(after), "kill-on-invalid-dep": "yes"}
        found = {
            "job_name": f"{_NAME}-{task.job.kind}",
            "partition": own.partition,
            "account": own.account,
            "qos": own.qos,
            "time": 60 if own.time is None else minutes(own.time),
            "mem": own.memory,
            "cpus_per_task": cpus,
            "gpus_per_node": gpus or None,
            "setup": list(options.setup) or None,
            "signal_delay_s": options.warning,
            "stderr_to_stdout": True,
            "array_parallelism": options.parallel or self.setup.workers or 1_000_000,
            "srun_args": [f"--cpus-per-task={cpus}"],  # since SLURM 22.05 a step does not inherit it
            "additional_parameters": {name: value for name, value in more.items() if value is not False},
        }
        return {name: value for name, value in found.items() if value is not None}

    def _follow(self) -> None:
        """Tell the ledger what happens until every job has ended."""
        alive = time.monotonic()
        while True:
            states = self._states()
            for task in self.ledger.tasks:
                if task.job.id in self._followed:
                    self._look(task, states)
            left = {task.job.id for task in self.ledger.waiting} | self._begun
            for task in self.ledger.tasks:  # the ledger gave up what needs a job that ended badly
                if task.job.id in self._followed and task.job.id not in left:
                    stopped = any(self._ended.get(need) == "cancelled" for need in task.job.needs)
                    self._note(task.job.id, "cancelled" if stopped else "failed", "needs a job that failed")
            if not self._followed:
                return
            if time.monotonic() - alive > ALIVE_SECONDS:
                alive = time.monotonic()
                self.ledger.alive()
            if states is not None:
                running = {unit.facts.slurm for unit in self._followed.values() if unit.reader.told.began}
                self.ledger.forecast.workers = max(len(running), 1)
                self._tell_waiting(states)
            time.sleep(self.options.poll)

    def _states(self) -> dict[str, State] | None:
        """Ask SLURM; None while it does not answer."""
        try:
            found = scheduler.states()
        except scheduler.SilentSchedulerError as error:
            if not self._silent:
                self._tell(f"{error}; waiting for it, jobs go on")
            self._silent = True
            return None
        if self._silent:
            self._tell("SLURM answers again")
        self._silent = False
        return found

    def _look(self, task: Task, states: dict[str, State] | None) -> None:
        """Take what is new of one job."""
        unit, identity = self._followed[task.job.id], task.job.id
        if any(need in self._followed for need in task.job.needs):
            return
        events = unit.reader.news()
        told = unit.reader.told
        if told.began or events:
            self._begin(task)
        for event in events:
            self.ledger.receive(task, event)
            if event.kind in ("run", "failed") and event.key:
                self._store.find(event.key)  # indexes it
        if told.code is not None:
            self._end(task, *ended(unit, None))
        elif states is not None and not lives(unit, states):
            state = states.get(unit.facts.slurm)
            self._missing[identity] = self._missing.get(identity, 0) + 1
            if self._missing[identity] > 2:  # its last words may come late over a network file system
                past = scheduler.past_states([unit.facts.slurm]) if state is None else {}
                self._end(task, *ended(unit, state or past.get(unit.facts.slurm)))
        else:
            self._missing.pop(identity, None)

    def _begin(self, task: Task) -> None:
        if task.job.id not in self._begun:
            self._begun.add(task.job.id)
            self.ledger.begin(task)

    def _end(self, task: Task, code: int, why: str) -> None:
        identity = task.job.id
        self._begin(task)
        self._begun.discard(identity)
        self.ledger.end(task, code, why)
        self._note(identity, "done" if code == 0 else "cancelled" if code == INTERRUPTED else "failed", why)

    def _note(self, identity: str, outcome: submissions.Outcome, why: str) -> None:
        """Note the end of a job, and follow it no longer."""
        unit = self._followed.pop(identity)
        self._ended[identity] = outcome
        with submissions.locked(self.workspace.results):
            submissions.note_ended(unit, outcome, why)

    def _tell_waiting(self, states: dict[str, State]) -> None:
        """Say why jobs wait, while none runs."""
        if self._begun:
            return
        waits = [state for unit in self._followed.values() if (state := states.get(unit.facts.slurm)) and state.waits]
        reasons = sorted({state.why for state in waits if state.why and state.reason != "Dependency"})
        if reasons and (said := f"nothing runs yet: {'; '.join(reasons)}") != self._said:
            self._said = said
            self._tell(said)

    def _tell(self, line: str) -> None:
        """Tell the listener something that concerns all jobs."""
        self.ledger.tell(Event(kind="warning", note=line))


def _listed(identities: Iterable[str]) -> str:
    """Name SLURM jobs, the tasks of an array together."""
    arrays: dict[str, list[int]] = {}
    for identity in identities:
        array, _, task = identity.partition("_")
        arrays.setdefault(array, []).extend([int(task)] if task else [])
    names = [
        f"{array}_[{numbers(tuple(sorted(tasks)))}]" if tasks else array
        for array, tasks in sorted(arrays.items(), key=lambda pair: int(pair[0]))
    ]
    return ", ".join(names if len(names) <= 6 else [*names[:5], f"... {names[-1]}"])


@contextlib.contextmanager
def _quiet_environment() -> Iterator[None]:
    """Set the environment that SLURM jobs inherit.

    Without the allocation that this command may run in, without a database URL, which may hold a password, and with
    the package that runs here.
    """
    names = [
        name
        for name in os.environ
        if name == "BENCH_STORE_URL"
        or (name.startswith(("SLURM_", "SLURMD_", "SRUN_", "SBATCH_", "SUBMITIT_")) and name not in _KEPT)
    ]
    before = dict(os.environ)
    for name in names:
        del os.environ[name]
    package = str(Path(__file__).parents[3])
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [package, before.get("PYTHONPATH")]))
    try:
        yield
    finally:
        os.environ.pop("PYTHONPATH")
        os.environ.update(before)


_KEPT = ("SLURM_CONF", "SLURM_CLUSTERS", "SBATCH_ACCOUNT", "SBATCH_PARTITION", "SBATCH_CLUSTERS", "SBATCH_QOS")
